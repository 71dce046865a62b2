# SPDX-License-Identifier: MIT
"""Lets py:ideal_backend:NAME be loaded, here and in the workers of pytest-xdist; and damages files."""

import copy
import json
import os
import sys
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def ideal_backend_on_the_path(monkeypatch):
    here = str(Path(__file__).parent)
    monkeypatch.syspath_prepend(here)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([here, *filter(None, sys.path)]))


def damage(data, rng):
    """data with one to four faults: of bytes, of lines, of numbers."""
    data = bytearray(data)
    for _ in range(rng.randrange(1, 5)):
        if not data:
            break
        at = rng.randrange(len(data))
        fault = rng.randrange(8)
        if fault == 0:
            data[at] ^= 1 << rng.randrange(8)
        elif fault == 1:
            data[at] = rng.choice(b"0123456789abcdef:.[]-+\\| \t\n\xff\0")
        elif fault == 2:
            del data[at:at + rng.choice((1, 2, 5, 80, 3000))]
        elif fault == 3:
            del data[at:]
        elif fault == 4:
            data[at:at] = bytes(rng.randrange(256) for _ in range(rng.randrange(1, 20)))
        else:
            lines = bytes(data).split(b"\n")
            one, other = rng.randrange(len(lines)), rng.randrange(len(lines))
            if fault == 5:
                del lines[one]
            elif fault == 6:
                lines.insert(other, lines[one])
            else:
                lines[one], lines[other] = lines[other], lines[one]
            data = bytearray(b"\n".join(lines))
    return bytes(data)


STRANGE = (None, True, -1, 0, 1 << 70, 0.5, "", "x", "-", [], {}, ["x"], [[]], {"x": 1})


def damage_json(data, rng):
    """A line or the whole of JSON text with one to three values that are others, gone, or there twice."""
    lines = data.splitlines()
    at = rng.randrange(len(lines))
    root = [json.loads(lines[at])]
    for _ in range(rng.randrange(1, 4)):
        place, key = root, 0
        while isinstance(place[key], (dict, list)) and place[key] and rng.randrange(6):
            place = place[key]
            key = rng.choice(list(place)) if isinstance(place, dict) else rng.randrange(len(place))
        fault = rng.randrange(4)
        if fault == 0 and place is not root:
            del place[key]
        elif fault == 1 and isinstance(place, list) and place is not root:
            place.append(copy.deepcopy(place[key]))
        elif fault == 2 and isinstance(place[key], str):
            place[key] = damage(place[key].encode(), rng).decode("utf-8", "replace")
        else:
            place[key] = copy.deepcopy(rng.choice(STRANGE))
    lines[at] = json.dumps(root[0]).encode()
    return b"\n".join(lines) + b"\n"


@pytest.fixture(name="damage")
def damage_fixture():
    return damage


@pytest.fixture(name="damage_json")
def damage_json_fixture():
    return damage_json


@pytest.fixture
def strange():
    return STRANGE

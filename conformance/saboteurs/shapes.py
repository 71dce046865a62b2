# SPDX-License-Identifier: MIT
"""The systematic set: which shape of slip is planted in which backend, and why not where it is not (shapes.toml)."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from . import SABOTEURS


@dataclass(frozen=True, slots=True)
class Shape:
    """A way to go wrong. saboteurs: those that do so."""

    id: str
    what: str
    saboteurs: tuple[str, ...]


@cache
def _file() -> dict[str, Any]:
    return tomllib.loads(files(__package__).joinpath("shapes.toml").read_text(encoding="utf-8"))


@cache
def shapes() -> dict[str, Shape]:
    return {row["id"]: Shape(row["id"], row["what"], tuple(row["saboteurs"])) for row in _file()["shape"]}


@cache
def absent() -> dict[tuple[str, str], str]:
    """(backend, shape) -> why it is not planted there."""
    return {
        (backend, shape): row["why"] for row in _file()["absent"] for backend in row["backends"]
        for shape in row["shapes"]
    }


def planted(backend: str) -> dict[str, list[str]]:
    """Shape -> the saboteurs of it that are planted in a backend."""
    here = {one.name for one in SABOTEURS.values() if any(t.split("/")[0] == backend for t in one.targets)}
    return {shape.id: [name for name in shape.saboteurs if name in here] for shape in shapes().values()}

# SPDX-License-Identifier: MIT
"""A damaged file gets an answer or one sentence, never a traceback."""

import gzip
import io
import random
import tarfile
from pathlib import Path

import pytest
from click.testing import CliRunner

from conformance.cli import main

DATA = Path(__file__).parent / "data/lspci"


def cut(name, *addresses):
    """Some functions of a dump."""
    sections = gzip.decompress((DATA / f"{name}.txt.gz").read_bytes()).decode().split("\n\n")
    found = [section for section in sections if section.split(" ", 1)[0] in addresses]
    assert len(found) == len(addresses)
    return "\n\n".join(found).encode()


def tree(name, lines):
    text = gzip.decompress((DATA / f"{name}.txt.gz").read_bytes()).decode()
    return "\n".join(text.splitlines()[:lines]).encode()


def sysfs_tar():
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for place in ("0000:00:00.0", "0000:00:01.0", "0000:00:01.0/0000:01:00.0", "0000:00:01.0/0000:01:00.1"):
            data = bytearray(256)
            data[0:4], data[6], data[0x34], data[0x40] = b"\x86\x80\x20\x20", 0x10, 0x40, 0x10
            if place.endswith("00:01.0"):
                data[0x0e], data[0x19], data[0x1a] = 1, 1, 1
            for name, content in (("config", bytes(data)), ("class", b"0x030000\n"), ("vendor", b"0x10de\n")):
                member = tarfile.TarInfo(f"devices/pci0000:00/{place}/{name}")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    return stream.getvalue()


SOURCES = {
    "words": cut("09-hpe-skylake-sp-mellanox-vf", "11:00.0", "12:00.0", "12:00.1", "12:00.2"),
    "words and bytes": cut("02-tr-pro-5955wx-2xa6000", "0000:20:03.1", "0000:2e:00.0", "0000:40:01.1", "0000:41:00.0"),
    "bytes": cut("05-ryzen-5950x", "0000:00:03.2", "0000:0a:00.0", "0000:0a:00.1"),
    "tree": tree("01-xeon-w2265-vmd-tree", 4) + tree("02-tr-pro-5955wx-2xa6000-tree", 12),
    "tar": sysfs_tar(),
}


OPTIONS = ((), ("--json",), ("--verbose",), ("--what-if", "acs-off"), ("--cpu", "zen", "--kernel", "next"))


def attack(path, rounds, seed, damage):
    """How often each exit status came."""
    rng = random.Random(seed)
    runner = CliRunner()
    statuses = {0: 0, 1: 0, 2: 0}
    for number in range(rounds):
        name = rng.choice(sorted(SOURCES))
        data = damage(SOURCES[name], rng)
        path.write_bytes(data)
        result = runner.invoke(main, ["topology", str(path), *rng.choice(OPTIONS)])
        where = f"round {number} of seed {seed}, {name}: {result.exception!r}"
        assert result.exception is None or isinstance(result.exception, SystemExit), where
        assert result.exit_code in statuses, where
        if result.exit_code == 2:
            assert result.output.startswith("Error: ") and result.output.count("\n") == 1, where + result.output
        statuses[result.exit_code] += 1
    return statuses


@pytest.mark.parametrize("name", sorted(SOURCES))
def test_the_sources_are_sound(name, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(SOURCES[name])
    assert CliRunner().invoke(main, ["topology", str(path), "--all"]).exit_code in (0, 1)


def test_mutations(tmp_path, damage):
    statuses = attack(tmp_path / "file", 2_000, 1, damage)
    assert statuses[1] > 100
    assert statuses[2] > 100


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1000, 1200))
def test_many_mutations(tmp_path, seed, damage):
    assert attack(tmp_path / "file", 500, seed, damage)[2]

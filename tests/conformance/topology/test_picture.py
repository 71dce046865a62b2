# SPDX-License-Identifier: MIT
"""The tree as a picture."""

import gzip
from pathlib import Path
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner

from conformance.cli import main

DATA = Path(__file__).parent / "data/lspci"
NINE = ("08-2x-xeon4214-8gpu-plx9797-nn", "08-2x-xeon4214-8gpu-plx9797-plx", "08-2x-xeon4214-8gpu-plx9797-tree")


@pytest.fixture
def draw(tmp_path):
    def call(*options):
        names = []
        for name in NINE:
            path = tmp_path / name
            path.write_bytes(gzip.decompress((DATA / f"{name}.txt.gz").read_bytes()))
            names.append(str(path))
        target = tmp_path / "tree.svg"
        result = CliRunner().invoke(main, ["topology", *names, "--svg", str(target), *options])
        assert result.exit_code in (0, 1), result.output
        return result, ElementTree.fromstring(target.read_text(encoding="utf-8"))

    return call


def texts(root):
    return [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]


def test_it_has_the_functions_of_the_tree_in_its_order(draw):
    result, root = draw()
    tree = [line.split()[1 + line.split().index(mark)] for line in result.output.split("\n\n")[0].splitlines()
            for mark in ("├─", "└─") if mark in line]
    drawn = [word for text in texts(root) for word in text.split() if word in tree][:len(tree)]
    assert drawn == tree


def test_every_pair_has_its_verdict(draw):
    result, root = draw()
    said = [title.text for title in root.iter("{http://www.w3.org/2000/svg}title") if " -> " in title.text]
    pairs = [line.split() for line in result.output.splitlines() if " -> " in line and not line.startswith(" ")]
    assert len(said) == len(pairs) == 66
    kinds = {f"{pair[1]} -> {pair[3]}": pair[0] for pair in pairs}
    assert all(kinds[one.split(": ")[0]] == one.split(": ")[1].split(",")[0] for one in said)


def test_a_chosen_device_is_numbered(draw):
    _, root = draw("-d", "1a:00.0", "-d", "1c:00.0")
    assert [text for text in texts(root) if text.startswith("#1 ")] == [
        "#1  0000:1a:00.0  10de:1eb0  GPU", "#1 0000:1a:00.0",
    ]


def test_a_file_that_cannot_be_written(tmp_path):
    source = tmp_path / "lspci"
    source.write_bytes(gzip.decompress((DATA / f"{NINE[0]}.txt.gz").read_bytes()))
    result = CliRunner().invoke(main, ["topology", str(source), "--svg", str(tmp_path / "none" / "tree.svg")])
    assert result.exit_code == 2
    assert "cannot be written" in result.output

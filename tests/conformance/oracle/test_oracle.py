# SPDX-License-Identifier: MIT
"""The oracle on the versions of Linux whose source is installed; whether it would see a difference; what it refuses."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from conformance.cli import main
from conformance.oracle.build import without_iov_iter
from conformance.oracle.compare import GROUPS, OUTSIDE, Oracle
from conformance.oracle.source import MissingSource, find, open_source

CASES = 2000
VERSIONS = ("6.1", "6.12")


@pytest.fixture(scope="module", params=VERSIONS)
def oracle(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory):
    source = find(request.param)
    if source is None:
        pytest.skip(f"no source of Linux {request.param} (DMA_CONFORMANCE_LINUX, /usr/src)")
    if shutil.which("gcc") is None:
        pytest.skip("no C compiler (gcc)")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield Oracle(source, seed=1)


@pytest.mark.parametrize("group", GROUPS)
def test_no_difference(oracle: Oracle, group: str) -> None:
    result = oracle.run(group, CASES)
    assert (result.cases, result.differences) == (CASES, []), list(oracle.show(group, result.differences[0]))


def test_linux_leaves_its_memory_where_ours_says_so(oracle: Oracle) -> None:
    own = bytearray(8 * CASES)
    assert oracle.ours.call("run_cases", "split", 1, 0, CASES, own) == 0
    cases = [i for i in range(CASES) if own[8 * i : 8 * i + 8] == OUTSIDE.to_bytes(8, "little")]
    assert cases
    for number in cases[:5]:
        assert oracle.leaves_memory("split", number)
    assert not oracle.leaves_memory("split", next(i for i in range(CASES) if i not in cases))


def test_a_case_as_text_is_the_same_on_both_sides(oracle: Oracle) -> None:
    lines = list(oracle.show("append", 3))
    assert any(line.startswith("input max_segment") for line in lines)
    assert any(line.startswith("total_nents") for line in lines)
    assert not any("ours" in line for line in lines)


@pytest.mark.power
def test_the_merge_rule_of_another_version_is_seen() -> None:
    """6.12 does not merge pages of two ranges of P2P memory, 6.1 does: documented, and a property of the machine."""
    sources = [find(version) for version in VERSIONS]
    if None in sources or shutil.which("gcc") is None:
        pytest.skip("needs gcc and the sources of 6.1 and 6.12")
    old, new = (Oracle(source) for source in sources if source is not None)
    old.ours = new.ours
    result = old.run("pgmap", CASES)
    assert result.differences
    assert any("ours" in line for line in old.show("pgmap", result.differences[0]))
    assert not old.run("from-pages", CASES).differences


def test_what_is_refused(tmp_path: Path) -> None:
    run = CliRunner().invoke
    none = run(main, ["oracle", "--kernel-source", str(tmp_path)])
    assert none.exit_code == 2 and "Makefile" in none.output
    group = run(main, ["oracle", "--kernel-source", str(tmp_path), "-g", "lists"])
    assert group.exit_code == 2 and "from-pages" in group.output
    with pytest.raises(MissingSource, match="does not exist"):
        open_source(tmp_path / "nothing")


def test_the_end_that_needs_the_page_cache_is_left_out() -> None:
    text = "int a;\n\n/*\n * What follows.\n */\nstatic ssize_t extract_user_to_sg(void)\n{\n}\n"
    assert without_iov_iter(text) == "int a;\n\n"
    assert without_iov_iter("int a;\n") == "int a;\n"


def test_tarballs_are_read_like_trees(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import tarfile

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    tree = tmp_path / "linux-9.7"
    (tree / "lib").mkdir(parents=True)
    (tree / "Makefile").write_text("VERSION = 9\nPATCHLEVEL = 7\nSUBLEVEL = 3\nEXTRAVERSION =\n")
    (tree / "lib/x.c").write_text("int x;\n")
    with tarfile.open(tmp_path / "linux.tar.xz", "w:xz") as archive:
        archive.add(tree, arcname="linux-9.7")
    for path in (tree, tmp_path / "linux.tar.xz"):
        source = open_source(path)
        assert (source.version, source.series, source.number) == ("9.7.3", "9.7", 907)
        assert source.file("lib/x.c").read_text() == "int x;\n"
        with pytest.raises(MissingSource, match=r"lib/y\.c"):
            source.file("lib/y.c")
    monkeypatch.setenv("DMA_CONFORMANCE_LINUX", f"{tmp_path / 'none'}:{tree}")
    found = find("9.7")
    assert found is not None and found.path == tree

# SPDX-License-Identifier: MIT
"""The recorded runs come out, all of them; and what is no recorded run gets one clear sentence."""

import gzip
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from conformance.cli import main
from conformance.replay import load, replay, sessions
from conformance.replay.run import VECTORS, void_results

FAMILIES = sorted(folder for folder in (*VECTORS.iterdir(), *(VECTORS / "compiled").iterdir())
                  if folder.is_dir() and folder.name != "compiled")


@pytest.mark.parametrize("family", FAMILIES, ids=lambda folder: folder.name)
def test_recorded_runs_come_out(family: Path) -> None:
    differences: list[str] = []
    total = replay([family], report=differences.append)
    assert total.passed > 0
    assert (total.failed, total.skipped, differences[:5]) == (0, 0, [])


def test_every_backend_with_runs_has_an_adapter() -> None:
    assert {load(path).backend for path in VECTORS.rglob("*.json.gz")} <= set(sessions())


def test_void_results_are_results_of_the_project(tmp_path: Path) -> None:
    for name, line in void_results():
        path = VECTORS / f"{name}.json.gz"
        assert line in load(path).lines
        assert replay([path]).void == 1


@pytest.fixture
def run_file(tmp_path: Path) -> tuple[Path, dict[str, object]]:
    raw = json.loads(gzip.decompress((VECTORS / "mips/fake-jazz/tiny_sg3.json.gz").read_bytes()))
    return tmp_path / "run.json", raw


def ask(*words: object) -> tuple[int, str]:
    result = CliRunner().invoke(main, [str(word) for word in words])
    return result.exit_code, result.output


def test_a_difference_is_shown_with_its_place(run_file: tuple[Path, dict[str, object]]) -> None:
    path, raw = run_file
    raw["ops"][3][1]["segs"][0][0] += 4096
    path.write_text(json.dumps(raw))
    status, output = ask("replay", path)
    assert status == 1
    assert f"{path}:{raw['lines'][3]}: maps 1 to" in output
    assert output.splitlines()[-1].startswith("16 passed, 1 failed, 0 skipped")


@pytest.mark.parametrize(("change", "sentence"), [
    pytest.param(lambda raw: raw.update(format=7), "format is 7, not 1", id="format"),
    pytest.param(lambda raw: raw.pop("ops"), "key 'ops' is missing", id="no operations"),
    pytest.param(lambda raw: raw["ops"].append(["explode 1", {"ok": True}]), "cannot be performed", id="unknown verb"),
    pytest.param(lambda raw: raw["ops"].append(["mapp 9 to 0x0 q:0:0:1", {"ok": True}]), "cannot be performed",
                 id="unknown arena"),
    pytest.param(lambda raw: raw["machine"].pop("bits"), "its facts do not make a machine", id="no facts"),
])
def test_what_is_no_recorded_run(run_file: tuple[Path, dict[str, object]], change: object, sentence: str) -> None:
    path, raw = run_file
    change(raw)  # type: ignore[operator]
    path.write_text(json.dumps(raw))
    status, output = ask("replay", path)
    assert status == 2
    assert str(path) in output and sentence in output


@pytest.mark.parametrize("content", [b"", b"\x1f\x8b junk", b"[]", b"{", gzip.compress(b"{}", mtime=0)[:9]])
def test_what_cannot_be_read(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bad.json.gz"
    path.write_bytes(content)
    status, output = ask("replay", path)
    assert status == 2
    assert str(path) in output


def test_a_folder_without_runs_and_an_unknown_backend(tmp_path: Path) -> None:
    assert ask("replay", tmp_path)[0] == 2
    assert ask("replay", tmp_path / "nowhere")[0] == 2
    status, output = ask("replay", "--backend", "alpha_pci_op")
    assert status == 2
    assert "did you mean alpha_pci_ops" in output


def test_workers_change_nothing_in_what_is_said(tmp_path: Path) -> None:
    smallest = sorted(VECTORS.rglob("*.json.gz"), key=lambda path: (path.stat().st_size, path))
    for i, path in enumerate(smallest[:70]):        # fewer get no workers
        raw = json.loads(gzip.decompress(path.read_bytes()))
        if i % 20 == 7:             # in one of the four the kernel dies before
            raw["ops"].append(["mask 0xffffffffffffffff", {"ret": -99}])
        (tmp_path / f"{i:03}.json").write_text(json.dumps(raw))
    files = sorted(tmp_path.iterdir())
    status, output = ask("replay", "-n", 0, *files)
    assert status == 1 and " 3 failed" in output
    assert ask("replay", "-n", 2, *files) == (status, output)
    files[41].write_text("{}")
    assert ask("replay", "-n", 2, *files) == ask("replay", "-n", 0, *files)

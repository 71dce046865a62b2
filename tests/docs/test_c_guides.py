# SPDX-License-Identifier: MIT
"""The commands of the guides about C code do what the guides say; "# N" behind a command is its exit status."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from conformance.cli import main

ROOT = Path(__file__).resolve().parents[2]
GUIDES = [path for path in (ROOT / "docs/c-drivers.md", ROOT / "docs/c-backends.md") if path.exists()]
pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="no C compiler (gcc)")


def commands(path: Path) -> list[tuple[list[str], int]]:
    found = []
    for block in re.findall(r"```sh\n(.*?)```", path.read_text(encoding="utf-8"), flags=re.DOTALL):
        for line in block.splitlines():
            command, _, status = line.partition("#")
            if command.startswith("dma-conformance "):
                found.append((shlex.split(command)[1:], int(status or 0)))
    return found


@pytest.mark.parametrize("path", GUIDES, ids=lambda path: path.name)
def test_the_commands_of_a_guide_run(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    found = commands(path)
    assert len(found) >= 3
    for words, status in found:
        done = CliRunner().invoke(main, words)
        assert done.exit_code == status, f"{words}: {done.output[-2000:]}"

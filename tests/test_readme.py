# SPDX-License-Identifier: MIT
"""What README.md and docs/*.md show is what happens: Python is executed, and so is every dma-conformance command.

A ```text fence right after a ```python fence is what it prints. Where a command would run everything, one case in 400
is run, and its exit status may be 1. tox and pip are left out.
"""

import contextlib
import io
import re
import shlex
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from conformance.cli import main

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"^```(\w+)\n(.*?)^```\n(?:\n?```text\n(.*?)^```$)?", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")


def blocks(language):
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for match in FENCE.finditer(text):
            if match[1] == language:
                line = text.count("\n", 0, match.start()) + 1
                yield pytest.param(match[2], match[3], id=f"{page.name}:{line}")


@pytest.mark.parametrize(("code", "printed"), list(blocks("python")))
def test_python(code, printed):
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        exec(compile(code, "<snippet>", "exec"), {"__name__": "snippet"})
    assert printed is None or said.getvalue() == printed


@pytest.mark.parametrize(("script", "printed"), list(blocks("bash")))
def test_bash(script, printed, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path)
    for folder in ("examples", "conformance"):
        (tmp_path / folder).symlink_to(ROOT / folder)
    commands = [line for line in script.splitlines() if line.startswith("dma-conformance")]
    if not commands:
        assert re.match(r"python3 -m (pip install|tox run)", script), "neither our command nor pip nor tox"
    everything = False
    for line in commands:
        words = shlex.split(line, comments=True)[1:]
        target = words.pop() if len(words) > 1 and words[-2] == ">" else ""
        if target:
            words.pop()
        if words[0] == "run":
            words += ["-n", "0"]                        # no workers to start
            if not {"--backend", "-b", "--rule", "-r"} & set(words):
                everything = True
                words += ["--shard", "1/400"]
        done = CliRunner().invoke(main, words)
        assert done.exit_code in ((0, 1) if everything else (0,)), f"{line}\n{done.output}"
        assert done.exception is None or isinstance(done.exception, SystemExit), line
        if target:
            (tmp_path / target).write_text(done.stdout, encoding="utf-8")
            assert done.stdout


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    targets = LINK.findall(page.read_text(encoding="utf-8"))
    assert [target for target in targets if not (page.parent / target).exists()] == []


def test_there_are_snippets():
    assert len(list(blocks("python"))) >= 3 and len(list(blocks("bash"))) >= 8

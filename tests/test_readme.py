# SPDX-License-Identifier: MIT
"""What README.md and docs/ show is what happens: a page is gone through from its top in one folder, Python is executed,
and so is every dma-conformance command.

A ```text fence right after a ```python fence is what it prints; a snippet with tests in it is run by pytest. Where a
command would run everything, one case in 400 is run, and its exit status may be 1; '*' is one backend. A command says
so if it is to end with 1. tox and pip are left out. A command that several pages have is run once, unless it writes.
tests/docs runs those of the guides about C. What stands in other fences, because it takes hours, a cluster or a
kernel's source, is read as the command line reads it.
"""

import contextlib
import io
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from arch import backends
from conformance.cli import main

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("**/*.md"))]
FENCE = re.compile(r"^```(\w+)\n(.*?)^```\n(?:\n?```text\n(.*?)^```$)?", re.MULTILINE | re.DOTALL)
ANY_FENCE = re.compile(r"^```(\S*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")
DONE = set()                # commands that this process has run


def blocks(page):
    """(where, language, code, what it prints or None) from the page's top."""
    text = page.read_text(encoding="utf-8")
    for match in FENCE.finditer(text):
        if match[1] in ("python", "bash"):
            yield f"{page.name}:{text.count(chr(10), 0, match.start()) + 1}", *match.groups()


SPOKEN = [page for page in PAGES if any(blocks(page))]


def name_of(page):
    return str(page.relative_to(ROOT))


def python(where, code, printed):
    if re.search(r"^def test_", code, re.MULTILINE):
        return under_pytest(where, code)
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        exec(compile(code, where, "exec"), {"__name__": "snippet"})
    assert printed is None or said.getvalue() == printed, where


def under_pytest(where, code):
    Path("test_snippet.py").write_text(code, encoding="utf-8")
    command = [sys.executable, "-P", "-m", "pytest", "-q", "-p", "conformance.pytest_plugin", "-p", "no:cacheprovider",
               "--noconftest", "-c", os.devnull, "--rootdir", ".", "test_snippet.py"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    passed = f"{len(backends()) - 1} passed"        # all but dma_dummy_ops
    assert done.returncode == 0 and passed in done.stdout, f"{where}\n{done.stdout}{done.stderr}"


def bash(where, script):
    commands = [line for line in script.splitlines() if line.startswith("dma-conformance")]
    if not commands:
        assert re.match(r"python3 -m (pip install|tox run)", script), f"{where}: neither our command nor pip nor tox"
    for line in commands:
        command(where, line)


def command(where, line):
    words = shlex.split(line, comments=True)[1:]
    target = words.pop() if len(words) > 1 and words[-2] == ">" else ""
    if target:
        words.pop()
    statuses = (1,) if line.endswith("Linux refuses this pair") else (0,)
    if words[0] == "run":
        words += ["-n", "0"]                        # no workers to start
        if not {"--backend", "-b", "--rule", "-r"} & set(words):
            words += ["--shard", "1/400"]
            statuses = (0, 1)
    words = ["dma_d*" if word == "*" else word for word in words]
    writes = target or "--out" in words or words[0] in ("topology", "report", "merge", "diff")
    if not writes and tuple(words) in DONE:
        return
    done = CliRunner().invoke(main, words)
    assert done.exit_code in statuses, f"{where}: {line}\n{done.output}"
    assert done.exception is None or isinstance(done.exception, SystemExit), f"{where}: {line}"
    DONE.add(tuple(words))
    if target:
        Path(target).write_text(done.stdout, encoding="utf-8")
        assert done.stdout, f"{where}: {line}"


@pytest.mark.parametrize("page", SPOKEN, ids=name_of)
def test_page(page, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path)
    for folder in ("examples", "conformance", "docs"):
        (tmp_path / folder).symlink_to(ROOT / folder)
    for where, language, code, printed in blocks(page):
        if language == "python":
            python(where, code, printed)
        else:
            bash(where, code)


def not_run(page):
    """The commands of ours on a page that test_page does not run."""
    for language, code in ANY_FENCE.findall(page.read_text(encoding="utf-8")):
        if language not in ("python", "bash"):
            yield from (line.strip() for line in code.splitlines() if line.strip().startswith("dma-conformance "))


@pytest.mark.parametrize("page", [page for page in PAGES if any(not_run(page))], ids=name_of)
def test_commands_that_are_not_run_can_be(page):
    """Their options are there and take these values; a file or a module of the reader's need not be."""
    for line in not_run(page):
        words = shlex.split(line, comments=True)[1:]
        try:
            asked, context = main, click.Context(main)
            while isinstance(asked, click.Group):
                name, asked, words = asked.resolve_command(context, words)
                context = asked.make_context(name, words, parent=context)
        except click.exceptions.Exit:
            assert line.endswith(" --help"), line
        except click.UsageError as error:
            assert "does not exist" in error.message, f"{line}: {error.message}"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page):
    targets = LINK.findall(page.read_text(encoding="utf-8"))
    assert [target for target in targets if not (page.parent / target).exists()] == []


def test_there_are_snippets():
    found = [language for page in SPOKEN for _, language, _, _ in blocks(page)]
    assert found.count("python") >= 10 and found.count("bash") >= 20
    tutorials = {page.name for page in SPOKEN if page.parent.name == "tutorials"}
    assert tutorials == {"maintainer.md", "driver.md", "other-kernel.md", "hardware.md", "operator.md"}

# SPDX-License-Identifier: MIT
"""The command line as a person meets it: help with examples, one sentence for each wrong request, widths, colours."""

import io
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.shell_completion import BashComplete
from click.testing import CliRunner
from rich.console import Console

from arch import backends
from conformance import report as reports
from conformance.cli import main
from conformance.completion import VARIABLE, WHERE
from conformance.terminal import EXAMPLES, SECTIONS

CONTEXT = click.Context(main)
COMMANDS = main.list_commands(CONTEXT)
ROOT = Path(__file__).resolve().parents[2]
GPUS = """\
00:00.0 Host bridge [0600]: Intel [8086:4c43]
00:01.0 PCI bridge [0604]: Intel [8086:4c01]
\tBus: primary=00, secondary=01, subordinate=01, sec-latency=0
01:00.0 VGA compatible controller [0300]: Intel [8086:e223]
01:00.1 VGA compatible controller [0300]: Intel [8086:e223]
"""


def call(*words):
    return CliRunner().invoke(main, list(words), prog_name="dma-conformance")


# -- help ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_says_what_for_and_how(name):
    text = call(name, "--help").output
    assert name in EXAMPLES, "a command without examples"
    assert "\n  Examples:\n" in text
    for told, command in EXAMPLES[name]:
        assert f"    # {told}\n" in text and command in text        # neither is wrapped
    for param in main.get_command(CONTEXT, name).params:
        assert isinstance(param, click.Argument) or param.help or param.type.name == "choice" or param.name == "seed"


def test_help_lists_every_command_once():
    listed = [name for names in SECTIONS.values() for name in names]
    assert sorted(listed) == COMMANDS
    assert "…" not in call("--help").output and "..." not in call("--help").output.partition("Run:")[2]


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_examples_are_what_the_command_takes(name, tmp_path, monkeypatch):
    """They are parsed, not run: docs and README have those that are run."""
    monkeypatch.chdir(tmp_path)
    for folder in ("results", "results.old", "part1", "part2", "part3", "myruns", "usr"):
        (tmp_path / folder).mkdir()
    (tmp_path / "conformance").symlink_to(ROOT / "conformance")
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    (tmp_path / "linux-source-6.1.tar.xz").touch()
    for _, line in EXAMPLES[name]:
        words = shlex.split(line.replace("/usr/src/linux", "usr"))
        if words[0] == "eval":
            assert words[1] == "$(dma-conformance completion bash)"
            continue
        command = main.get_command(CONTEXT, words[0])
        with main.make_context("dma-conformance", words, resilient_parsing=False) as context:
            command.make_context(words[0], words[1:], parent=context)


# -- wrong requests --------------------------------------------------------------------------------------------

WRONG = [
    ("nonsense", "No such command 'nonsense'"),
    ("--nonsense", "--nonsense"),
    ("run --nonsense", "--nonsense"),
    ("run -b jaz_dma_ops", "there is no backend 'jaz_dma_ops'; did you mean jazz_dma_ops"),
    ("run -b", "requires an argument"),
    ("run -b nothing*", "no backend matches 'nothing*'"),
    ("run -b py:x", "'py:x' is not py:MODULE:OBJECT"),
    ("run -b py:no.such:X", "backend 'py:no.such:X' cannot be loaded"),
    ("run -b ,", "an empty name was given"),
    ("run -r DMA-999", "'DMA-999'"),
    ("run --api older", "'older' is not one of"),
    ("run --profile slow", "'slow' is not one of"),
    ("run -n many", "is a number, or auto"),
    ("replay -n many", "is a number, or auto"),
    ("run --shard 3/2", "'3/2' is no shard"),
    ("run --seed x", "'x' is not a valid integer"),
    ("run --time-limit 0", "0 is not in the range x>=1"),
    ("run --waivers none.toml", "'none.toml' does not exist"),
    ("run --waivers bad.toml", "bad.toml"),
    ("report none", "'none' does not exist"),
    ("report results --format pdf", "'pdf' is not one of"),
    ("explain", "Missing argument 'RULE-OR-CASE'"),
    ("explain DMA-999", "there is no rule 'DMA-999'"),
    ("explain DMA-08:jazz_dma_ops", "is no case; a case is RULE:BACKEND:MACHINE:API"),
    ("explain DMA-08:jaz_dma_ops:pica61:legacy", "there is no backend 'jaz_dma_ops'"),
    ("explain DMA-08:jazz_dma_ops:pica6:legacy", "backend jazz_dma_ops has no machine 'pica6'; did you mean pica61"),
    ("explain DMA-999:jazz_dma_ops:pica61:legacy", "'DMA-999'"),
    ("explain route/none:jazz_dma_ops:pica61:legacy", "there is no route 'none'"),
    ("explain DMA-08 --form c", "--form is for a case"),
    ("merge", "Missing argument 'SHARDS...'"),
    ("merge results", "Missing option '-o'"),
    ("diff results", "Missing argument 'NEW'"),
    ("replay --backend jaz_dma_ops", "no adapter replays backend jaz_dma_ops; did you mean jazz_dma_ops"),
    ("replay none", "none"),
    ("judge none", "none"),
    ("candidates -b nothing*", "no backend matches 'nothing*'"),
    ("topology", "no file: give what lspci -nnvvv prints as root, or --live"),
    ("topology none", "none: No such file or directory"),
    ("topology empty", "empty has no PCI function: expected what lspci"),
    ("topology gpus --cpu Pentium", "--cpu Pentium: neither zen, other"),
    ("topology gpus --cpu zen --kernel 2.4", "'2.4' is not one of"),
    ("topology gpus -d 99:00.0", "there is no function 0000:99:00.0"),
    ("topology gpus -d nvme", "there are not two devices to pair"),
    ("topology gpus --allow-bridge 1", "'1' is no host bridge"),
    ("topology gpus --what-if magic", "--what-if magic: acs-off"),
    ("trace none", "none: No such file or directory"),
    ("trace empty", "empty"),
    ("trace empty --machine x", "name a --backend"),
    ("audit", "Missing option '--kernel-source'"),
    ("audit --kernel-source none", "'none'"),
    ("oracle", "Missing option '--kernel-source'"),
    ("oracle --kernel-source none", "none"),
    ("selftest nobody", "there is no saboteur 'nobody'"),
    ("campaign -b nothing*", "no backend matches 'nothing*'"),
    ("campaign --seeds 9:1", "9:1"),
    ("campaign --resume", "--out"),
    ("new-backend x --lang perl", "'perl' is not one of"),
    ("cflags --page-shift 3", "3 is not in the range 12<=x<=16"),
    ("completion tcsh", "'tcsh' is not one of 'bash', 'zsh', 'fish'"),
    ("backends extra", "unexpected extra argument (extra)"),
    ("rules extra", "unexpected extra argument (extra)"),
]


@pytest.mark.parametrize(("line", "says"), WRONG, ids=[line for line, _ in WRONG])
def test_a_wrong_request_is_one_sentence_and_2(line, says, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "results").mkdir()
    (tmp_path / "empty").touch()
    (tmp_path / "gpus").write_text(GPUS)
    (tmp_path / "bad.toml").write_text("[[waiver]\n")
    done = call(*line.split())
    assert done.exit_code == 2, done.output
    assert done.exception is None or isinstance(done.exception, SystemExit)
    assert done.stdout == ""
    *before, last = done.stderr.rstrip("\n").split("\n")
    assert last.startswith("Error: ") and says in last
    assert all(re.match(r"Usage: dma-conformance|Try 'dma-conformance.* --help' for help\.$|$", one) for one in before)


def test_every_command_is_in_the_review():
    assert {line.split()[0] for line, _ in WRONG} >= set(main.commands)


# -- widths and colours ----------------------------------------------------------------------------------------


def matrix(columns):
    cells = [reports.Cell(f"known {n * 111}", "red") for n in range(columns)]
    return reports.Matrix("The DMA API", [f"group {n}" for n in range(columns)], [("sbus_iommu_dma_gflush_ops", cells)])


@pytest.mark.parametrize("width", [40, 60, 80, 120, 200])
def test_no_cell_is_cut(width):
    console = Console(file=io.StringIO(), width=width)
    console.print(reports.Fitted(matrix(9)))
    text = console.file.getvalue()
    assert max(len(line) for line in text.splitlines()) <= width
    assert "…" not in text
    for n in range(9):
        assert f"group {n}" in text and f"known {n * 111}" in text
    assert text.count("The DMA API") == text.count("sbus_iommu_dma_gflush_ops") >= 1
    assert ("continued" in text) == (width <= 120)


@pytest.mark.parametrize("width", [60, 80, 120])
def test_backends_are_named_at_any_width(width, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(width))
    lines = call("backends").output.splitlines()
    assert "…" not in "".join(lines)
    assert {line.split()[0] for line in lines if line and line[0] != " "} == {"backend", *backends()}


@pytest.mark.parametrize("no_color", [None, "", "1"])
def test_no_color(no_color, tmp_path, monkeypatch):
    (tmp_path / "gpus").write_text(GPUS)
    monkeypatch.delenv("NO_COLOR", raising=False)
    if no_color is not None:
        monkeypatch.setenv("NO_COLOR", no_color)
    done = CliRunner().invoke(main, ["topology", str(tmp_path / "gpus"), "--cpu", "other"], color=True)
    assert ("\x1b[" in done.output) == (not no_color)


# -- completion ------------------------------------------------------------------------------------------------


def offered(*words):
    *args, incomplete = words
    return [one.value for one in BashComplete(main, {}, "dma-conformance", VARIABLE).get_completions(args, incomplete)]


def test_completion_of_ids():
    assert sorted(offered("ru")) == ["rules", "run"]
    assert offered("run", "--backend", "jazz") == ["jazz_dma_ops"]
    assert offered("run", "-b", "jazz_dma_ops,s390") == ["jazz_dma_ops,s390_pci_dma_ops"]
    assert len(offered("run", "-b", "")) == len(backends())
    assert offered("run", "--rule", "dma-08") == ["DMA-08"]
    assert offered("trace", "-b", "jazz") == offered("replay", "-b", "jazz") == ["jazz_dma_ops"]
    assert offered("explain", "DMA-08") == ["DMA-08"]
    assert offered("explain", "DMA-08:jazz") == ["DMA-08:jazz_dma_ops"]
    assert offered("explain", "DMA-08:jazz_dma_ops:pica61") == [
        "DMA-08:jazz_dma_ops:pica61", "DMA-08:jazz_dma_ops:pica61-64"]
    assert "DMA-08:jazz_dma_ops:pica61:legacy" in offered("explain", "DMA-08:jazz_dma_ops:pica61:l")
    assert offered("explain", "route/sa") == ["route/same-switch"]
    assert "route/same-switch:dma_direct:x86_64:B" in offered("explain", "route/same-switch:dma_direct:x86_64:")
    assert offered("explain", "DMA-08:nobody:") == []
    assert offered("selftest", "no such saboteur") == []


@pytest.mark.parametrize("shell", WHERE)
def test_completion_script(shell):
    done = call("completion", shell)
    assert done.exit_code == 0
    assert VARIABLE in done.output and f"{shell}_complete" in done.output


def test_bash_completes(tmp_path):
    """A real bash with the script, and our command on its path."""
    command = tmp_path / "dma-conformance"
    command.write_text(f"#!/bin/sh\nexec {sys.executable} -P -m conformance \"$@\"\n")
    command.chmod(0o755)
    script = """
        eval "$(dma-conformance completion bash)"
        COMP_WORDS=(dma-conformance replay --backend jazz); COMP_CWORD=3
        _dma_conformance_completion dma-conformance
        echo "${COMPREPLY[@]}"
    """
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}",
                                "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False, env=environment)
    assert done.stdout == "jazz_dma_ops\n", done.stderr


# -- the start -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("words", "spared"), [
    (["--version"], {"rich", "dask", "jinja2", "dma_ops", "scatterlist", "arch", "conformance.report"}),
    (["rules", "--help"], {"dask", "jinja2", "conformance.html", "conformance.saboteurs", "conformance.topology"}),
], ids=["version", "rules"])
def test_what_a_command_does_not_need_is_not_imported(words, spared):
    code = ("import sys\nfrom conformance.cli import main\n"
            f"main({words}, prog_name='dma-conformance', standalone_mode=False)\n"
            f"print(sorted({spared} & set(sys.modules)))")
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True, env=env)
    assert done.stdout.splitlines()[-1] == "[]"

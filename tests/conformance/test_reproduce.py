# SPDX-License-Identifier: MIT
"""What explain gives to run a case again gives the same verdict."""

import shlex
import shutil
import subprocess
import sys

import pytest
from click.testing import CliRunner

from arch import backends
from conformance import reproduce
from conformance.cli import main
from conformance.execute import run_named
from conformance.selection import Case
from conformance.timeline import recording

FORGETS = "py:ideal_backend:UNWINDS_NOT"


def call(*words):
    done = CliRunner().invoke(main, ["explain", *words])
    return done.exit_code, done.output


def case_of(record):
    """The backend's first known fault as a case, if a rule's; else a rule that all keep."""
    for known in record.known:
        if known.rules[0].startswith(("DMA", "P2P")):
            machine = known.machines[0] if known.machines else record.machines[0].name
            return Case(known.rules[0], record.id, machine)
    return Case("DMA-06", record.id, record.machines[0].name)


@pytest.mark.parametrize("name", list(backends()))
def test_the_script_of_each_backend_comes_to_the_verdict(name, capsys):
    case = case_of(backends()[name])
    outcome = run_named(case, name, 0, "quick")
    script = reproduce.python_script(case, name, 0, "quick", outcome)
    with pytest.raises(SystemExit) as ended:
        exec(compile(script, "<script>", "exec"), {"__name__": "__main__"})
    assert ended.value.code == 0, capsys.readouterr().out[-500:]
    assert f"verdict: {outcome.verdict.value} " in capsys.readouterr().out


def test_the_script_alone(tmp_path):
    path = tmp_path / "case.py"
    code, script = call("DMA-13:forgetstounwind:plain:legacy", "-b", FORGETS, "--form", "python")
    path.write_text(script)
    done = subprocess.run([sys.executable, "-P", str(path)], check=False, capture_output=True, text=True, timeout=100)
    assert code == 0 and done.returncode == 0, done.stderr
    assert "verdict: fail" in done.stdout and "dma_map_sg" in done.stdout
    path.write_text(script.replace("!= 'fail'", "!= 'pass'"))
    assert subprocess.run([sys.executable, "-P", str(path)], check=False, capture_output=True).returncode == 1


def test_the_pytest_node():
    _, said = call("DMA-13:forgetstounwind:plain:legacy", "-b", FORGETS, "--form", "pytest", "--seed", "3")
    words = shlex.split(said)
    assert words[0] == "pytest" and words[words.index("--dma-seed") + 1] == "3"
    done = subprocess.run(
        [sys.executable, "-P", "-m", *words, "-p", "no:cacheprovider"], check=False, capture_output=True, text=True,
        timeout=100,
    )
    assert done.returncode == 1 and "1 failed" in done.stdout and "fail: " in done.stdout


C_CASES = ("DMA-06:jazz_dma_ops:pica61:legacy", "DMA-02:jazz_dma_ops:pica61:legacy")


@pytest.mark.skipif(shutil.which("gcc") is None, reason="no gcc")
@pytest.mark.parametrize("text", C_CASES)
def test_the_c_source_compiles_and_answers_as_the_run_did(text, tmp_path):
    from dma_ops.c_api import CObject
    from scatterlist import get_include

    case = Case.parse(text)
    rows = []
    with recording(rows):
        assert run_named(case, case.backend, 0, "quick").verdict.value == "pass"
    source, shared = tmp_path / "case.c", tmp_path / "case.so"

    def reproduced(code):
        source.write_text(code)
        subprocess.run(
            ["gcc", "-shared", "-fPIC", "-Wall", "-Werror", f"-I{get_include()}", source, "-o", shared], check=True,
        )
        config = next(one for one in backends()[case.backend].machines if one.name == case.machine)
        dev = config.build()
        return CObject(str(shared), dev.machine).call("reproduce", dev)

    code = reproduce.c_source(case, rows)
    assert "dma_map_" in code and reproduced(code) == 0
    asked = "!dma_mapping_error"                    # where all calls of the last machine fail
    other = code.replace("!= ", "!= 1 + ", 1) if "!= " in code else code.replace(asked, asked[1:])
    assert other != code
    shared.unlink()
    shared = tmp_path / "other.so"
    assert reproduced(other) > 0


def test_explain_shows_the_timeline_and_where_to_go_on():
    code, said = call("DMA-13:forgetstounwind:plain:legacy", "-b", FORGETS)
    assert code == 1
    command = "run it      pytest -v -p conformance.plugin --pyargs conformance"
    for part in ("timeline", "dma_map_sgtable(sgt t", command, "--form python"):
        assert part in said


def test_explain_of_what_dies_says_so():
    code, said = call("DMA-41:segfaults:plain:legacy", "-b", "py:ideal_backend:SEGFAULTS")
    assert code == 1 and "verdict     crashed (the process died of SIGSEGV)" in said and "timeline" not in said


HEAD = {"seed": 0, "profile": "quick"}


@pytest.mark.parametrize(("head", "expected"), [
    (HEAD, ""),
    ({**HEAD, "seed": 7, "profile": "full"}, "--seed 7 --profile full"),
    ({**HEAD, "asked_as": {"mine": "exec:./a b"}}, "--backend 'exec:./a b'"),
    ({**HEAD, "asked_as": {"other": "c:x.c:ops"}}, ""),
    ({**HEAD, "driver": {"files": ["a.so", "b.so"], "cflags": ""}}, "--driver a.so --driver b.so"),
    ({**HEAD, "driver": {"files": ["a.c"], "cflags": "-DX=1 -O1"}}, "--driver a.c --cflags '-DX=1 -O1'"),
], ids=["installed", "seed", "exec", "another", "objects", "cflags"])
def test_what_explain_needs(head, expected):
    assert reproduce.options(head, "mine") == expected


def test_the_command_that_a_report_prints_shows_the_same(tmp_path, monkeypatch):
    words = ["run", "-b", FORGETS, "-r", "DMA-13", "-n", "0", "--seed", "3", "--out", str(tmp_path)]
    said = CliRunner().invoke(main, words).output
    command = next(line.strip() for line in said.splitlines() if line.startswith("    dma-conformance explain "))
    assert command == f"dma-conformance explain DMA-13:forgetstounwind:plain:legacy --backend {FORGETS} --seed 3"
    code, told = call(*shlex.split(command)[2:])
    assert code == 1 and "verdict     fail" in told
    page = CliRunner().invoke(main, ["report", str(tmp_path), "--format", "html", "--timelines"]).stdout
    assert f'"forgetstounwind":"--backend {FORGETS} --seed 3"' in page
    assert '"DMA-13:forgetstounwind:plain:legacy":{"svg"' in page


def test_a_rule_has_no_form():
    assert call("DMA-13", "--form", "c")[0] == 2

# SPDX-License-Identifier: MIT
"""Whatever a backend does to its process costs one case, on any number of workers."""

import os
import subprocess
import sys
import time

import pytest

from conformance import isolation
from conformance.report import is_good
from conformance.runner import run
from conformance.selection import Case, Selection
from conformance.verdict import Verdict

RULES = ("DMA-04", "DMA-05", "DMA-07", "DMA-41")
ASAN = "asan" in os.environ.get("LD_PRELOAD", "")


@pytest.mark.parametrize(
    ("name", "verdict", "says"),
    [
        ("CRASHES", Verdict.CRASHED, "died of SIGABRT"),
        ("SEGFAULTS", Verdict.CRASHED, "died of SIGSEGV"),
        ("EXITS", Verdict.CRASHED, "ended with status 0"),
        ("HANGS", Verdict.TIMEOUT, "not done after 3 s"),
        ("LOOPS", Verdict.TIMEOUT, "not done after 3 s"),
        ("BABBLES", Verdict.CRASHED, "no result"),
        pytest.param("EATS", Verdict.FAIL, "the backend raises MemoryError",
                     marks=pytest.mark.skipif(ASAN, reason="ASan needs terabytes of addresses")),
    ],
)
def test_it_costs_one_case(tmp_path, name, verdict, says):
    selection = Selection((f"py:ideal_backend:{name}",), RULES)
    report = run(selection, tmp_path / "0", workers="0", time_limit=3)
    assert not report.truncated and not is_good(report)
    assert {result.what: result.verdict for result in report.results} == {
        **dict.fromkeys(RULES, Verdict.PASS),
        "DMA-41": verdict,
    }
    assert says in next(result.detail for result in report.results if result.what == "DMA-41")
    if name in ("SEGFAULTS", "LOOPS"):
        subprocess.run(
            [sys.executable, "-P", "-m", "conformance", "run", "-b", *selection.backends, "-r", ",".join(RULES),
             "-n", "1", "--time-limit", "3", "--out", tmp_path / "1"],
            check=False, capture_output=True, timeout=100,
        )
        assert (tmp_path / "0/results.jsonl").read_bytes() == (tmp_path / "1/results.jsonl").read_bytes()


def ask(rule, name, limit=60):
    return isolation.run_isolated(Case(rule, name.lower(), "plain"), f"py:ideal_backend:{name}", 0, "quick", limit)


def test_a_child_serves_many_cases_and_a_dead_one_is_replaced(monkeypatch):
    isolation.close()
    started = []
    init = isolation.Child.__init__
    monkeypatch.setattr(isolation.Child, "__init__", lambda self: started.append(self) or init(self))
    assert [ask(rule, "SEGFAULTS").verdict for rule in ("DMA-07", "DMA-05")] == [Verdict.PASS] * 2
    assert len(started) == 1
    assert ask("DMA-41", "SEGFAULTS").verdict is Verdict.CRASHED
    assert ask("DMA-07", "SEGFAULTS").verdict is Verdict.PASS
    assert len(started) == 2
    isolation.close()


@pytest.mark.skipif(ASAN, reason="ASan needs terabytes of addresses")
def test_a_child_that_lost_its_memory_is_replaced():
    isolation.close()
    assert ask("DMA-41", "EATS").verdict is Verdict.FAIL
    assert isolation._server.child is None
    assert ask("DMA-07", "EATS").verdict is Verdict.PASS
    isolation.close()


def test_a_child_that_is_killed_is_gone():
    isolation.close()
    started = time.monotonic()
    assert ask("DMA-07", "LOOPS").verdict is Verdict.PASS
    child = isolation._server.child._process
    assert ask("DMA-41", "LOOPS", limit=1).verdict is Verdict.TIMEOUT
    assert child.returncode == -9 and time.monotonic() - started < 60


def test_the_reference_library_needs_no_child():
    assert not isolation.foreign("jazz_dma_ops")
    assert isolation.foreign("py:ideal_backend:IDEAL") and isolation.foreign("c:./mine.so:ops")

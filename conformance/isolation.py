# SPDX-License-Identifier: MIT
"""Runs the cases of a backend that is not ours in a process of their own, so that whatever it does costs one case.

The child is started once and serves case after case. If it dies, the case is crashed and the next one gets a new
child; if it does not answer in time, it is killed, though it may sit in C and hold the interpreter's lock. Its memory
is limited. So the verdicts are the same in this process (-n 0) as on any number of workers.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import resource
import selectors
import signal
import subprocess
import sys
import time
from functools import cache
from typing import Any, Literal

import arch

from .execute import Result, result, run_named
from .selection import Case
from .verdict import Verdict

MEMORY_LIMIT = 4 << 30                  # bytes of address space
START_LIMIT = 120                       # seconds until the child is there
Profile = Literal["quick", "full"]


@cache
def foreign(name: str) -> bool:
    """Is the backend that was asked for by this name another one's than the reference library's?"""
    return name not in arch.backends()


class Lost(Exception):
    """The child gave no answer."""

    def __init__(self, verdict: Verdict, detail: str) -> None:
        super().__init__(detail)
        self.verdict = verdict


class Child:
    """A process that runs cases. quiet: what it writes is thrown away. program: the module that it runs."""

    def __init__(self, *, quiet: bool = True, program: str = "conformance.isolation") -> None:
        answers, theirs = os.pipe()
        env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", program, str(theirs)],
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL if quiet else None,
            pass_fds=[theirs], start_new_session=True, env=env, cwd=os.getcwd(),
        )
        os.close(theirs)
        self._answers = answers
        self._unread = b""
        self._read(START_LIMIT)

    def ask(self, question: dict[str, Any], time_limit: float) -> dict[str, Any]:
        """The answer to a question. Raises Lost; the child is dead then."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(question).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._died() from None
        return self._read(time_limit)

    def _read(self, time_limit: float) -> dict[str, Any]:
        end = time.monotonic() + time_limit
        with selectors.DefaultSelector() as selector:
            selector.register(self._answers, selectors.EVENT_READ)
            while b"\n" not in self._unread:
                if not selector.select(max(end - time.monotonic(), 0)):
                    self.close()
                    raise Lost(Verdict.TIMEOUT, f"not done after {time_limit:g} s")
                got = os.read(self._answers, 1 << 16)
                if not got:
                    raise self._died()
                self._unread += got
        line, _, self._unread = self._unread.partition(b"\n")
        try:
            answer = json.loads(line)
            if not isinstance(answer, dict):
                raise ValueError(line)
        except ValueError:
            self.close()
            raise Lost(Verdict.CRASHED, "the process answered with what is no answer") from None
        return answer

    def _died(self) -> Lost:
        try:
            status = self._process.wait(5)
        except subprocess.TimeoutExpired:
            self.close()
            return Lost(Verdict.CRASHED, "the process closed its pipe")
        self.close()
        if status < 0:
            return Lost(Verdict.CRASHED, f"the process died of {signal.Signals(-status).name}")
        return Lost(Verdict.CRASHED, f"the process ended with status {status}")

    def close(self) -> None:
        """Kill it and what it started; a second time does nothing."""
        if self._answers < 0:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        os.close(self._answers)
        self._answers = -1


_running: list[Child] = []              # at most one


@atexit.register
def close() -> None:
    """End the child of this process, if there is one."""
    while _running:
        _running.pop().close()


def run_isolated(case: Case, name: str, seed: int, profile: Profile, time_limit: float) -> Result:
    """run_named() in the child."""
    question = {"case": case.id, "name": name, "seed": seed, "profile": profile}
    return _asked(case, question, time_limit)[0]


def run_traced(
    case: Case, name: str, seed: int, profile: Profile, only: str, time_limit: float
) -> tuple[Result, list[dict[str, Any]]]:
    """run_named() and the timeline; there is none of a case that kills the child."""
    question = {"case": case.id, "name": name, "seed": seed, "profile": profile, "only": only, "trace": True}
    return _asked(case, question, time_limit)


def _asked(case: Case, question: dict[str, Any], time_limit: float) -> tuple[Result, list[dict[str, Any]]]:
    try:
        if not _running:
            _running.append(Child())
        answer = _running[0].ask(question, time_limit)
        outcome, rows = Result.from_json(answer["result"]), answer.get("timeline", [])
    except Lost as lost:
        close()
        return result(case, lost.verdict, str(lost)), []
    except (TypeError, ValueError, KeyError) as error:
        close()
        return result(case, Verdict.CRASHED, f"the process answered with what is no result: {error!r}"), []
    if answer.get("full"):
        close()
    if outcome.case != case.id:
        close()
        return result(case, Verdict.CRASHED, "the process answered for another case"), []
    return outcome, rows


# -- the child ---------------------------------------------------------------------------------------------------


def _confine() -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if "asan" not in os.environ.get("LD_PRELOAD", ""):      # which reserves terabytes
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT, resource.RLIM_INFINITY))


def _allow_maps() -> None:
    """C code's machines reserve their linear map (scatterlist, dma_ops.linear), which takes addresses and no memory."""
    resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


def _full() -> bool:
    """Is so much memory lost that later cases would suffer? Where addresses are not limited, what is touched counts."""
    limited = resource.getrlimit(resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY
    with open("/proc/self/statm") as file:
        return int(file.read().split()[0 if limited else 1]) * resource.getpagesize() > MEMORY_LIMIT // 2


def _serve(fd: int) -> None:
    from .timeline import recording

    os.set_inheritable(fd, False)
    with os.fdopen(fd, "w") as answers:
        answers.write("{}\n")
        answers.flush()
        for line in sys.stdin:
            question = json.loads(line)
            case = Case.parse(question["case"])
            if question["name"].startswith("c:"):
                _allow_maps()
            rows: list[dict[str, Any]] = []
            try:
                with recording(rows) if question.pop("trace", False) else contextlib.nullcontext():
                    outcome = run_named(**{**question, "case": case})
            except Exception as error:
                outcome = result(case, Verdict.BROKEN, f"{type(error).__name__}: {error}")
            answers.write(json.dumps({"result": outcome.as_json(), "timeline": rows, "full": _full()}) + "\n")
            answers.flush()


if __name__ == "__main__":
    _confine()
    _serve(int(sys.argv[1]))

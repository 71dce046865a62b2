# SPDX-License-Identifier: MIT
"""Runs cases in a process of their own, so that whatever a backend does costs one case.

The child is started once and serves case after case. If it dies, the case is crashed and the next one gets a new
child; if it does not answer in time, it is killed, though it may sit in C and hold the interpreter's lock. Its memory
is limited. A backend that is not ours shares no child with another one. So the verdicts are the same with -n 0, where
only such backends have a child, as on any number of workers.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import json
import os
import resource
import select
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any, Literal

import arch

from .execute import Result, result, run_named
from .selection import Case
from .verdict import Verdict

TIME_LIMIT = 60                         # seconds for one case
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
        self._poll = select.poll()
        self._poll.register(answers, select.POLLIN)
        self._unread = b""
        self.answer(START_LIMIT)

    def tell(self, question: dict[str, Any]) -> None:
        """Ask a question; one about n cases has n answers. Raises Lost, as answer() does; the child is dead then."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(question).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._died() from None

    def ask(self, question: dict[str, Any], time_limit: float) -> dict[str, Any]:
        """tell(), and the answer."""
        self.tell(question)
        return self.answer(time_limit)

    def answer(self, time_limit: float) -> dict[str, Any]:
        end = time.monotonic() + time_limit
        while b"\n" not in self._unread:
            if not self._poll.poll(max(end - time.monotonic(), 0) * 1000):
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

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def close(self) -> None:
        """Kill it and what it started; a second time does nothing."""
        if self._answers < 0:
            return
        self.kill()
        self._process.wait()
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        os.close(self._answers)
        self._answers = -1


class Server:
    """Answers for cases through a child, which is replaced when it dies."""

    def __init__(self) -> None:
        self.child: Child | None = None
        self._name = ""                         # of the foreign backend that the child has served
        self._over = False

    def answers(
        self, cases: Sequence[Case], name: str, seed: int, profile: Profile, time_limit: float, **more: Any
    ) -> Iterator[tuple[Result, dict[str, Any]]]:
        """run_named() of each, and what else the child tells of it. The cases' ids must fit into a pipe."""
        if self._name not in ("", name):
            self.close()
        self._name = name if foreign(name) else ""
        left = deque(cases)
        while left and not self._over:
            try:
                if self.child is None:
                    self.child = Child()
                self.child.tell({"cases": [case.id for case in left], "name": name, "seed": seed, "profile": profile,
                                 **more})
                while left and self.child is not None:
                    answer = self.child.answer(time_limit)
                    outcome = Result.from_json(answer["result"])
                    if outcome.case != left[0].id:
                        raise Lost(Verdict.CRASHED, "the process answered for another case")
                    left.popleft()
                    if answer.get("full"):
                        self.close()
                    yield outcome, answer
            except Lost as lost:
                self.close()
                yield result(left.popleft(), lost.verdict, str(lost)), {}
            except (TypeError, ValueError, KeyError) as error:
                self.close()
                said = f"the process answered with what is no result: {error!r}"
                yield result(left.popleft(), Verdict.CRASHED, said), {}

    def stop(self) -> None:
        """From another thread: end what goes on, and begin nothing more."""
        self._over = True
        child = self.child
        if child is not None:
            child.kill()

    def close(self) -> None:
        if self.child is not None:
            self.child.close()
        self.child = None


_server = Server()                      # of this process


@atexit.register
def close() -> None:
    """End the child of this process, if there is one."""
    _server.close()


def run_isolated(case: Case, name: str, seed: int, profile: Profile, time_limit: float) -> Result:
    """run_named() in the child."""
    return next(iter(_server.answers([case], name, seed, profile, time_limit)))[0]


def run_traced(
    case: Case, name: str, seed: int, profile: Profile, only: str, time_limit: float
) -> tuple[Result, list[dict[str, Any]]]:
    """run_named() and the timeline; there is none of a case that kills the child."""
    outcome, answer = next(iter(_server.answers([case], name, seed, profile, time_limit, only=only, trace=True)))
    return outcome, answer.get("timeline", [])


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
    used = os.pread(_statm(), 200, 0).split()[0 if limited else 1]
    return int(used) * resource.getpagesize() > MEMORY_LIMIT // 2


@cache
def _statm() -> int:
    return os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)


def _serve(fd: int) -> None:
    from .timeline import recording

    os.set_inheritable(fd, False)
    gc.freeze()                             # what was imported stays
    with os.fdopen(fd, "w") as answers:
        answers.write("{}\n")
        answers.flush()
        for line in sys.stdin:
            question = json.loads(line)
            if question["name"].startswith("c:"):
                _allow_maps()
            trace = question.pop("trace", False)
            for name in question.pop("cases"):
                case = Case.parse(name)
                rows: list[dict[str, Any]] = []
                start = time.perf_counter()
                try:
                    with recording(rows) if trace else contextlib.nullcontext():
                        outcome = run_named(case, **question)
                except Exception as error:
                    outcome = result(case, Verdict.BROKEN, f"{type(error).__name__}: {error}")
                answer = {"result": outcome.as_json(), "seconds": time.perf_counter() - start, "full": _full()}
                answers.write(json.dumps({**answer, "timeline": rows} if trace else answer) + "\n")
                answers.flush()
                if answer["full"]:
                    return


if __name__ == "__main__":
    _confine()
    _serve(int(sys.argv[1]))

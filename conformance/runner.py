# SPDX-License-Identifier: MIT
"""Runs a selection on as many processes as wanted, and gathers what comes back.

A worker is a thread with a child process (isolation.py), which it gives the cases of one machine at a time and which
answers case by case. A child that dies or hangs costs the case it was at; a new one goes on with the next. So the
results are those of a run in one process, byte by byte.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import queue
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from pathlib import Path

from . import isolation
from .execute import Result, run_named
from .isolation import TIME_LIMIT, Server
from .output import Output
from .results import Report, read
from .selection import Case, Selection, SelectionError

CHUNK = 256                             # cases at most: their ids fit into a pipe
Heard = Callable[[Result, float], None]


class RunError(RuntimeError):
    """The run itself failed, not a backend."""


def run(
    selection: Selection,
    out: Path | None = None,
    *,
    workers: str = "auto",
    time_limit: int = TIME_LIMIT,
    listener: Callable[[Result], None] | None = None,
) -> Report:
    """Run the selection; the report, which is also in out if that is given. listener gets each result as it comes.

    workers: "auto", or a number; with 0, only backends that are not ours get a process. Raises SelectionError for a
    selection that names nothing, RunError if the report cannot be completed.
    """
    count = len(os.sched_getaffinity(0)) if workers == "auto" else int(workers)
    with contextlib.ExitStack() as stack:
        folder = out if out is not None else Path(stack.enter_context(tempfile.TemporaryDirectory()))
        plan = selection.plan()
        if not selection.cases():
            raise SelectionError("no case is selected")
        output = Output(folder, selection, plan, listener)
        left = set(output.writer.missing)
        cases = [case for case in plan if case.id in left]
        try:
            if count:
                _on_workers(selection, cases, count, time_limit, output.add)
            else:
                _here(selection, cases, time_limit, output.add)
        finally:
            output.close()
        return read(folder)


def _here(selection: Selection, cases: Sequence[Case], time_limit: int, heard: Heard) -> None:
    names, seed, profile = selection.names(), selection.seed, selection.profile
    for case in cases:
        start, name = time.perf_counter(), names[case.backend]
        if isolation.foreign(name):
            outcome = isolation.run_isolated(case, name, seed, profile, time_limit)
        else:
            faulthandler.dump_traceback_later(time_limit, exit=True, file=2)      # sys.stderr may be no file
            try:
                outcome = run_named(case, name, seed, profile)
            finally:
                faulthandler.cancel_dump_traceback_later()
        heard(outcome, time.perf_counter() - start)
    isolation.close()


def chunks(cases: Sequence[Case], workers: int) -> Iterator[list[Case]]:
    """What is given out at once: a machine's cases, about which a process finds out some things once; fewer where
    else a worker would have none."""
    most = min(max(len(cases) // (4 * workers), 1), CHUNK)
    for _, group in groupby(cases, key=lambda case: (case.backend, case.machine)):
        whole = list(group)
        yield from (whole[i : i + most] for i in range(0, len(whole), most))


def _on_workers(selection: Selection, cases: Sequence[Case], count: int, time_limit: int, heard: Heard) -> None:
    names, seed, profile = selection.names(), selection.seed, selection.profile
    todo: queue.SimpleQueue[list[Case]] = queue.SimpleQueue()
    for chunk in chunks(cases, count):
        todo.put(chunk)
    servers = [Server() for _ in range(min(count, todo.qsize()))]
    said: queue.SimpleQueue[tuple[Result, float] | Exception | None] = queue.SimpleQueue()

    def work(server: Server) -> None:
        try:
            while True:
                chunk = todo.get_nowait()
                name = names[chunk[0].backend]
                for outcome, answer in server.answers(chunk, name, seed, profile, time_limit):
                    said.put((outcome, answer.get("seconds", 0.0)))
        except queue.Empty:
            pass
        except Exception as error:
            said.put(error)
        finally:
            server.close()
            said.put(None)

    threads = [threading.Thread(target=work, args=(server,), daemon=True) for server in servers]
    for thread in threads:
        thread.start()
    try:
        busy = len(threads)
        while busy:
            got = said.get()
            if got is None:
                busy -= 1
            elif isinstance(got, Exception):
                raise RunError(f"the run ended with {type(got).__name__}: {got}") from got
            else:
                heard(*got)
    finally:
        for server in servers:
            server.stop()
        for thread in threads:
            thread.join()

# SPDX-License-Identifier: MIT
"""Who explores: this process, processes of this machine, or the workers of a Dask scheduler.

A crew is handed tasks, runs of units, and gives each back once, with what it found or as lost. Lost is a task whose
worker died; whether it is handed out again is not the crew's business.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import threading
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from multiprocessing.connection import wait as wait_for
from typing import Any, Protocol

from ..version import project_version
from .plan import Plan
from .summary import Effort, Summary
from .unit import explore

Task = tuple[int, int]                  # the first unit, and behind the last
Found = tuple[Summary, Effort] | None   # None: lost


class CrewError(Exception):
    """The crew cannot work at all."""


class Crew(Protocol):
    @property
    def workers(self) -> int: ...
    def hand(self, task: Task) -> None: ...
    def collect(self) -> Iterator[tuple[Task, Found]]:
        """What has come back; waits until something has. Nothing may come back of what was not handed out."""
    def close(self) -> None: ...


class Here:
    """This process."""

    workers = 1

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.tasks: list[Task] = []

    def hand(self, task: Task) -> None:
        self.tasks.append(task)

    def collect(self) -> Iterator[tuple[Task, Found]]:
        task = self.tasks.pop(0)
        yield task, explore(self.plan, *task)

    def close(self) -> None:
        pass


def end_with_parent() -> None:
    """A worker waits for tasks on a pipe whose other end it holds too: it would outlive a driver that was killed."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        wait_for([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


class Processes:
    """Processes of this machine. When one dies all that were handed out are lost, and the crew is made anew."""

    def __init__(self, plan: Plan, workers: int) -> None:
        self.plan = plan
        self.workers = workers
        self.futures: dict[Future[tuple[Summary, Effort]], Task] = {}
        self.pool = self._made()

    def _made(self) -> ProcessPoolExecutor:
        context = multiprocessing.get_context("spawn")
        return ProcessPoolExecutor(self.workers, mp_context=context, initializer=end_with_parent)

    def hand(self, task: Task) -> None:
        try:
            future = self.pool.submit(explore, self.plan, *task)
        except BrokenProcessPool:
            future = Future()
            future.set_exception(BrokenProcessPool("a worker died"))
        self.futures[future] = task

    def collect(self) -> Iterator[tuple[Task, Found]]:
        done, _ = wait(self.futures, return_when=FIRST_COMPLETED)
        if any(isinstance(future.exception(), BrokenProcessPool) for future in done):
            done, _ = wait(self.futures)
            self.pool.shutdown()
            self.pool = self._made()
        for future in done:
            task = self.futures.pop(future)
            lost = isinstance(future.exception(), BrokenProcessPool)
            yield task, None if lost else future.result()

    def close(self) -> None:
        self.pool.shutdown(cancel_futures=True)


class Dask:
    """The workers that a Dask scheduler has at the moment. Dask itself runs again what a lost worker had; what dies
    with one worker after the other comes back as lost."""

    def __init__(self, plan: Plan, address: str) -> None:
        """Raises CrewError."""
        try:
            distributed: Any = importlib.import_module("distributed")
        except ImportError:
            raise CrewError("a Dask scheduler needs the extra: pip install 'dma-conformance[cluster]'") from None
        self.plan = plan
        self.killed = distributed.scheduler.KilledWorker
        self.cancelled = distributed.client.FutureCancelledError
        try:
            self.client = distributed.Client(address, timeout="20s", set_as_default=False)
            self.client.wait_for_workers(1, timeout=60)
            theirs: dict[str, str] = self.client.run(project_version)
        except (OSError, ValueError) as error:
            raise CrewError(f"{address}: {error}") from None
        except ModuleNotFoundError as error:
            raise CrewError(f"{address}: a worker does not have dma-conformance installed ({error})") from None
        for worker, version in theirs.items():
            if version != project_version():
                raise CrewError(f"worker {worker} has version {version}, this is {project_version()}")
        self.done = distributed.as_completed(loop=self.client.loop)
        self.tasks: dict[str, Task] = {}
        self.number = 0

    @property
    def workers(self) -> int:
        threads: dict[str, int] = self.client.nthreads()
        return max(sum(threads.values()), 1)

    def hand(self, task: Task) -> None:
        self.number += 1
        future = self.client.submit(explore, self.plan, *task, pure=False, key=f"campaign-{self.number}-{task[0]}")
        self.tasks[future.key] = task
        self.done.add(future)

    def collect(self) -> Iterator[tuple[Task, Found]]:
        for future in self.done.next_batch(block=True):
            task = self.tasks.pop(future.key)
            found: Found = None
            with suppress(self.killed, self.cancelled):
                found = future.result()
            yield task, found

    def close(self) -> None:
        self.client.close()


def crew(plan: Plan, workers: int, scheduler: str = "") -> Crew:
    """Raises CrewError."""
    if scheduler:
        return Dask(plan, scheduler)
    return Processes(plan, workers) if workers else Here(plan)

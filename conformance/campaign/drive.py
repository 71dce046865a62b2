# SPDX-License-Identifier: MIT
"""Hands units to a crew until all are done, and runs again what was lost."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator

from .crews import Crew, CrewError, Task
from .journal import Journal
from .plan import Plan
from .summary import Effort, Failure, Summary

HOPELESS = 12                           # losses for each worker, with nothing ever found: it is the workers' fault
AHEAD = 2                               # tasks handed out for each worker
TRIES = 3                               # workers that a task may lose; then its units run alone: the next is a crash


def drive(plan: Plan, crew: Crew, journal: Journal, first: int, last: int, together: int = 1,
          heard: Callable[[int], None] = lambda units: None) -> int:
    """Explore the units from first to last - 1 as far as the journal lacks them, so many in a task. How many tasks were
    lost. heard() is told how many units have come back each time. Raises CrewError if no worker lives."""
    todo = _tasks(journal.done.missing(first, last), together)
    again: deque[Task] = deque()
    suspects: deque[Task] = deque()
    alone: set[Task] = set()
    losses: Counter[Task] = Counter()
    out = lost = 0
    lives = False
    while True:
        while out < AHEAD * crew.workers:
            task = again.popleft() if again else next(todo, None)
            if task is None and not out and suspects:
                task = suspects.popleft()
                alone.add(task)
            if task is None:
                break
            crew.hand(task)
            out += 1
        if not out:
            return lost
        for task, found in crew.collect():
            out -= 1
            if found is not None:
                lives = True
                if journal.add(*task, *found):
                    heard(task[1] - task[0])
                continue
            lost += 1
            if not lives and lost >= HOPELESS * crew.workers:
                raise CrewError("every worker dies before it has explored anything: see why with -n 0")
            losses[task] += 1
            if task in alone:
                journal.add(*task, _crash(plan, task[0]), Effort())
                heard(1)
            elif losses[task] < TRIES:
                again.append(task)
            else:
                suspects.extend((unit, unit + 1) for unit in range(*task))


def _tasks(gaps: Iterator[tuple[int, int]], together: int) -> Iterator[Task]:
    for first, last in list(gaps):
        for unit in range(first, last, together):
            yield unit, min(unit + together, last)


def _crash(plan: Plan, unit: int) -> Summary:
    """A unit that ends every process that runs it."""
    name, machine = plan.machines[unit % len(plan.machines)]
    seeds = plan.seeds(unit)
    found = Summary()
    found.counters["cases"] += len(seeds)
    program = (f"from conformance.campaign import Plan, explore\n\n"
               f"explore(Plan({plan.machines!r}, {plan.shape!r}, {plan.guided!r}, {plan.size}), {unit}, {unit + 1})\n")
    found.fail(Failure(name, machine, "crash", "each process that runs these seeds dies", seeds[0], program))
    return found

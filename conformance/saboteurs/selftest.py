# SPDX-License-Identifier: MIT
"""Plants every saboteur and sees which rules notice: the kill matrix."""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from multiprocessing.connection import Connection, wait
from typing import Any

from dma_ops import KernelBug

from ..execute import run_case
from ..facts import Subject
from ..rules import load_rules
from ..selection import Case
from ..verdict import Verdict
from . import SABOTEURS, Saboteur

TIME_LIMIT = 60.0                       # seconds that one saboteur may take on one backend
NONE = Saboteur("", "", (), ())
JUDGED = (Verdict.PASS, Verdict.KNOWN, Verdict.NOT_TESTED, Verdict.NOT_APPLICABLE)      # of the real backend, to count


@dataclass(frozen=True, slots=True)
class Sighting:
    """A rule on a saboteur in one backend. real, broken: its verdicts without and with the saboteur."""

    saboteur: str
    target: str
    rule: str
    real: str
    broken: str
    seen: str = ""

    @property
    def killed(self) -> bool:
        return self.broken == "fail" and self.real in {verdict.value for verdict in JUDGED}


def jobs(names: Iterable[str] = ()) -> list[tuple[str, str]]:
    """(saboteur, target) in the order of their definition. names: only these."""
    chosen = set(names)
    return [
        (saboteur.name, target)
        for saboteur in SABOTEURS.values()
        if not chosen or saboteur.name in chosen
        for target in saboteur.targets
    ]


@cache
def _clean(target: str, rule: str, seed: int, saboteur: Saboteur) -> Verdict:
    """The rule's verdict on the real backend. saboteur: the one whose mends it has, or one without any."""
    record, config = NONE.record(target)
    case = Case(rule, record.id, config.name)
    with saboteur.mended():
        return run_case(case, Subject(record, config.of(case.api)), seed, "quick").verdict


def observe(name: str, target: str, seed: int = 0) -> list[Sighting]:
    """What the rules that a saboteur breaks say of it on one backend."""
    saboteur = SABOTEURS[name]
    record, config = saboteur.record(target)
    clean = {rule: _clean(target, rule, seed, saboteur if saboteur.mends else NONE) for rule in saboteur.breaks}
    found = []
    with saboteur.planted():
        cases = [Case(rule, record.id, config.name) for rule in saboteur.breaks]
        try:
            subjects = {api: Subject(record, config.of(api)) for api in {case.api for case in cases}}
        except KernelBug as bug:
            return [Sighting(name, target, rule, clean[rule].value, "crashed", str(bug)) for rule in saboteur.breaks]
        for rule, case in zip(saboteur.breaks, cases, strict=True):
            result = run_case(case, subjects[case.api], seed, "quick")
            verdict = result.verdict.value
            died = "the kernel would die" in result.detail or result.detail.startswith("the backend raises")
            if verdict == "fail" and died and not saboteur.dies:
                verdict = "crashed"
            found.append(Sighting(name, target, rule, clean[rule].value, verdict, result.detail))
    return found


# -- workers ---------------------------------------------------------------------------------------------------

def _work(pipe: Connection, seed: int) -> None:
    while True:
        job = pipe.recv()
        if job is None:
            return
        try:
            pipe.send(observe(job[0], job[1], seed))
        except Exception as error:
            pipe.send([
                Sighting(job[0], job[1], rule, "", "broken", f"{type(error).__name__}: {error}")
                for rule in SABOTEURS[job[0]].breaks
            ])


class _Worker:
    """A process that observes one job at a time, and may die of it."""

    def __init__(self, seed: int) -> None:
        context: Any = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_work, args=(theirs, seed), daemon=True)
        self.process.start()
        theirs.close()
        self.job: tuple[str, str] | None = None

    def give(self, job: tuple[str, str]) -> None:
        self.job = job
        self.pipe.send(job)

    def take(self) -> list[Sighting] | None:
        """The answer; None if the process died."""
        try:
            answer: list[Sighting] = self.pipe.recv()
        except (EOFError, ConnectionResetError):
            return None
        return answer

    def end(self) -> None:
        self.process.kill()
        self.process.join()
        self.pipe.close()


def run(names: Iterable[str] = (), *, workers: int = 2, seed: int = 0,
        heard: Callable[[], None] | None = None) -> list[Sighting]:
    """All sightings, in the order of jobs(), whatever the number of workers."""
    todo = jobs(names)
    done: dict[tuple[str, str], list[Sighting]] = {}
    for job, found in (_alone(todo, seed) if workers == 0 else _spread(todo, workers, seed)):
        done[job] = found
        if heard is not None:
            heard()
    return [sighting for job in todo for sighting in done[job]]


def _alone(todo: list[tuple[str, str]], seed: int) -> Iterator[tuple[tuple[str, str], list[Sighting]]]:
    for job in todo:
        yield job, observe(*job, seed)


def _spread(todo: list[tuple[str, str]], workers: int, seed: int) -> Iterator[
        tuple[tuple[str, str], list[Sighting]]]:
    queue = list(reversed(todo))
    crew = {}
    for _ in range(min(workers, len(todo))):
        worker = _Worker(seed)
        worker.give(queue.pop())
        crew[worker.pipe] = worker
    while crew:
        ready = wait(list(crew), TIME_LIMIT)
        for pipe in ready or list(crew):
            worker = crew[pipe]
            job = worker.job
            assert job is not None
            found = worker.take() if ready else None
            if found is None:
                verdict = "crashed" if ready else "timeout"
                found = [Sighting(*job, rule, "", verdict) for rule in SABOTEURS[job[0]].breaks]
                worker.end()
                del crew[pipe]
                if queue:
                    worker = _Worker(seed)
                    crew[worker.pipe] = worker
            yield job, found
            if queue and worker.pipe in crew:
                worker.give(queue.pop())
            elif worker.pipe in crew:
                worker.end()
                del crew[worker.pipe]


# -- the verdict on the suite ----------------------------------------------------------------------------------

@dataclass(frozen=True, slots=True)
class Matrix:
    """Which rule kills which saboteur on which backends."""

    sightings: list[Sighting]

    @property
    def kills(self) -> dict[str, dict[str, list[str]]]:
        """rule -> saboteur -> backends."""
        out: dict[str, dict[str, list[str]]] = {}
        for one in self.sightings:
            if one.killed:
                out.setdefault(one.rule, {}).setdefault(one.saboteur, []).append(one.target)
        return out

    @property
    def planted(self) -> dict[tuple[str, str], bool]:
        """(saboteur, backend) -> was it killed there?"""
        out: dict[tuple[str, str], bool] = {}
        for one in self.sightings:
            key = one.saboteur, one.target
            out[key] = out.get(key, False) or one.killed
        return out

    @property
    def survivors(self) -> list[tuple[str, str]]:
        return [key for key, killed in self.planted.items() if not killed]

    @property
    def missed(self) -> list[tuple[str, str]]:
        """(rule, saboteur) that the saboteur says must be seen, and is seen on no backend."""
        pairs = dict.fromkeys((one.rule, one.saboteur) for one in self.sightings)
        return [(rule, name) for rule, name in pairs if name not in self.kills.get(rule, {})]

    @property
    def idle(self) -> list[str]:
        """Rules that have checks and kill nothing."""
        return [rule.id for rule in load_rules().values() if rule.checks and rule.id not in self.kills]

    @property
    def score(self) -> tuple[int, int]:
        """(killed, planted)."""
        return sum(self.planted.values()), len(self.planted)

# SPDX-License-Identifier: MIT
"""A run of one driver: every clause on every machine through both APIs is a case of results.jsonl.

The driver runs in child processes. One that dies or hangs ends the scenario that it was in: DRV-01 of that machine and
API is crashed or timeout, and a clause that nothing else could show is not tested there.
"""

from __future__ import annotations

import hashlib
import platform
import shlex
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from arch import BackendRecord, MachineConfig

from ..c.compile import CompileError, compiled
from ..execute import Result, result
from ..isolation import Child, Lost
from ..results import SCHEMA_VERSION, Report, Writer, asked_as, digest_of, read
from ..rules import fingerprint
from ..selection import Case, Selection, in_shard, subject
from ..verdict import Verdict
from ..version import project_version
from .clauses import Clause, clauses
from .rig import Api, DriverError, table_of
from .table import text

if TYPE_CHECKING:
    from dma_ops.c_api import CObject

APIS: tuple[Api, ...] = ("legacy", "new")
TIME_LIMIT = 20                         # seconds for one scenario


@dataclass(frozen=True)
class Driver:
    """The driver under test: one object for each page size, or a C file that is compiled for the page size it takes."""

    paths: tuple[Path, ...]
    cflags: str
    folder: Path

    @cached_property
    def objects(self) -> dict[int, Path]:
        """{page shift: object} of the objects that were given. Raises DriverError."""
        return {_loaded(path, path).machine.page_shift: path for path in self.paths if path.suffix != ".c"}

    def object(self, page_shift: int) -> Path | None:
        """The object for machines of this page size; None if there is none. Raises DriverError."""
        if page_shift not in self.objects:
            for path in self.paths:
                if path.suffix == ".c":
                    try:
                        made = compiled(path, page_shift, self.cflags, self.folder)
                    except CompileError as error:
                        raise DriverError(str(error)) from None
                    _loaded(made, path)
                    self.objects[page_shift] = made
        return self.objects.get(page_shift)

    @cached_property
    def facts(self) -> dict[str, Any]:
        """For the results' header."""
        digest = hashlib.sha256(b"".join(path.read_bytes() for path in self.paths)).hexdigest()
        return {"name": self.name, "files": [str(path) for path in self.paths], "cflags": self.cflags, "sha256": digest}

    @cached_property
    def name(self) -> str:
        from dma_ops.c_api import CObject

        loaded = CObject(self.object(12) or next(iter(self.objects.values())))
        return text(table_of(loaded).name)              # which lies in the object

    @property
    def arguments(self) -> str:
        """The options that name the driver on a command line."""
        words = [word for path in self.paths for word in ("--driver", str(path))]
        return shlex.join([*words, *(("--cflags", self.cflags) if self.cflags else ())])


def _loaded(made: Path, path: Path) -> CObject:
    """The object made of the file that was given. Raises DriverError if it has no driver."""
    from dma_ops.c_api import CObject

    try:
        loaded = CObject(made)
        table_of(loaded)
    except (OSError, ValueError) as error:
        raise DriverError(str(error).replace(str(made), str(path)).replace(made.name, path.name)) from None
    return loaded


@dataclass(frozen=True, slots=True)
class Place:
    """Where a driver is run: a machine, by one of the two APIs."""

    name: str                           # that the backend was asked for by
    record: BackendRecord
    config: MachineConfig
    api: Api

    def case(self, clause: str) -> Case:
        return Case(clause, self.record.id, self.config.name, cast(Any, self.api))


def places(selection: Selection, apis: Sequence[Api]) -> Iterator[Place]:
    for name, record in selection.records():
        for config in record.machines:
            for api in apis:
                yield Place(name, record, config, api)


class Children:
    """A child process for each thread."""

    def __init__(self) -> None:
        self._own = threading.local()
        self._all: list[Child] = []

    def ask(self, question: dict[str, Any], time_limit: float) -> dict[str, Any]:
        """Raises Lost; then the next question is put to a new child."""
        child = getattr(self._own, "child", None)
        if child is None:
            self._own.child = child = Child(program="conformance.c_drivers.child")
            self._all.append(child)
        try:
            return child.ask(question, time_limit)
        except Lost:
            self._own.child = None
            child.close()
            raise

    def close(self) -> None:
        for child in self._all:
            child.close()


@dataclass(slots=True)
class Seen:
    """What came of one scenario at one place."""

    findings: list[tuple[str, str]]
    shared: list[tuple[str, str]]
    steps: list[str]
    why: str = ""
    lost: Lost | None = None


def watch(
    driver: Driver, place: Place, scenario: str, seed: int, children: Children, time_limit: float = TIME_LIMIT
) -> Seen:
    """Play a scenario in a child."""
    path = driver.object(subject(place.name, place.config.name, place.api).machine.page_shift)
    question = {
        "backend": place.name, "machine": place.config.name, "path": str(path), "scenario": scenario,
        "api": place.api, "seed": seed,
    }
    try:
        told = children.ask(question, time_limit)
    except Lost as lost:
        return Seen([], [], [], f"the driver ended scenario {scenario}: {lost}", lost)
    if "broken" in told:
        return Seen([], [], [], told["broken"], Lost(Verdict.BROKEN, told["broken"]))
    pairs = [[(clause, said) for clause, said in told[key]] for key in ("findings", "shared")]
    return Seen(pairs[0], pairs[1], told["steps"], told["why"])


def judge(place: Place, chosen: Sequence[Clause], seen: dict[str, Seen]) -> list[Result]:
    """The results of a place's cases."""
    return [_judge(place.case(clause.id), clause, seen) for clause in chosen]


def _judge(case: Case, clause: Clause, seen: dict[str, Seen]) -> Result:
    played = [(name, seen[name]) for name in clause.scenarios]
    for name, one in played:
        said = [text for found, text in one.findings if found == clause.id]
        if said:
            more = f" (and {len(said) - 1} more)" if len(said) > 1 else ""
            return result(case, Verdict.FAIL, said[0] + more, name)
        if clause.id == "DRV-01" and one.lost is not None:
            return result(case, one.lost.verdict, f"in scenario {name}: {one.lost}", name)
    for name, one in played:
        shared = [text for found, text in one.shared if found == clause.id]
        if shared:
            return result(case, Verdict.KNOWN, f"a driver without faults has it too: {shared[0]}", name)
    if all(one.why for _, one in played):
        return result(case, Verdict.NOT_TESTED, played[0][1].why)
    return result(case, Verdict.PASS)


def header(driver: Driver, plan: Sequence[Case], selection: Selection, chosen: Sequence[Clause]) -> dict[str, Any]:
    machines: dict[str, dict[str, None]] = {}
    for case in plan:
        machines.setdefault(case.backend, {})[case.machine] = None
    rules = [clause.rule for clause in chosen]
    return {
        "type": "header", "schema": SCHEMA_VERSION, "version": project_version(),
        "python": platform.python_version(), "platform": f"{sys.platform}-{platform.machine()}",
        "seed": selection.seed, "profile": selection.profile, "shard": list(selection.shard),
        "backends": {record.id: record.proof for _, record in selection.records()},
        **asked_as(selection),
        "machines": {name: list(found) for name, found in machines.items()},
        "rules": [rule.id for rule in rules], "rules_hash": fingerprint(rules), "routes": [],
        "apis": list(dict.fromkeys(case.api for case in plan)),
        "plan": {"cases": len(plan), "sha256": digest_of(case.id for case in plan)},
        "driver": driver.facts,
    }


def run(
    driver: Driver, selection: Selection, apis: Sequence[Api], chosen: Sequence[Clause], out: Path, *, workers: int,
    time_limit: float = TIME_LIMIT, listener: Callable[[Result], None] = lambda _: None,
) -> Report:
    """Run the driver; the report, which is also in out. Raises DriverError, SelectionError."""
    everywhere = list(places(selection, apis))
    plan = [place.case(clause.id) for place in everywhere for clause in chosen]
    mine = {case.id for case in plan if in_shard(case.id, selection.shard)}
    scenarios = list(dict.fromkeys(name for clause in chosen for name in clause.scenarios))
    for place in everywhere:                # compiles what is missing, before there are threads
        driver.object(subject(place.name, place.config.name, place.api).machine.page_shift)
    children = Children()

    def at(place: Place) -> list[Result]:
        shift = subject(place.name, place.config.name, place.api).machine.page_shift
        if driver.object(shift) is None:
            said = f"no object is compiled for pages of {1 << shift} bytes (-DPAGE_SHIFT={shift})"
            return [result(place.case(clause.id), Verdict.NOT_APPLICABLE, said) for clause in chosen]
        seen = {name: watch(driver, place, name, selection.seed, children, time_limit) for name in scenarios}
        return judge(place, chosen, seen)

    out.mkdir(parents=True, exist_ok=True)
    with (out / "results.jsonl").open("w", encoding="utf-8") as stream:
        order = [case.id for case in plan if case.id in mine]
        writer = Writer(stream, header(driver, plan, selection, chosen), order)
        try:
            with ThreadPoolExecutor(workers) as pool:
                for rows in pool.map(at, everywhere):
                    for row in rows:
                        if row.case in mine:
                            writer.add(row)
                            listener(row)
        finally:
            children.close()
        writer.close()
    return read(out)


__all__ = ["APIS", "Children", "Clause", "Driver", "DriverError", "Place", "clauses", "places", "run", "watch"]

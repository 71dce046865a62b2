# SPDX-License-Identifier: MIT
"""Which backends and rules a run is about, and the cases that follow."""

from __future__ import annotations

import difflib
import fnmatch
import importlib
import os
import sys
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Literal, cast

from arch import BackendRecord, MachineConfig, backends

from .rules import Api, Rule, load_rules

if TYPE_CHECKING:
    from .facts import Subject

Way = Literal["legacy", "A", "B", "C", "new"]
APIS: tuple[Api, ...] = ("legacy", "new")                       # through which rules are tried, each through its own
DESIGNS: tuple[Way, ...] = ("legacy", "A", "B", "C", "new")     # and routes: paths.DESIGNS
ROUTES = ("host-memory", "same-switch", "host-bridge", "blocked", "mixed-list", "two-providers")
GROUP = "dma_conformance.backends"
#: What --rule smoke stands for: whether a new backend maps, unmaps and refuses at all.
SMOKE = tuple(f"DMA-{n:02}" for n in (1, 2, 5, 6, 10, 11, 12, 13, 17, 20, 21, 26, 27))


class SelectionError(ValueError):
    """A request that names what is not there; the message is one sentence for the user."""


@dataclass(frozen=True, slots=True)
class Case:
    """A rule through its API, or a route of the P2P axis through one of the designs, on a backend's machine."""

    what: str                           # the id of a rule, or "route/NAME" with one of ROUTES
    backend: str
    machine: str
    api: Way = ""  # type: ignore[assignment]

    def __post_init__(self) -> None:
        if not self.api:
            rule = load_rules().get(self.what)
            object.__setattr__(self, "api", rule.api if rule is not None else "legacy")

    @property
    def id(self) -> str:
        return f"{self.what}:{self.backend}:{self.machine}:{self.api}"

    @property
    def route(self) -> str | None:
        return self.what.removeprefix("route/") if self.what.startswith("route/") else None

    @classmethod
    def parse(cls, text: str) -> Case:
        """The case that an id stands for. Raises SelectionError."""
        what, *rest = text.split(":")
        if len(rest) != 3:
            raise SelectionError(f"{text!r} is no case; a case is RULE:BACKEND:MACHINE:API")
        case = cls(what, rest[0], rest[1], cast("Way", rest[2]))
        if case.route is not None and case.route not in ROUTES:
            raise SelectionError(f"there is no route {case.route!r}{suggest(case.route, ROUTES)}")
        apis = APIS if case.route is None else DESIGNS
        if case.api not in apis:
            raise SelectionError(f"{text!r} is no case: {case.api!r} is none of {', '.join(apis)}")
        if what in load_rules() and load_rules()[what].api != case.api:
            raise SelectionError(f"{what} is a rule of the {load_rules()[what].api} API, not of the {case.api} one")
        return case


def route_id(route: str) -> str:
    return f"route/{route}"


def suggest(name: str, names: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(names), n=3, cutoff=0.4)
    return f"; did you mean {', '.join(near)}?" if near else ""


@cache
def known_backends() -> dict[str, BackendRecord]:
    """The reference library's backends and those of installed packages, by id."""
    found = dict(backends())
    for point in entry_points(group=GROUP):
        record = point.load()
        if not isinstance(record, BackendRecord):
            raise SelectionError(f"the entry point {point.name} of {GROUP} is no BackendRecord")
        if record.id in found:
            raise SelectionError(f"the entry point {point.name} of {GROUP} calls itself {record.id}, which is taken")
        found[record.id] = record
    return found


@cache
def backend(name: str) -> BackendRecord:
    """A backend by its id, "py:MODULE:OBJECT", also from the current folder, "c:PATH:SYMBOL" or "exec:COMMAND".
    Raises SelectionError."""
    if name.startswith(("c:", "exec:")):
        from .c import backend as objects
        from .c import harness as processes
        from .c.backend import BackendError

        try:
            return objects.record(name) if name.startswith("c:") else processes.record(name)
        except BackendError as error:
            raise SelectionError(str(error)) from None
    if name.startswith("py:"):
        module, _, attribute = name.removeprefix("py:").partition(":")
        if not module or not attribute:
            raise SelectionError(f"{name!r} is not py:MODULE:OBJECT")
        here = os.getcwd()
        if here not in sys.path:
            sys.path.append(here)               # last: an installed module of that name comes first
        try:
            record = getattr(importlib.import_module(module), attribute)
        except (ImportError, AttributeError) as error:
            raise SelectionError(f"backend {name!r} cannot be loaded: {error}") from None
        if not isinstance(record, BackendRecord):
            raise SelectionError(f"{name!r} is a {type(record).__name__}, not a BackendRecord")
        return record
    if name not in known_backends():
        raise SelectionError(f"there is no backend {name!r}{suggest(name, known_backends())}")
    return known_backends()[name]


def machine(record: BackendRecord, name: str) -> MachineConfig:
    """One of a backend's machines. Raises SelectionError."""
    for config in record.machines:
        if config.name == name:
            return config
    names = [config.name for config in record.machines]
    raise SelectionError(f"backend {record.id} has no machine {name!r}{suggest(name, names)}")


@dataclass(frozen=True, slots=True)
class Selection:
    """What to run. backends and rules are names, globs or "py:…", empty for all; shard is (I, N) with 1 <= I <= N."""

    backends: tuple[str, ...] = ()
    rules: tuple[str, ...] = ()
    profile: Literal["quick", "full"] = "quick"
    seed: int = 0
    shard: tuple[int, int] = (1, 1)
    apis: tuple[Api, ...] = APIS

    def records(self) -> list[tuple[str, BackendRecord]]:
        """(the name it was asked for by, record), in order of ids. Raises SelectionError."""
        chosen: dict[str, tuple[str, BackendRecord]] = {}
        for name in self.backends or ("*",):
            if any(c in name for c in "*?["):
                names = fnmatch.filter(known_backends(), name)
                if not names:
                    raise SelectionError(f"no backend matches {name!r}")
            else:
                names = [name]
            for one in names:
                record = backend(one)
                chosen[record.id] = (one, record)
        return [chosen[key] for key in sorted(chosen)]

    def names(self) -> dict[str, str]:
        """By a backend's id, the name it was asked for by. Raises SelectionError."""
        return {record.id: name for name, record in self.records()}

    def chosen_rules(self) -> list[Rule]:
        """In the order of the rule files. Raises SelectionError."""
        rules = load_rules()
        wanted: set[str] = set()
        names = [one for name in self.rules for one in (SMOKE if name == "smoke" else (name,))]
        for name in names or ("*",):
            matching = fnmatch.filter(rules, name.upper() if name != "*" else name)
            if not matching:
                raise SelectionError(f"no rule is called or matches {name!r}{suggest(name.upper(), rules)}")
            wanted.update(matching)
        chosen = [rule for key, rule in rules.items() if key in wanted and rule.api in self.apis]
        if not chosen:
            raise SelectionError(f"none of these rules is one of the {' or '.join(self.apis)} API")
        return chosen

    @property
    def with_routes(self) -> bool:
        """The P2P axis belongs to a run of all rules, or of P2P rules."""
        return not self.rules or any(name.upper().startswith("P2P") for name in self.rules)

    @property
    def designs(self) -> tuple[Way, ...]:
        """Those of the routes: the newest belongs to the new API, the others are what 2021 made of the legacy one."""
        return tuple(design for design in DESIGNS if ("new" if design == "new" else "legacy") in self.apis)

    def cases(self) -> list[Case]:
        """All cases of this shard, in the order of the results: by backend, machine, then rule and route."""
        return [case for case in self.plan() if in_shard(case.id, self.shard)]

    def plan(self) -> list[Case]:
        """The cases of all shards, in that order."""
        return list(self._all())

    def _all(self) -> Iterator[Case]:
        rules = self.chosen_rules()
        for _, record in self.records():
            for config in record.machines:
                for rule in rules:
                    yield Case(rule.id, record.id, config.name)
                if self.with_routes:
                    for route in ROUTES:
                        for design in self.designs:
                            yield Case(route_id(route), record.id, config.name, design)


def in_shard(case: str, shard: tuple[int, int]) -> bool:
    """Does the case of this id belong to the I-th of N parts?"""
    return zlib.crc32(case.encode()) % shard[1] == shard[0] - 1


def parse_shard(text: str) -> tuple[int, int]:
    """"2/3" as (2, 3). Raises SelectionError."""
    first, _, last = text.partition("/")
    if not first.isdigit() or not last.isdigit() or not 1 <= int(first) <= int(last):
        raise SelectionError(f"{text!r} is no shard; one is I/N with I from 1 to N")
    return int(first), int(last)


def apis_of(name: str) -> tuple[Api, ...]:
    """"legacy", "new" or "all"."""
    return tuple(api for api in APIS if name in (api, "all"))


@cache
def subject(record_name: str, machine_name: str, api: Way = "legacy") -> Subject:
    """The backend on the machine, whose facts are found out once per process."""
    from .facts import Subject

    record = backend(record_name)
    return Subject(record, machine(record, machine_name).of(api))


def check_globs(names: Sequence[str]) -> tuple[str, ...]:
    """A comma inside a name separates names as well. Raises SelectionError for an empty one: it would be all."""
    parts = tuple(part for name in names for part in name.split(","))
    if not all(parts):
        raise SelectionError("an empty name was given for a backend or a rule, which selects nothing")
    return parts

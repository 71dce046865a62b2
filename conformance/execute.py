# SPDX-License-Identifier: MIT
"""Runs one case and comes to its verdict."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from dma_ops import DmaError, DmaFault, KernelBug

from .axis import Outcome, run_route
from .checks import Bench, NotTested, Violation, checks
from .cost import measure
from .facts import Subject, kernel_number, parse_fact
from .paths import DESIGNS
from .rules import Rule, load_rules
from .selection import Case, SelectionError, subject
from .verdict import Tally, Verdict

UNSEEN = "known, but not seen here: "       # a known fault that is seen on none of its machines is stale


@dataclass(frozen=True, slots=True)
class Result:
    """A case's outcome: a line of results.jsonl. detail: the predicate, the reason, or what was seen."""

    case: str
    kind: Literal["rule", "route"]
    what: str
    backend: str
    machine: str
    api: str
    verdict: Verdict
    detail: str = ""
    check: str = ""
    policy: str = ""                    # of a route: what the core lets arrive
    mechanism: str = ""                 # of a route: what happens if it does, through the design that is the api
    cost: dict[str, int] | None = None  # of host memory through a design: bytes, segments, flushes

    def as_json(self) -> dict[str, Any]:
        row = {name: getattr(self, name) for name in self.__slots__}
        row["verdict"] = self.verdict.value
        return {"type": "case", **{key: value for key, value in row.items() if value not in ("", None)}}

    @classmethod
    def from_json(cls, row: dict[str, Any]) -> Result:
        """Raises TypeError, ValueError, KeyError for a line that is no case."""
        row = {key: value for key, value in row.items() if key != "type"}
        cost = row.get("cost", {})
        if not isinstance(cost, dict) or not all(type(value) is int for value in cost.values()):
            raise ValueError("the cost of the case is no counts")
        if not all(isinstance(value, str) for key, value in row.items() if key != "cost"):
            raise ValueError("a value of the case is not a text")
        if row["case"] != f"{row['what']}:{row['backend']}:{row['machine']}:{row['api']}":
            raise ValueError(f"the case {row['case']} is another one by its parts")
        if row["kind"] != ("route" if row["what"].startswith("route/") else "rule"):
            raise ValueError(f"the case {row['case']} is no {row['kind']}")
        verdict = Verdict(row["verdict"])
        if verdict is Verdict.WAIVED:
            raise ValueError("a waiver is never a result: it is applied when results are read")
        return cls(**{**row, "verdict": verdict})


def result(case: Case, verdict: Verdict, detail: str = "", check: str = "", **route: Any) -> Result:
    return Result(
        case.id, "route" if case.route else "rule", case.what, case.backend, case.machine, case.api, verdict, detail,
        check, **route,
    )


def without_running(case: Case) -> Result | None:
    """The result of a case that no run is needed for: a rule without checks."""
    if case.route:
        return None
    rule = load_rules()[case.what]
    return result(case, Verdict.NOT_TESTED, rule.not_tested) if rule.not_tested else None


def inapplicable(rule: Rule, subject: Subject) -> str:
    """The first predicate of the rule that does not hold, or ""."""
    kernel = subject.machine.kernel
    if rule.api == "legacy" and rule.since and kernel < kernel_number(rule.since):
        return f"kernel >= {rule.since}"
    if rule.until and kernel >= kernel_number(rule.until):
        return f"kernel < {rule.until}"
    for fact in rule.applies_if:
        if not parse_fact(fact)(subject):
            return fact
    return ""


def guarded(function: Callable[[], object], subject: Subject) -> tuple[Verdict, str]:
    """What a check's end means. An exception that neither a model raises nor comes from the backend's own code is
    the suite's fault."""
    try:
        function()
    except Violation as violation:
        return Verdict.FAIL, str(violation)
    except NotTested as reason:
        return Verdict.NOT_TESTED, str(reason)
    except KernelBug as bug:
        return Verdict.FAIL, f"the kernel would die: {bug}"
    except (DmaError, DmaFault) as error:
        return Verdict.FAIL, f"{type(error).__name__}: {error}"
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        said = f"{type(error).__name__}: {error} ({frames[-1].name}, line {frames[-1].lineno})"
        own = getattr(sys.modules.get(type(subject.ops).__module__), "__file__", None)
        if any(frame.filename == own for frame in frames):
            return Verdict.FAIL, f"the backend raises {said}"
        return Verdict.BROKEN, said
    return Verdict.PASS, ""


def run_named(
    case: Case, name: str, seed: int, profile: Literal["quick", "full"], only: str = ""
) -> Result:
    """run_case() for the backend asked for by this name; a machine that does not build is the record's fault."""
    try:
        found = subject(name, case.machine, case.api)
    except SelectionError:
        raise
    except Exception as error:
        return result(case, Verdict.BROKEN, f"the machine does not build: {type(error).__name__}: {error}")
    return run_case(case, found, seed, profile, only)


def run_case(
    case: Case, subject: Subject, seed: int, profile: Literal["quick", "full"], only: str = ""
) -> Result:
    """Run a case on its own bench; the same seed gives the same result, wherever and after whatever it runs. only: the
    one of the rule's checks to run, "" for all."""
    if case.route:
        return _run_route(case, subject, seed)
    rule = load_rules()[case.what]
    if rule.not_tested:
        return result(case, Verdict.NOT_TESTED, rule.not_tested)
    try:
        missing = inapplicable(rule, subject)
    except Exception as error:
        return result(case, Verdict.BROKEN, f"a predicate cannot be evaluated: {error!r}")
    if missing:
        return result(case, Verdict.NOT_APPLICABLE, missing)
    worst = (Verdict.NOT_TESTED, "", "")
    seen: dict[str, Verdict] = {}
    for name in (only,) if only else rule.checks:
        bench = partial(Bench, subject, f"{seed}:{case.id}:{name}", profile, case.what)
        verdict, detail = guarded(partial(_observe, name, bench), subject)
        if verdict is Verdict.FAIL:
            verdict, detail = _with_knowns(case, subject, verdict, detail, name)
        seen[name] = verdict
        if not worst[2] or verdict.severity > worst[0].severity:
            worst = verdict, detail, name
    verdict, detail, name = worst
    assert Tally(seen.values()).headline == verdict
    if verdict is Verdict.PASS and Verdict.NOT_TESTED not in seen.values():     # what was not looked for is not gone
        verdict, detail = _with_knowns(case, subject, verdict, detail)
    return result(case, verdict, detail, name)


def _observe(name: str, bench: Callable[[], Bench]) -> None:
    checks()[name](bench())


def _with_knowns(
    case: Case, subject: Subject, verdict: Verdict, detail: str, check: str = ""
) -> tuple[Verdict, str]:
    """The verdict and detail in the light of the faults of Linux that the record names, for this check if one is."""
    knowns = [
        known
        for known in subject.record.known
        if case.what in known.rules and (not known.machines or case.machine in known.machines)
        and (not check or not known.checks or check in known.checks)
    ]
    if not knowns:
        return verdict, detail
    said = "; ".join(f"{known.what} ({known.source})" for known in knowns)
    if verdict is Verdict.FAIL:
        return Verdict.KNOWN, f"{said}; seen: {detail}"
    if verdict is Verdict.PASS:
        return verdict, f"{UNSEEN}{said}"
    return verdict, detail


def _run_route(case: Case, subject: Subject, seed: int) -> Result:
    found: list[Outcome] = []
    route = case.route or ""
    verdict, detail = guarded(lambda: found.append(run_route(case.api, route, subject, f"{seed}:{case.id}")), subject)
    if not found:
        return result(case, Verdict.BROKEN if verdict is Verdict.PASS else verdict, detail)
    outcome = found[0]
    if outcome.mechanism == "absent":
        verdict = Verdict.NOT_APPLICABLE
    elif outcome.mechanism == "unsafe" and outcome.policy == "supported":
        verdict = Verdict.FAIL
    seen = outcome.seen
    if case.api == "legacy" or verdict is Verdict.FAIL:         # another design may well avoid a fault of Linux
        verdict, seen = _with_knowns(case, subject, verdict, seen)
    cost = None
    if route == "host-memory" and outcome.mechanism in ("native", "fallback"):
        cost = measure(subject, DESIGNS[case.api])
    return result(
        case, verdict, seen, policy=outcome.policy, mechanism=outcome.mechanism, cost=cost.as_json() if cost else None
    )

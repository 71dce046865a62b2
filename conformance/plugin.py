# SPDX-License-Identifier: MIT
"""The suite as a pytest plugin: the rule files are the test files, a case is an item.

A backend that is not ours runs in a process of its own (isolation.py). A worker of pytest-xdist that dies nevertheless
takes one case with it: the item's verdict is crashed, or timeout if its time was up, and a new worker goes on with the
rest.
"""

from __future__ import annotations

import faulthandler
import json
import os
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, TextIO

import pytest

from . import isolation
from .execute import Result, result, run_named, without_running
from .isolation import TIME_LIMIT
from .output import Output
from .selection import APIS, Case, Selection, SelectionError, apis_of, in_shard, parse_shard
from .verdict import Verdict

RULES = Path(__file__).resolve().parent / "rules"
KEY = "dma_conformance"


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("dma-conformance")
    group.addoption("--dma-backend", action="append", default=[], help="a backend's id, a glob, or py:MODULE:OBJECT")
    group.addoption("--dma-rule", action="append", default=[], help="a rule's id or a glob")
    group.addoption("--dma-case", action="append", default=[], help="a case: RULE:BACKEND:MACHINE:API")
    group.addoption("--dma-api", choices=(*APIS, "all"), default="all")
    group.addoption("--dma-profile", choices=("quick", "full"), default="quick")
    group.addoption("--dma-seed", type=int, default=0)
    group.addoption("--dma-shard", default="1/1", help="I/N: the I-th of N parts")
    group.addoption("--dma-out", default="", help="folder for results.jsonl and timings.json")
    group.addoption("--dma-time-limit", type=int, default=TIME_LIMIT, help="seconds for one case")


def selection_of(config: pytest.Config) -> Selection:
    return Selection(
        backends=tuple(config.getoption("dma_backend")),
        rules=tuple(config.getoption("dma_rule")),
        profile=config.getoption("dma_profile"),
        seed=config.getoption("dma_seed"),
        shard=parse_shard(config.getoption("dma_shard")),
        apis=apis_of(config.getoption("dma_api")),
    )


def plan_of(config: pytest.Config) -> list[Case]:
    """The selected cases of all shards. Raises SelectionError, also if this shard has none of them."""
    selection = selection_of(config)
    only = {Case.parse(text).id for text in config.getoption("dma_case")}
    plan = [case for case in replace(selection, shard=(1, 1)).cases() if not only or case.id in only]
    lost = only - {case.id for case in plan}
    if lost:
        raise SelectionError(f"the selection has no case {min(lost)}")
    if not any(in_shard(case.id, selection.shard) for case in plan):
        raise SelectionError("no case is selected")
    return plan


class CaseFile(pytest.File):
    """A file of rules, as the cases that its rules have; the routes of the P2P axis come with p2pdma.toml."""

    def collect(self) -> Iterator[CaseItem]:
        suite = self.config.stash[_SUITE]
        for case in suite.by_file.get(self.path.name, ()):
            yield CaseItem.from_parent(self, name=case.id, case=case)


class CaseItem(pytest.Item):
    def __init__(self, *, case: Case, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.case = case

    def runtest(self) -> None:
        suite = self.config.stash[_SUITE]
        name, seed, profile = suite.names[self.case.backend], suite.selection.seed, suite.selection.profile
        if isolation.foreign(name):
            outcome = isolation.run_isolated(self.case, name, seed, profile, suite.time_limit)
        else:
            faulthandler.dump_traceback_later(suite.time_limit, exit=True, file=suite.hang_file)
            try:
                outcome = run_named(self.case, name, seed, profile)
            finally:
                faulthandler.cancel_dump_traceback_later()
        self.user_properties.append((KEY, json.dumps(outcome.as_json())))
        if outcome.verdict.bad:
            raise BadVerdict(outcome)
        if not outcome.verdict.observed:
            pytest.skip(f"{outcome.verdict.value}: {outcome.detail}")

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        if isinstance(excinfo.value, BadVerdict):
            return f"{self.case.id}: {excinfo.value}"
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, None, str]:
        return self.path, None, self.case.id


class BadVerdict(Exception):
    def __init__(self, outcome: Result) -> None:
        super().__init__(f"{outcome.verdict.value}: {outcome.detail}")


class Suite:
    """One run, in the controller and in each worker."""

    def __init__(self, config: pytest.Config) -> None:
        self.selection = selection_of(config)
        self.plan = plan_of(config)
        self.cases = [case for case in self.plan if in_shard(case.id, self.selection.shard)]
        self.names = self.selection.names()
        self.time_limit: int = config.getoption("dma_time_limit")
        self.is_worker = hasattr(config, "workerinput")
        self.by_file: dict[str, list[Case]] = {}
        from .rules import load_rules

        rules = load_rules()
        for case in self.cases:
            if without_running(case) is None:
                self.by_file.setdefault("p2pdma.toml" if case.route else rules[case.what].file, []).append(case)
        worker = os.environ.get("PYTEST_XDIST_WORKER", "main")
        self.folder = Path(config.workerinput["dma_folder"] if hasattr(config, "workerinput") else tempfile.mkdtemp())
        self.hang_file: TextIO = (self.folder / f"{worker}.hang").open("w")
        self.output: Output | None = None
        self.by_id = {case.id: case for case in self.cases}
        self.out = Path(config.getoption("dma_out")) if config.getoption("dma_out") else None

    def start(self) -> None:
        """In the controller."""
        self.output = Output(self.out, self.selection, self.plan)

    def took(self, report: pytest.TestReport) -> None:
        assert self.output is not None
        name = report.nodeid.rpartition("::")[2]
        case = self.by_id.get(name)
        if case is None:
            return
        row = dict(report.user_properties).get(KEY)
        if isinstance(row, str):
            outcome = Result.from_json(json.loads(row))
        elif report.when == "call" or report.failed:
            outcome = self._lost(case, report)
        else:
            return
        self.output.add(outcome, report.duration)

    def _lost(self, case: Case, report: pytest.TestReport) -> Result:
        """The result of a case whose worker did not live to tell it."""
        node = getattr(report, "node", None)
        if node is None:
            return result(case, Verdict.BROKEN, str(report.longreprtext).strip().splitlines()[-1])
        hang = self.folder / f"{node.gateway.id}.hang"
        if hang.exists() and hang.stat().st_size:
            return result(case, Verdict.TIMEOUT, f"not done after {self.time_limit} s")
        return result(case, Verdict.CRASHED, "the worker process died")

    def finish(self) -> None:
        isolation.close()
        if self.output is not None:
            self.output.close()
        self.hang_file.close()
        if not self.is_worker:
            for path in self.folder.iterdir():
                path.unlink()
            self.folder.rmdir()


_SUITE = pytest.StashKey[Suite]()


class Recorder:
    """In the controller: takes every report, and tells each new worker where to leave word if its time is up."""

    def __init__(self, suite: Suite) -> None:
        self.suite = suite

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.suite.took(report)

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        node.workerinput["dma_folder"] = str(self.suite.folder)


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("dma_backend", None) is None:       # a conftest that was found too late to add options
        return
    try:
        suite = Suite(config)
    except SelectionError as error:
        raise pytest.UsageError(str(error)) from None
    config.stash[_SUITE] = suite
    if not suite.is_worker:
        suite.start()
        config.pluginmanager.register(Recorder(suite), "dma-conformance-recorder")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> bool | None:
    """A case needs no set-up and no tear-down: one report instead of three, of which a run has thousands to send."""
    if not isinstance(item, CaseItem):
        return None
    hooks, alone = item.ihook, not item.config.stash[_SUITE].is_worker
    if alone:
        hooks.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    call = pytest.CallInfo.from_call(item.runtest, when="call", reraise=(pytest.exit.Exception, KeyboardInterrupt))
    report = hooks.pytest_runtest_makereport(item=item, call=call)
    hooks.pytest_runtest_logreport(report=report)
    if call.excinfo is not None and report.failed:
        hooks.pytest_exception_interact(node=item, call=call, report=report)
    if alone:
        hooks.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


def pytest_report_teststatus(report: pytest.TestReport) -> tuple[str, str, str] | None:
    """With -v, what the case came to instead of PASSED, SKIPPED or FAILED."""
    row = dict(report.user_properties).get(KEY) if report.when == "call" else None
    if not isinstance(row, str):
        return None
    told = json.loads(row)
    words = [told["verdict"], *(told[key] for key in ("policy", "mechanism") if key in told)]
    return report.outcome, {"passed": ".", "skipped": "s"}.get(report.outcome, "F"), " / ".join(words)


def pytest_unconfigure(config: pytest.Config) -> None:
    suite = config.stash.get(_SUITE, None)
    if suite is not None:
        suite.finish()


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> CaseFile | None:
    if file_path.suffix == ".toml" and file_path.resolve().parent == RULES and _SUITE in parent.config.stash:
        return CaseFile.from_parent(parent, path=file_path)
    return None

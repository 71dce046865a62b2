# SPDX-License-Identifier: MIT
"""Starts pytest on the rule files, on as many workers as wanted, and gathers what comes back."""

from __future__ import annotations

import contextlib
import io
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from .execute import Result
from .plugin import RULES, TIME_LIMIT, suite_of
from .results import Report, read
from .selection import Selection


class RunError(RuntimeError):
    """The run itself failed, not a backend; the message ends with what pytest said."""


@dataclass(slots=True)
class _Listener:
    """Hangs the caller's function into the suite that pytest configures."""

    heard: Callable[[Result], None] | None

    @pytest.hookimpl(trylast=True)
    def pytest_configure(self, config: pytest.Config) -> None:
        suite_of(config).listener = self.heard


def arguments(selection: Selection, out: Path, workers: str, time_limit: int = TIME_LIMIT) -> list[str]:
    """pytest's command line for a selection. workers: "auto", or a number; 0 runs everything in this process."""
    words = [
        *("-c", str(RULES.parent / "pytest.ini"), "--noconftest", "-p", "conformance.plugin", "-p", "no:cacheprovider"),
        *("--assert", "plain"),                 # the package has a pytest plugin, so all of it would be rewritten
        *("--dma-out", str(out), "--dma-seed", str(selection.seed), "--dma-profile", selection.profile),
        *("--dma-shard", f"{selection.shard[0]}/{selection.shard[1]}", "--dma-time-limit", str(time_limit)),
        *("--dma-api", selection.apis[0] if len(selection.apis) == 1 else "all"),
    ]
    for name in selection.backends:
        words += ["--dma-backend", name]
    for name in selection.rules:
        words += ["--dma-rule", name]
    if workers != "0":
        words += ["-n", workers, "--max-worker-restart", "1000000"]
    return [*words, "-q", "--no-header", "--tb=line", str(RULES)]


def run(
    selection: Selection,
    out: Path | None = None,
    *,
    workers: str = "auto",
    time_limit: int = TIME_LIMIT,
    listener: Callable[[Result], None] | None = None,
) -> Report:
    """Run the selection; the report, which is also in out if that is given. listener gets each result as it comes.

    Raises SelectionError for a selection that names nothing, RunError if the report cannot be completed.
    """
    with contextlib.ExitStack() as stack:
        folder = out if out is not None else Path(stack.enter_context(tempfile.TemporaryDirectory()))
        said = io.StringIO()
        selection.cases()                           # raises SelectionError here, where it can be told
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            status = pytest.main(arguments(selection, folder, workers, time_limit), plugins=[_Listener(listener)])
        if status not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.NO_TESTS_COLLECTED):
            raise RunError(f"pytest ended with status {int(status)}: {said.getvalue().strip()[-2000:]}")
        report = read(folder)
        if report.truncated and status != pytest.ExitCode.OK:
            print(said.getvalue()[-4000:], file=sys.stderr)
        return report

# SPDX-License-Identifier: MIT
"""What a run leaves behind: results.jsonl, written as the results come in, and timings.json."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from .execute import Result, without_running
from .results import Writer, header
from .selection import Case, Selection, in_shard


class Output:
    """The files of a run in a folder, or only the results where there is none.

    plan: the cases of all shards. heard gets each result that was run.
    """

    def __init__(
        self, out: Path | None, selection: Selection, plan: list[Case], heard: Callable[[Result], None] | None = None
    ) -> None:
        self.out = out
        self.heard = heard
        self.timings: dict[str, float] = {}
        self.stream = None
        if out is not None:
            out.mkdir(parents=True, exist_ok=True)
            self.stream = (out / "results.jsonl").open("w", encoding="utf-8")
        cases = [case for case in plan if in_shard(case.id, selection.shard)]
        self.writer = Writer(self.stream, header(selection, plan), [case.id for case in cases])
        for case in cases:
            known = without_running(case)
            if known is not None:
                self.writer.add(known)

    def add(self, outcome: Result, seconds: float) -> None:
        """The result of a case; a second one for the same is ignored."""
        if outcome.case in self.writer.results:
            return
        self.timings[outcome.case] = round(seconds, 6)
        self.writer.add(outcome)
        if self.heard is not None:
            self.heard(outcome)

    def close(self) -> None:
        """Write the footer, if every case has a result, and the timings."""
        self.writer.close()
        if self.stream is not None and self.out is not None:
            self.stream.close()
            (self.out / "timings.json").write_text(json.dumps(dict(sorted(self.timings.items())), indent=0) + "\n")

# SPDX-License-Identifier: MIT
"""DIR/journal.jsonl: what is done, and what it found.

The first line says which campaign it is; every other one holds units and their Summary. Lines are put together whenever
the file has grown to MOST bytes, so that its size does not grow with the campaign. A last line that was cut short is
units that are run again.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from ..results import ResultsError
from .plan import Ranges
from .summary import Effort, Summary

NAME = "journal.jsonl"
MOST = 8 << 20


class Journal:
    """Collects what comes back; without a folder, in memory only. done: units; a unit counts once, however often it
    comes."""

    def __init__(self, plan: dict[str, Any], folder: Path | None = None, *, resume: bool = False) -> None:
        """Raises ResultsError: the folder has another campaign, or one that is not to be resumed."""
        self.plan = plan
        self.summary = Summary()
        self.effort = Effort()
        self.done = Ranges()
        self.path = folder / NAME if folder is not None else None
        self.file: IO[str] | None = None
        if self.path is None:
            return
        if self.path.exists():
            if not resume:
                raise ResultsError(f"{self.path} is there already: go on with it with --resume, or take another folder")
            self._read(self.path)
        elif resume:
            raise ResultsError(f"{self.path} does not exist: there is nothing to resume")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._compact()

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if self.file is not None:
            self.file.close()

    def add(self, first: int, last: int, summary: Summary, effort: Effort) -> bool:
        """Units from first to last - 1. False: they are there already, and nothing is counted."""
        if self.done.has(first, last):
            return False
        self._take(first, last, summary, effort)
        if self.file is not None:
            self._write(self.file, [[first, last]], summary, effort)
            if self.file.tell() > MOST:
                self._compact()
        return True

    def _take(self, first: int, last: int, summary: Summary, effort: Effort) -> None:
        self.summary.add(summary)
        self.effort.add(effort)
        self.done.add(first, last)

    def _compact(self) -> None:
        assert self.path is not None
        new = self.path.with_suffix(".new")
        with new.open("w", encoding="utf-8") as file:
            file.write(json.dumps({"type": "campaign", **self.plan}) + "\n")
            if len(self.done):
                self._write(file, self.done.ranges, self.summary, self.effort)
            file.flush()
            os.fsync(file.fileno())
        if self.file is not None:
            self.file.close()
        new.replace(self.path)
        self.file = self.path.open("a", encoding="utf-8")

    def _write(self, file: IO[str], units: list[list[int]], summary: Summary, effort: Effort) -> None:
        file.write(json.dumps({"units": units, "summary": summary.as_json(), "effort": asdict(effort)}) + "\n")
        file.flush()

    def _read(self, path: Path) -> None:
        lines = path.read_text(encoding="utf-8").split("\n")
        try:
            header = json.loads(lines[0])
        except ValueError:
            header = None
        if not isinstance(header, dict) or header.pop("type", None) != "campaign":
            raise ResultsError(f"{path} is no journal of a campaign")
        if header != self.plan:
            other = ", ".join(key for key in self.plan if header.get(key) != self.plan[key])
            raise ResultsError(f"{path} is of another campaign: {other or 'what it says of itself'} is not the same")
        for number, line in enumerate(lines[1:-1], 2):
            try:
                raw = json.loads(line)
                summary, effort = Summary.from_json(raw["summary"]), Effort(**raw["effort"])
                for first, last in raw["units"]:
                    self.done.add(first, last)
            except (ValueError, KeyError, TypeError) as error:
                raise ResultsError(f"{path}, line {number}: {error}") from None
            self.summary.add(summary)
            self.effort.add(effort)

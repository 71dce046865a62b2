# SPDX-License-Identifier: MIT
"""One recorded run: a list of operations on one machine configuration, and what Linux answered."""

from __future__ import annotations

import gzip
import json
import tomllib
import zlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

FORMAT = 1
VECTORS = Path(__file__).resolve().parent.parent / "vectors"


class VectorError(ValueError):
    """A file that is no recorded run; the sentence names it and says why."""


@dataclass(frozen=True, slots=True)
class Run:
    """A recorded run; the fields are the keys of the file (docs/vectors.md)."""

    path: Path
    id: str
    origin: str                     # "recorded" or "compiled"
    kernel: str
    backend: str
    machine: dict[str, Any]
    config: dict[str, Any]
    environment: list[str]
    state: list[tuple[int, str]]    # (after line, text)
    first_info: dict[str, Any]
    ops: list[list[Any]]
    lines: list[int | None]
    table: list[dict[str, Any]]     # [{"after_line": line or None, "entries": {index: entry}}]
    raw: dict[str, Any]

    @property
    def initial_state(self) -> list[str]:
        """The allocator's state before the first operation."""
        return [text for line, text in self.state if line == 0]

    def line_of(self, index: int) -> int:
        """The line number of operation index in the recorder's script, or its position where none was kept."""
        line = self.lines[index] if index < len(self.lines) else None
        return index + 1 if line is None else line


@cache
def void_results() -> dict[tuple[str, int], str]:
    """(run, line) of each recorded result that says nothing of DMA, and why: vectors/void.toml."""
    rows = tomllib.loads((VECTORS / "void.toml").read_text(encoding="utf-8"))["void"]
    return {(row["run"], row["line"]): row["why"].strip() for row in rows}


def load(path: Path) -> Run:
    """Read a .json.gz (or plain .json) file. Raises VectorError."""
    try:
        data = path.read_bytes()
        if data[:2] == b"\x1f\x8b":
            data = gzip.decompress(data)
        raw = json.loads(data)
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise VectorError(f"{path}: cannot be read as a recorded run: {error}") from error
    if not isinstance(raw, dict) or raw.get("format") != FORMAT:
        found = raw.get("format") if isinstance(raw, dict) else None
        raise VectorError(f"{path}: format is {found!r}, not {FORMAT}")
    for key, kind in (("id", str), ("backend", str), ("ops", list)):
        if not isinstance(raw.get(key), kind):
            raise VectorError(f"{path}: key {key!r} is missing or not a {kind.__name__}")
    try:
        return _run(path, raw)
    except (TypeError, ValueError, KeyError) as error:
        raise VectorError(f"{path}: is no recorded run: {error}") from error


def _run(path: Path, raw: dict[str, Any]) -> Run:
    return Run(
        path=path,
        id=raw["id"],
        origin=raw.get("origin") or "",
        kernel=raw.get("kernel") or "",
        backend=raw["backend"],
        machine=raw.get("machine") or {},
        config=raw.get("config") or {},
        environment=[str(line) for line in raw.get("environment") or []],
        state=[(int(line), str(text)) for line, text in raw.get("state") or []],
        first_info=raw.get("first_info") or {},
        ops=raw["ops"],
        lines=raw.get("lines") or [],
        table=raw.get("table") or [],
        raw=raw,
    )

# SPDX-License-Identifier: MIT
"""Finds recorded runs, gives each to the adapter of its backend, and adds up."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from .run import VECTORS, Run, VectorError, load
from .session import Difference, Session


@dataclass(slots=True)
class Result:
    """How many recorded results the models gave again (passed), did not (failed), or could not be asked (skipped).

    void counts those that say nothing of DMA (vectors/void.toml); they are in none of the others.
    """

    passed: int = 0
    failed: int = 0
    skipped: int = 0
    void: int = 0

    def add(self, other: Result) -> None:
        self.passed += other.passed
        self.failed += other.failed
        self.skipped += other.skipped
        self.void += other.void


@cache
def sessions() -> dict[str, type[Session]]:
    """The Session subclass of each backend, by the backend's id."""
    from . import adapters as package

    found: dict[str, type[Session]] = {}
    for info in pkgutil.iter_modules(package.__path__):
        module = importlib.import_module(f"{package.__name__}.{info.name}")
        for item in vars(module).values():
            if isinstance(item, type) and issubclass(item, Session) and item.__module__ == module.__name__:
                for backend in item.backends:
                    found[backend] = item
    return found


def find(paths: Iterable[Path]) -> Iterator[Path]:
    """The files that paths name: files as they are, folders with every .json.gz below them, in order."""
    for path in paths:
        if path.is_dir():
            yield from sorted(path.rglob("*.json.gz"))
        elif path.exists():
            yield path
        else:
            raise VectorError(f"{path}: no such file or folder")


def replay_file(run: Run, report: Callable[[Difference], None] | None = None) -> Result:
    """Replay one run; each difference goes to report."""
    adapter = sessions().get(run.backend)
    if adapter is None:
        return Result(skipped=sum(1 for op in run.ops if not Session.no_result(op[0], op[1])))
    session = adapter(run)
    for difference in session.play():
        if report is not None:
            report(difference)
    return Result(session.passed, session.failed, session.skipped, session.void)


def replay(
    paths: Iterable[Path] = (),
    *,
    backend: str | None = None,
    report: Callable[[str], None] | None = None,
    progress: Callable[[Path, Result], None] | None = None,
) -> Result:
    """Replay files and folders, or the project's own vectors where none is named; the sums.

    report gets a line per difference: file, line, operation, expected, got. progress gets each file once it is done,
    with its own sums. Raises VectorError for what cannot be read, and where nothing was found.
    """
    total = Result()
    files = list(find(paths or [VECTORS]))
    if not files:
        raise VectorError("no recorded run (.json.gz) was found")
    for path in files:
        run = load(path)
        if backend is not None and run.backend != backend:
            continue
        try:
            result = replay_file(run, (lambda d: report(str(d))) if report is not None else None)
        except Exception as error:              # what says nothing that could be done, or done in that order
            said = " ".join(str(error).split())
            raise VectorError(f"{path}: cannot be replayed: {type(error).__name__}: {said}") from error
        total.add(result)
        if progress is not None:
            progress(path, result)
    return total

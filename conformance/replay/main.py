# SPDX-License-Identifier: MIT
"""Finds recorded runs, gives each to the adapter of its backend, and adds up."""

from __future__ import annotations

import importlib
import multiprocessing
import pkgutil
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

from .run import VECTORS, Run, VectorError, load
from .session import Difference, Session

FILES_A_WORKER = 32             # fewer are replayed sooner than a process starts
FILES_AT_ONCE = 8


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


@dataclass(frozen=True, slots=True)
class _Played:
    """What one file gave: its sums (None: another backend's), a line per difference, and why it could not go on."""

    result: Result | None = None
    differences: tuple[str, ...] = ()
    error: str = ""


def _play(path: Path, backend: str | None) -> _Played:
    differences: list[str] = []
    try:
        run = load(path)
        if backend is not None and run.backend != backend:
            return _Played()
        return _Played(replay_file(run, lambda difference: differences.append(str(difference))), tuple(differences))
    except VectorError as error:
        return _Played(differences=tuple(differences), error=str(error))
    except Exception as error:              # what says nothing that could be done, or done in that order
        said = " ".join(str(error).split())
        return _Played(differences=tuple(differences),
                       error=f"{path}: cannot be replayed: {type(error).__name__}: {said}")


@contextmanager
def _mapping(workers: int) -> Iterator[Callable[..., Iterable[Any]]]:
    """map(), or the same in processes."""
    if workers < 2:
        yield map
        return
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        try:
            yield partial(pool.map, chunksize=FILES_AT_ONCE)
        finally:
            pool.shutdown(cancel_futures=True)


def replay(
    paths: Iterable[Path] = (),
    *,
    backend: str | None = None,
    report: Callable[[str], None] | None = None,
    progress: Callable[[Path, Result], None] | None = None,
    workers: int = 0,
) -> Result:
    """Replay files and folders, or the project's own vectors where none is named; the sums.

    report gets a line per difference: file, line, operation, expected, got. progress gets each file once it is done,
    with its own sums. workers: processes at most; they change nothing in what is reported, nor its order. Raises
    VectorError for what cannot be read, and where nothing was found.
    """
    total = Result()
    files = list(find(paths or [VECTORS]))
    if not files:
        raise VectorError("no recorded run (.json.gz) was found")
    with _mapping(min(workers, len(files) // FILES_A_WORKER)) as each:
        for path, played in zip(files, each(partial(_play, backend=backend), files), strict=True):
            if report is not None:
                for line in played.differences:
                    report(line)
            if played.error:
                raise VectorError(played.error)
            if played.result is None:
                continue
            total.add(played.result)
            if progress is not None:
                progress(path, played.result)
    return total

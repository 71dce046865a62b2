# SPDX-License-Identifier: MIT
"""One model per dma_map_ops implementation of Linux, found by arch/<architecture>/__init__.py's RECORDS."""

from __future__ import annotations

import importlib
import pkgutil

from .record import BackendRecord, Known, MachineConfig

__dma_conformance__ = True          # tells this package from PyPI's unrelated "arch"

__all__ = ["BackendRecord", "Known", "MachineConfig", "backends"]


def backends() -> dict[str, BackendRecord]:
    """Every backend of the reference library by id, in alphabetical order."""
    found: dict[str, BackendRecord] = {}
    for package in pkgutil.iter_modules(__path__):
        if package.ispkg:
            for record in importlib.import_module(f"{__name__}.{package.name}").RECORDS:
                if record.id in found:
                    raise ValueError(f"two backends are called {record.id}")
                found[record.id] = record
    return dict(sorted(found.items()))

# SPDX-License-Identifier: MIT
"""The checks: functions of a Bench that return, or raise Violation; found in this package's modules by @check."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from functools import cache

from .bench import Bench, NotTested, Violation

__all__ = ["Bench", "Check", "NotTested", "Violation", "check", "checks"]

Check = Callable[[Bench], None]
_CHECKS: dict[str, Check] = {}


def check(function: Check) -> Check:
    """Register a check under its name."""
    name = getattr(function, "__name__", repr(function))
    if name in _CHECKS:
        raise ValueError(f"two checks are called {name}")
    _CHECKS[name] = function
    return function


@cache
def checks() -> dict[str, Check]:
    """Every check by name."""
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")
    return dict(sorted(_CHECKS.items()))

# SPDX-License-Identifier: MIT
"""Deliberately broken backends: what the rules are worth.

A saboteur is a small difference over a real backend, or in the core, that breaks the clause of the rules it names. The
selftest plants each in the backends it is meant for and runs those rules: one that no rule notices has survived, and a
rule that notices none is worth nothing.
"""

from . import core, duties, forgetting, history, limits, listlib, newer, peers, slips, streaming, syncs, tables
from .base import SABOTEURS, Saboteur

__all__ = [
    "SABOTEURS", "Saboteur", "core", "duties", "forgetting", "history", "limits", "listlib", "newer", "peers", "slips",
    "streaming", "syncs", "tables",
]

# SPDX-License-Identifier: MIT
"""The rules on recorded runs: what some kernel answered is judged by its outputs alone, no model runs.

A ledger of its own is kept of who owns which memory, which bus addresses are live and what the table holds; whatever
does not fit is a flaw, under the id of the rule that it breaks. See docs/vectors.md for the runs.
"""

from .judge import Flaw, Judge, judge

__all__ = ["Flaw", "Judge", "judge"]

# SPDX-License-Identifier: MIT
"""Where commands print: a terminal, a file or a pipe."""

from __future__ import annotations

import os
from typing import Any

from rich.console import Console
from rich.text import Text


class _File(Console):
    """A file or a pipe: it has no edge at which to break, so that a line of text can be searched for as a whole."""

    def print(self, *objects: Any, soft_wrap: bool | None = None, **options: Any) -> None:
        if soft_wrap is None:
            soft_wrap = all(isinstance(part, str | Text) for part in objects)
        super().print(*objects, soft_wrap=soft_wrap, **options)


def console(*, stderr: bool = False) -> Console:
    """Where a command writes: as wide as the terminal or ``COLUMNS``; else text has no edge, and a table 160."""
    made = Console(stderr=stderr, highlight=False)
    if made.is_terminal or "COLUMNS" in os.environ:
        return made
    return _File(stderr=stderr, highlight=False, width=160)

# SPDX-License-Identifier: MIT
"""Programs of random calls through the public API, judged by an oracle of bytes and ownership."""

from .play import Outcome, generate, run
from .program import Program, minimise
from .world import Broken, World

__all__ = ["Broken", "Outcome", "Program", "World", "generate", "minimise", "run"]

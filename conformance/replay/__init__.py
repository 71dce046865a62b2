# SPDX-License-Identifier: MIT
"""Replays runs that were recorded from real kernels on the models, and says where they differ."""

from .main import Result, replay, replay_file, sessions
from .run import Run, VectorError, load
from .session import Difference, Session

__all__ = ["Difference", "Result", "Run", "Session", "VectorError", "load", "replay", "replay_file", "sessions"]

# SPDX-License-Identifier: MIT
"""Names for what the functions take, for type checkers."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Any, TypeAlias

# anything with the buffer protocol (collections.abc.Buffer is of Python 3.12)
Buffer: TypeAlias = bytes | bytearray | memoryview | array[Any]
# page addresses or frame numbers: a buffer of unsigned 64-bit integers, or a list of them
Pages: TypeAlias = Buffer | Sequence[int]

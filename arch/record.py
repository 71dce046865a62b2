# SPDX-License-Identifier: MIT
"""What a backend says of itself, so that the suite can choose, run and judge it without knowing it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from dma_ops import Device, DmaMapOps


@dataclass(frozen=True, slots=True)
class MachineConfig:
    """One machine that a backend is run on; build() makes a new machine and answers the device under test on it."""

    name: str
    facts: str
    build: Callable[[], Device]


@dataclass(frozen=True, slots=True)
class Known:
    """A documented fault of Linux itself that the model keeps: the rule it breaks, where it is, and what happens."""

    rule: str
    source: str
    what: str
    machines: tuple[str, ...] = ()      # empty: on all of the backend's machines


@dataclass(frozen=True, slots=True)
class BackendRecord:
    """A backend's plug-in record.

    id: the name of Linux's own table, or dma_direct. source: "file: functions" in the Linux version named by kernel.
    p2pdma: the capability that the kernel reports (policy). proof: "recorded" (runs of real kernels), "compiled"
    (compared with Linux's own C) or "read" (by reading only). stale: why an access may still succeed after unmap and
    flush in Linux ("" if it must fault).
    """

    id: str
    ops: type[DmaMapOps]
    source: tuple[str, ...]
    machines: tuple[MachineConfig, ...]
    p2pdma: bool
    walker: str
    proof: Literal["recorded", "compiled", "read"]
    kernel: str = "6.1.192"
    known: tuple[Known, ...] = field(default=())
    stale: str = ""

    @property
    def summary(self) -> str:
        """The first sentence of the backend's docstring."""
        return (self.ops.__doc__ or "").strip().split("\n\n")[0].replace("\n", " ")

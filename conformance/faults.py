# SPDX-License-Identifier: MIT
"""What a reproducer of a known fault stands on: the device under test, and a peer of it."""

from __future__ import annotations

from typing import Any, Literal

from arch import BackendRecord, Known
from dma_ops import Device
from dma_ops.pci import PciDev

from .rules import load_rules
from .selection import backend, machine

__all__ = ["build", "execute", "peer", "script"]


def build(name: str, on: str, api: Literal["legacy", "new"] = "legacy") -> Device:
    """A device of a backend on a machine. Raises SelectionError."""
    return machine(backend(name), on).of(api).build()


class _Bench:
    def __init__(self, device: Device) -> None:
        self.device, self.machine = device, device.machine


def peer(device: Device, route: Literal["near", "far"]) -> PciDev:
    """A provider of P2P memory, published: below the device's own switch, or behind a host bridge that forwards."""
    from .checks.topology import peers

    bench: Any = _Bench(device)
    return peers(bench).providers[route]


def _where(record: BackendRecord, known: Known) -> tuple[str, Literal["legacy", "new"]]:
    rule = load_rules().get(known.rules[0])
    on = known.machines[0] if known.machines else record.machines[0].name
    return on, rule.api if rule is not None else "legacy"


def script(record: BackendRecord, known: Known) -> str:
    """A reproducer as a whole program; it fails an assertion where the fault is not there."""
    on, api = _where(record, known)
    names = "build, peer" if "peer(" in known.reproducer else "build"
    return (f"from conformance.faults import {names}\n"
            f'device = build("{record.id}", "{on}", "{api}")\n{known.reproducer}')


def execute(record: BackendRecord, known: Known) -> None:
    """Run it. Raises AssertionError where the fault is not there."""
    exec(compile(script(record, known), f"<{record.id}: {', '.join(known.rules)}>", "exec"), {})

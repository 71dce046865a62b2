# SPDX-License-Identifier: MIT
"""pytest plugin for tests of code that does DMA: a device of every backend, and nothing may be left mapped.

    def test_ring(dma_device):                  # once per backend
        ring = Ring(dma_device)
        ...
        ring.close()

`dma_device` is a new Device on a new machine, `dma_machine` that machine, `dma_backend` its BackendRecord. Which ones:
`--dma-backend ID` or `@pytest.mark.dma_backend(ID, ...)`, both with globs, `ID:MACHINE` for other machines than the
backend's first, py:MODULE:OBJECT for one that is not installed; without either, the first machine of every backend
but dma_dummy_ops, which maps nothing.

When the test is over, what dma-debug found fails it, and so does what is still mapped or allocated, with the line that
made it. `@pytest.mark.dma_unchecked(reason)` is for a test that does wrong on purpose.

pytest finds this by its entry point and imports it at each start: nothing of ours is imported before a test asks for a
fixture. The suite's own plugin is plugin.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from arch import BackendRecord, MachineConfig
    from dma_ops import Device, Machine
    from dma_ops.debug import DmaDebug

    Choice = tuple[BackendRecord, MachineConfig]

NEVER_ASKED = 8                     # dma-debug's report on dma_mapping_error(): Python raises instead
PAIRING = {"DMA-01", "DMA-31"}      # a backend with a known fault in one of these keeps what it was given back
MAPS_NOTHING = "dma_dummy_ops"      # in no test that does not ask for it
_FAILED = pytest.StashKey[bool]()


def pytest_addoption(parser: pytest.Parser, pluginmanager: pytest.PytestPluginManager) -> None:
    if not pluginmanager.hasplugin("conformance.plugin"):           # it has the option, too
        parser.getgroup("dma-conformance").addoption(
            "--dma-backend", action="append", default=[], metavar="ID[:MACHINE]",
            help="backends of the dma_* fixtures: ids, globs or py:MODULE:OBJECT (default: all that map)",
        )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "dma_backend(*names): the backends of this test's dma_* fixtures, ID[:MACHINE]")
    config.addinivalue_line("markers", "dma_unchecked(reason): the test may leave mappings and use the DMA API wrongly")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "_dma_choice" not in metafunc.fixturenames:
        return
    from .selection import SelectionError

    marks = [name for mark in metafunc.definition.iter_markers("dma_backend") for name in mark.args]
    try:
        asked = metafunc.config.getoption("dma_backend")
        chosen = _choices(asked or marks or ["*"])
        if asked and marks:
            meant = _choices(marks)
            chosen = {key: one for key, one in chosen.items() if key in meant}
        if not asked and not marks:
            chosen = {key: one for key, one in chosen.items() if one[0].id != MAPS_NOTHING}
    except SelectionError as error:
        raise pytest.Collector.CollectError(str(error)) from None
    metafunc.parametrize("_dma_choice", chosen.values(), ids=chosen, indirect=True)


def _choices(names: Sequence[str]) -> dict[str, Choice]:
    """{test id: choice}. Raises SelectionError."""
    from fnmatch import fnmatchcase

    from .selection import Selection, SelectionError, suggest

    found = {}
    for name in names:
        prefix = name.startswith("py:")
        parts = name.removeprefix("py:").split(":")
        machine = parts.pop() if len(parts) > 1 + prefix else ""
        for _, record in Selection(backends=("py:" * prefix + ":".join(parts),)).records():
            configs = [one for one in record.machines if fnmatchcase(one.name, machine)] if machine else [
                record.machines[0]]
            if not configs:
                near = suggest(machine, [one.name for one in record.machines])
                raise SelectionError(f"backend {record.id} has no machine {machine!r}{near}")
            for config in configs:
                found[f"{record.id}:{config.name}"] = (record, config)
    return found


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> None:
    if call.when == "call" and call.excinfo is not None:
        item.stash[_FAILED] = True


@pytest.fixture
def _dma_choice(request: pytest.FixtureRequest) -> Choice:
    choice: Choice = request.param
    return choice


@pytest.fixture
def dma_backend(_dma_choice: Choice) -> BackendRecord:
    """The record of the backend that dma_device uses."""
    return _dma_choice[0]


@pytest.fixture
def dma_device(request: pytest.FixtureRequest, _dma_choice: Choice) -> Iterator[Device]:
    """A new device on a new machine, with dma-debug on. What is still mapped at the end fails the test."""
    from dma_ops.debug import DmaDebug

    record, config = _dma_choice
    dev = config.build()
    debug = DmaDebug(dev.machine)
    debug.watch(dev)
    before = dev.resources()
    yield dev
    unchecked = request.node.get_closest_marker("dma_unchecked")
    if unchecked is not None and not (unchecked.args or unchecked.kwargs.get("reason")):
        pytest.fail("dma_unchecked needs a reason", pytrace=False)
    if unchecked is None and not request.node.stash.get(_FAILED, False):
        keeps = any(PAIRING & {*known.rules} and config.name in (known.machines or (config.name,))
                    for known in record.known)
        if wrongs := _wrongs(dev, debug, {} if keeps else before):
            pytest.fail("\n".join(wrongs), pytrace=False)


@pytest.fixture
def dma_machine(dma_device: Device) -> Machine:
    """The machine that dma_device is on."""
    return dma_device.machine


def _wrongs(dev: Device, debug: DmaDebug, before: dict[str, int]) -> list[str]:
    """What dma-debug says, what is mapped, and if that is nothing, what the backend's counters say nevertheless."""
    found = [str(report) for report in debug.reports if report.number != NEVER_ASKED]
    entries = list(debug.entries())
    for one in entries:
        what = f"{one.size} bytes at {one.address:#x} ({one.kind.name.lower()})"
        found.append(f"{one.dev.name}: {what} are still mapped, made at {one.place}")
    if not entries:
        backend = dev.dma_ops if dev.dma_ops is not None else dev.direct
        backend.flush()
        now = dev.resources()
        more = [f"{key} {now.get(key, 0) - was:+}" for key, was in before.items() if now.get(key, 0) != was]
        if more:
            found.append(f"{dev.name}: something is still allocated that dma-debug does not see: {', '.join(more)}")
    return found

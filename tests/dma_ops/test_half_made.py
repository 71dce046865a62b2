# SPDX-License-Identifier: MIT
"""No object that was made past its constructor may end the interpreter, whatever is then asked of it."""

import contextlib
import importlib
import os
import pkgutil
import resource
from collections.abc import Iterator
from importlib.machinery import EXTENSION_SUFFIXES

import pytest

import dma_ops
from dma_ops import Device, DmaMapOps, Machine

ARGUMENTS: list[tuple[int, ...]] = [(), (1,), (0, 4096), (0, 4096, 1), (0, 0, 4096, 1)]


def extension_classes() -> Iterator[type]:
    for package in ("scatterlist", "dma_ops", "arch"):
        root = importlib.import_module(package)
        for info in pkgutil.walk_packages(root.__path__, package + "."):
            spec = info.module_finder.find_spec(info.name, None)
            if spec is not None and spec.origin and spec.origin.endswith(tuple(EXTENSION_SUFFIXES)):
                module = importlib.import_module(info.name)
                yield from (item for item in vars(module).values()
                            if isinstance(item, type) and item.__module__ == info.name)


def attempt(call: object, *arguments: object) -> None:
    with contextlib.suppress(BaseException):        # any exception will do, a signal will not
        call(*arguments)  # type: ignore[operator]


def poke(kind: type) -> None:
    try:
        made = kind.__new__(kind)
    except BaseException:
        return
    device = Device("d", Machine("m"))
    for name in dir(made):
        if name.startswith("__") and name not in {"__len__", "__iter__", "__repr__", "__enter__", "__exit__"}:
            continue
        try:
            member = getattr(made, name)
        except BaseException:
            continue
        if callable(member) and not isinstance(member, type):
            for arguments in ARGUMENTS:
                attempt(member, *arguments)
                attempt(member, device, *arguments)
    if isinstance(made, DmaMapOps):
        device.dma_ops = made
        attempt(dma_ops.dma_map_page, device, 0x100000, 0, 100, 1)
        attempt(dma_ops.dma_unmap_page, device, 0, 100, 1)
        attempt(dma_ops.dma_map_phys, device, 0x100000, 100, 1)
        attempt(dma_ops.dma_unmap_phys, device, 0, 100, 1)
        attempt(dma_ops.dma_iova_try_alloc, device, dma_ops.DmaIovaState(), 0, 100)
        attempt(dma_ops.dma_iova_link, device, dma_ops.DmaIovaState(), 0, 0, 4096, 1)
        attempt(dma_ops.dma_iova_destroy, device, dma_ops.DmaIovaState(), 4096, 1)
        attempt(dma_ops.dma_alloc_attrs, device, 100)
        attempt(dma_ops.dma_set_mask, device, 0xFFFFFFFF)
        attempt(dma_ops.dma_get_required_mask, device)
        attempt(device.dma_read, 0, 1)


def name_of(kind: type) -> str:
    return f"{kind.__module__}.{kind.__name__}"


@pytest.mark.parametrize("kind", sorted(set(extension_classes()), key=name_of), ids=name_of)
def test_no_half_made_object_ends_the_interpreter(kind: type) -> None:
    child = os.fork()
    if child == 0:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_CPU, (20, 20))
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        poke(kind)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert status == 0

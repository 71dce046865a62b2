# SPDX-License-Identifier: MIT
"""Mappings as objects: with blocks that unmap, and a warning where one is forgotten.

    with mapped_sgtable(dev, sgt, DMA_TO_DEVICE) as mapping:
        for address, length, flags in mapping.segments: ...

An object that is lost while it is mapped is a ResourceWarning that names the line which made it. It stays mapped then:
the device may still be using it.
"""

from __future__ import annotations

import sys
import warnings
from types import TracebackType
from typing import Self

from scatterlist.core import SgTable

from .api import (
    dma_alloc_attrs,
    dma_free_attrs,
    dma_map_page,
    dma_map_sgtable,
    dma_mapping_error,
    dma_sync_sgtable_for_cpu,
    dma_sync_sgtable_for_device,
    dma_sync_single_for_cpu,
    dma_sync_single_for_device,
    dma_unmap_page,
    dma_unmap_sgtable,
)
from .device import Device


class Mapping:
    """What the device may use until close(), or the end of the with block."""

    dev: Device
    closed = True               # until the mapping is made

    def _opened(self, dev: Device) -> None:
        self.dev = dev
        self.closed = False
        frame = sys._getframe(2)            # the line that calls the class
        self.place = f"{frame.f_code.co_filename}:{frame.f_lineno}"

    def close(self) -> None:
        """Unmap; a second time does nothing."""
        if not self.closed:
            self.closed = True
            self._release()

    def _release(self) -> None:
        raise NotImplementedError

    def __enter__(self) -> Self:
        if self.closed:
            raise ValueError(f"{self!r} cannot be entered again")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 traceback: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        if not hasattr(self, "dev"):
            return f"<{type(self).__name__}, never mapped>"
        return f"<{'un' if self.closed else ''}mapped {self._what()} of {self.dev.name}, made at {self.place}>"

    def _what(self) -> str:
        raise NotImplementedError

    def __del__(self) -> None:
        if not self.closed:
            warnings.warn(f"{self!r} was lost while it is mapped", ResourceWarning, source=self, stacklevel=2)


class mapped_sgtable(Mapping):
    """dma_map_sgtable() and dma_unmap_sgtable(). Raises what dma_map_sgtable raises."""

    def __init__(self, dev: Device, sgt: SgTable, dir: int, attrs: int = 0) -> None:
        dma_map_sgtable(dev, sgt, dir, attrs)
        self.sgt, self.dir, self.attrs = sgt, dir, attrs
        self._opened(dev)

    @property
    def segments(self) -> list[tuple[int, int, int]]:
        """(bus address, length, flags) of each mapped segment."""
        return self.sgt.segments()

    def sync_for_cpu(self) -> None:
        dma_sync_sgtable_for_cpu(self.dev, self.sgt, self.dir)

    def sync_for_device(self) -> None:
        dma_sync_sgtable_for_device(self.dev, self.sgt, self.dir)

    def _release(self) -> None:
        dma_unmap_sgtable(self.dev, self.sgt, self.dir, self.attrs)

    def _what(self) -> str:
        return f"table of {self.sgt.orig_nents} entries"


class mapped_page(Mapping):
    """dma_map_page(), with the error check that dma-debug asks for, and dma_unmap_page(); dma_address is where."""

    def __init__(self, dev: Device, page: int, offset: int, size: int, dir: int, attrs: int = 0) -> None:
        self.dma_address = dma_map_page(dev, page, offset, size, dir, attrs)
        dma_mapping_error(dev, self.dma_address)
        self.size, self.dir, self.attrs = size, dir, attrs
        self._opened(dev)

    def sync_for_cpu(self) -> None:
        dma_sync_single_for_cpu(self.dev, self.dma_address, self.size, self.dir)

    def sync_for_device(self) -> None:
        dma_sync_single_for_device(self.dev, self.dma_address, self.size, self.dir)

    def _release(self) -> None:
        dma_unmap_page(self.dev, self.dma_address, self.size, self.dir, self.attrs)

    def _what(self) -> str:
        return f"{self.size} bytes at bus address {self.dma_address:#x}"


class coherent(Mapping):
    """dma_alloc_attrs() and dma_free_attrs(): memory at cpu_addr for the CPU and dma_address for the device."""

    def __init__(self, dev: Device, size: int, attrs: int = 0) -> None:
        self.cpu_addr, self.dma_address = dma_alloc_attrs(dev, size, attrs)
        self.size, self.attrs = size, attrs
        self._opened(dev)

    def _release(self) -> None:
        dma_free_attrs(self.dev, self.size, self.cpu_addr, self.dma_address, self.attrs)

    def _what(self) -> str:
        return f"coherent {self.size} bytes at bus address {self.dma_address:#x}"

# SPDX-License-Identifier: MIT
"""A BAR without pages lent to other devices, and taken back (drivers/vfio/pci/vfio_pci_dmabuf.c, Linux 7.x).

An importer attaches, maps and gets DMA addresses (dma_ops.dma_buf). When the device is reset, loses its memory or is
closed, the exporter revokes: it tells every importer, each of which must unmap, and waits for the last mapping.
Linux 6.19 told them and did not wait.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable

from .device import Device
from .dma_buf import DmaBufTable, dma_buf_free_sgt, dma_buf_phys_vec_to_sgt
from .errors import DmaError, KernelHang
from .p2pdma_state import P2pdmaProvider


class Attachment:
    """struct dma_buf_attachment. invalidate_mappings(attachment): what the importer does when it has to let go."""

    def __init__(
        self, buf: VfioDmaBuf, dev: Device, invalidate_mappings: Callable[[Attachment], None] | None
    ) -> None:
        self.buf = buf
        self.dev = dev
        self.invalidate_mappings = invalidate_mappings
        self.tables: list[tuple[DmaBufTable, int]] = []


class VfioDmaBuf:
    """struct vfio_pci_dma_buf: ranges, (physical address, length) each, of a provider's BAR."""

    def __init__(self, provider: P2pdmaProvider, ranges: Iterable[tuple[int, int]]) -> None:
        self.provider = provider
        self.ranges = list(ranges)
        self.size = sum(length for _, length in self.ranges)
        self.revoked = False
        self.attachments: list[Attachment] = []

    @property
    def mappings(self) -> int:
        """What the kref counts: tables that importers have."""
        return sum(len(attachment.tables) for attachment in self.attachments)


def dma_buf_dynamic_attach(
    buf: VfioDmaBuf, dev: Device, invalidate_mappings: Callable[[Attachment], None] | None, *, peer2peer: bool = True
) -> Attachment:
    """An importer. Raises DmaError: EOPNOTSUPP for one that knows no peers, or that cannot be told to let go; ENODEV
    while the buffer is revoked."""
    if not peer2peer:
        raise DmaError(errno.EOPNOTSUPP, "the importer does not know peers' memory")
    if buf.revoked:
        raise DmaError(errno.ENODEV, "the buffer is revoked")
    if invalidate_mappings is None:
        raise DmaError(errno.EOPNOTSUPP, "the importer cannot be told to let go")
    attachment = Attachment(buf, dev, invalidate_mappings)
    buf.attachments.append(attachment)
    return attachment


def dma_buf_map_attachment(attachment: Attachment, dir: int) -> DmaBufTable:
    """The buffer's DMA addresses for the importer. Raises DmaError(ENODEV) while it is revoked, and what
    dma_buf_phys_vec_to_sgt() raises."""
    buf = attachment.buf
    if buf.revoked:
        raise DmaError(errno.ENODEV, "the buffer is revoked")
    made = dma_buf_phys_vec_to_sgt(attachment.dev, buf.provider, buf.ranges, buf.size, dir)
    attachment.tables.append((made, dir))
    return made


def dma_buf_unmap_attachment(attachment: Attachment, made: DmaBufTable) -> None:
    dir = next(dir for table, dir in attachment.tables if table is made)
    attachment.tables.remove((made, dir))
    dma_buf_free_sgt(attachment.dev, made, dir)


def dma_buf_invalidate_mappings(buf: VfioDmaBuf) -> None:
    """Tell every importer to let go (drivers/dma-buf/dma-buf.c; dma_buf_move_notify before 7.0)."""
    for attachment in buf.attachments:
        if attachment.invalidate_mappings is not None:
            attachment.invalidate_mappings(attachment)


def vfio_pci_dma_buf_move(buf: VfioDmaBuf, revoked: bool) -> None:
    """Revoke the buffer, or let it be mapped again.

    Raises KernelHang, where Linux waits for a completion, if an importer keeps a mapping; the buffer is revoked then.
    """
    if buf.revoked == revoked:
        return
    if revoked:
        buf.revoked = True
    dma_buf_invalidate_mappings(buf)
    if revoked and buf.mappings:
        raise KernelHang(f"vfio_pci_dma_buf_move waits for {buf.mappings} mappings of importers")
    buf.revoked = revoked

# SPDX-License-Identifier: MIT
"""How long P2P memory lives: references of whoever uses it, removal of its provider, revocation."""

from __future__ import annotations

import errno

from dma_ops import DMA_ATTR_MMIO, DMA_BIDIRECTIONAL, DmaError, KernelHang
from dma_ops.dma_buf import DmaBufTable
from dma_ops.p2pdma import (
    pci_alloc_p2pmem,
    pci_free_p2pmem,
    pci_p2pdma_add_resource,
    pci_p2pdma_remove,
    pci_p2pmem_find,
    pci_p2pmem_publish,
)
from dma_ops.p2pdma_state import pcim_p2pdma_provider
from dma_ops.pci import pci_dev_get
from dma_ops.phys_api import dma_map_phys, dma_unmap_phys
from dma_ops.vfio_dmabuf import (
    Attachment,
    VfioDmaBuf,
    dma_buf_dynamic_attach,
    dma_buf_map_attachment,
    dma_buf_unmap_attachment,
    vfio_pci_dma_buf_move,
)

from ..drivers.nvmet import Namespace
from . import check
from .bench import Bench, Violation
from .topology import BAR_SIZE, peers


@check
def removal_waits_for_users(b: Bench) -> None:
    """A provider's removal does not complete while its memory is allocated and mapped; meanwhile nothing more is given
    out and the device still reaches its bytes. Afterwards its pages are no P2P pages, and it is not found."""
    p = peers(b)
    near = p.providers["near"]
    page = pci_alloc_p2pmem(near, b.page)
    lot = p.lot([(page, 0, b.page), p.row("ram")])
    sgt = b.table(lot)
    segments = b.map(sgt)
    for _ in range(2):
        try:
            pci_p2pdma_remove(near)
        except KernelHang:
            pass
        else:
            raise Violation("removal completes while memory of the provider is mapped")
        if not b.machine.is_p2p_page(page):
            raise Violation("pages in use are no P2P pages any more")
        b.expect_read(segments, lot, "the device reads other bytes while the provider is being removed")
        try:
            pci_alloc_p2pmem(near, b.page)
        except DmaError:
            pass
        else:
            raise Violation("a provider that is being removed gives out memory")
    b.unmap(sgt)
    pci_free_p2pmem(near, page, b.page)
    pci_p2pdma_remove(near)
    if b.machine.is_p2p_page(page) or near.p2pdma is not None:
        raise Violation("after removal the BAR is still P2P memory")
    for _ in range(20):
        found = pci_p2pmem_find(p.client)
        if found is near:
            raise Violation("a removed provider is found")
    pci_p2pdma_add_resource(near, 0)
    pci_p2pmem_publish(near, True)
    lot = p.lot([(pci_alloc_p2pmem(near, b.page), 0, b.page)])
    b.expect_read(b.map(b.table(lot)), lot, "the device reads other bytes once the provider is back")


@check
def orchestrators_put_what_they_find(b: Bench) -> None:
    """An NVMe target that finds a provider, moves data through it and disconnects leaves every reference as it was:
    neither mapping nor searching in vain keeps one."""
    p = peers(b)
    before = {name: dev.refs for name, dev in p.providers.items()}
    for _ in range(4):
        namespace = Namespace(b.device, p.client)
        namespace.enable()
        if {name: dev.refs for name, dev in p.providers.items()} != before:
            raise Violation("looking whether there is memory keeps a reference")
        namespace.connect()
        held = namespace.p2p_dev
        if held is None or held.refs != before[p.kind((held.bars[0].start, 0, 1))] + 1:
            raise Violation("the target has no reference to its provider")
        sgt = namespace.alloc_sgls(2 * b.page)
        if sgt is None:
            raise Violation("the provider has no memory for a request")
        lot = p.lot([row[:3] for row in sgt.entries()])
        b.expect_read(b.map(sgt), lot)
        b.unmap(sgt)
        namespace.free_sgls(sgt)
        namespace.disconnect()
        after = {name: dev.refs for name, dev in p.providers.items()}
        if after != before:
            raise Violation("a reference is left after the target disconnected", refs=sorted(after.items()))
    for provider in p.providers.values():
        pci_p2pmem_publish(provider, False)
    namespace = Namespace(b.device, p.client)
    namespace.connect()
    namespace.disconnect()
    if {name: dev.refs for name, dev in p.providers.items()} != before:
        raise Violation("a search in vain keeps a reference")


@check
def orchestrators_ask_first(b: Bench) -> None:
    """On a backend that does not support P2P the NVMe target refuses before anything is found or allocated, so that no
    P2P page gets to the backend."""
    p = peers(b)
    namespace = Namespace(b.device, p.client)
    for provider in p.providers.values():
        pci_dev_get(provider)
    before = {name: dev.refs for name, dev in p.providers.items()}
    try:
        namespace.enable()
    except DmaError as error:
        if error.errno != errno.EINVAL:
            raise Violation("the target refuses otherwise than with EINVAL", errno=error.errno) from None
    else:
        raise Violation("a target puts data into P2P memory for a backend that does not support it")
    if {name: dev.refs for name, dev in p.providers.items()} != before or namespace.p2p_dev is not None:
        raise Violation("the refusal keeps a provider")
    if namespace.alloc_sgls(b.page) is not None:
        raise Violation("a request gets a list of P2P memory in spite of the refusal")


@check
def revocation_unmaps_importers(b: Bench) -> None:
    """Memory without pages, lent as a dma-buf: a revocation makes every importer unmap before it ends, nothing can be
    mapped until it is over, and an importer that cannot be told is not let in."""
    _revoke(b.fresh(), "near")
    p = peers(b)
    try:
        dma_unmap_phys(b.device, dma_map_phys(b.device, p.row("far")[0], b.page, 0, DMA_ATTR_MMIO), b.page, 0,
                       DMA_ATTR_MMIO)
    except DmaError:
        return                                          # through the host bridge this backend maps no MMIO
    _revoke(b.fresh(), "far")


def _revoke(b: Bench, name: str) -> None:
    owner = peers(b).providers[name]
    provider = pcim_p2pdma_provider(owner, 0)
    if provider is None:
        raise Violation("a memory BAR is no provider")
    start = owner.bars[0].start + BAR_SIZE // 2
    buf = VfioDmaBuf(provider, [(start, 3 * b.page)])
    told: list[Attachment] = []
    mine: dict[int, list[DmaBufTable]] = {}

    def let_go(attachment: Attachment) -> None:
        told.append(attachment)
        for made in mine.pop(id(attachment), []):
            dma_buf_unmap_attachment(attachment, made)

    for told_how, peer2peer in ((None, True), (let_go, False)):
        try:
            dma_buf_dynamic_attach(buf, b.device, told_how, peer2peer=peer2peer)
        except DmaError as error:
            if error.errno != errno.EOPNOTSUPP:
                raise Violation("an importer is refused otherwise", errno=error.errno) from None
        else:
            raise Violation("an importer is let in that cannot be told to let go, or knows no peers")
    before = b.counters()
    attachments = [dma_buf_dynamic_attach(buf, b.device, let_go) for _ in range(3)]
    content = b.random.randbytes(3 * b.page)
    b.machine.mem.poke(start, content)
    for turn in range(2):
        for attachment in attachments[: 2 + turn]:
            made = dma_buf_map_attachment(attachment, DMA_BIDIRECTIONAL)
            mine.setdefault(id(attachment), []).append(made)
            b.same(b.read([(at, length, 0) for at, length in made.segments]), content, "an importer reads other bytes")
        told.clear()
        vfio_pci_dma_buf_move(buf, True)
        if {id(attachment) for attachment in told} != {id(attachment) for attachment in attachments}:
            raise Violation("a revocation does not tell every importer", told=len(told), of=len(attachments))
        if buf.mappings or any(attachment.tables for attachment in attachments):
            raise Violation("a revocation ends with mappings left", mappings=buf.mappings)
        b.expect_counters(before, "after the revocation")
        for attach in (False, True):
            try:
                if attach:
                    dma_buf_dynamic_attach(buf, b.device, let_go)
                else:
                    dma_buf_map_attachment(attachments[0], DMA_BIDIRECTIONAL)
            except DmaError as error:
                if error.errno != errno.ENODEV:
                    raise Violation("a revoked buffer is refused otherwise", errno=error.errno) from None
            else:
                raise Violation("a revoked buffer can be mapped")
        vfio_pci_dma_buf_move(buf, False)
    stubborn = dma_buf_dynamic_attach(buf, b.device, told.append)
    made = dma_buf_map_attachment(stubborn, DMA_BIDIRECTIONAL)
    try:
        vfio_pci_dma_buf_move(buf, True)
    except KernelHang:
        dma_buf_unmap_attachment(stubborn, made)
        return
    raise Violation("a revocation ends though an importer keeps its mapping")

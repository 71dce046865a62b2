# SPDX-License-Identifier: MIT
"""Design A: dma_map_sg() with a mark in the list (patches of March 2021 in page_link, Linux 6.0 in dma_flags).

The mark is on the output: after merging, the page of a slot is not the memory of its bus address. Who unmaps goes by
the mark. A backend without DMA_F_PCI_P2PDMA_SUPPORTED takes a P2P page for RAM; a caller asks
dma_pci_p2pdma_supported() first, and nothing else stands between.
"""

from libc.errno cimport EOPNOTSUPP

from scatterlist.core cimport (
    SgTable,
    scatterlist,
    sg_dma_mark_bus_address,
    sg_dma_unmark_bus_address,
    sg_is_dma_bus_address,
    sg_is_pci_p2pdma,
    sg_mark_pci_p2pdma,
    sg_next,
    sg_page,
    sg_unmark_pci_p2pdma,
)

from dma_ops.device cimport Device
from dma_ops.machine cimport is_pci_p2pdma_page
from dma_ops.mapping cimport dma_map_sgtable, dma_unmap_sg_attrs

from ._common cimport entries_of

from dma_ops.errors import DmaError

PLACES = ("dma_flags", "page_link")


cdef bint has_p2p(Device dev, scatterlist *sg, int nents) noexcept nogil:
    for _ in range(nents):
        if sg == NULL:
            return False
        if is_pci_p2pdma_page(dev.machine, sg_page(sg)):
            return True
        sg = sg_next(sg)
    return False


cdef void marks_to_page_link(scatterlist *sg, int nents) noexcept nogil:
    for _ in range(nents):
        if sg == NULL:
            return
        if sg_is_dma_bus_address(sg):
            sg_dma_unmark_bus_address(sg)
            sg_mark_pci_p2pdma(sg)
        sg = sg_next(sg)


cdef void marks_to_dma_flags(scatterlist *sg, int nents) noexcept nogil:
    for _ in range(nents):
        if sg == NULL:
            return
        if sg_is_pci_p2pdma(sg):
            sg_unmark_pci_p2pdma(sg)
            sg_dma_mark_bus_address(sg)
        sg = sg_next(sg)


cdef bint in_page_link(str place) except -1:
    if place not in PLACES:
        raise ValueError(f"{place!r} is no place for the mark; one is {' or '.join(PLACES)}")
    return place == "page_link"


def dma_map_sg(Device dev not None, SgTable sgt not None, int dir, unsigned long attrs=0, *, str mark="dma_flags"):
    """Map all orig_nents entries; the count of segments, which is sgt.nents, too.

    mark: where bus addresses are marked, "dma_flags" or "page_link" (bit 2, of a table with p2pdma_bit=True). Raises
    DmaError with dma_map_sgtable()'s errnos, EREMOTEIO among them; EOPNOTSUPP, before anything is touched, for P2P
    memory and a mark in the page_link of a 32-bit machine, whose page pointers leave two bits free.
    """
    cdef bint link = in_page_link(mark)
    cdef scatterlist *sgl = entries_of(dev, sgt)
    cdef int ret
    if link and dev.machine.bits != 64:
        if has_p2p(dev, sgl, sgt.sgt.orig_nents):
            raise DmaError(EOPNOTSUPP, f"{dev.name}: a 32-bit page_link has no bit for the mark")
        link = False
    if link and not sgt.p2pdma_bit:
        raise ValueError("this table has no third flag bit (p2pdma_bit=False): page_link bit 2 belongs to the pointer")
    ret = dma_map_sgtable(dev, &sgt.sgt, dir, attrs)
    if ret:
        raise DmaError(ret, f"{dev.name}: dma_map_sg of {sgt.sgt.orig_nents} entries failed with errno {-ret}")
    if link:
        marks_to_page_link(sgl, sgt.sgt.nents)
    return sgt.sgt.nents


def dma_unmap_sg(Device dev not None, SgTable sgt not None, int dir, unsigned long attrs=0, *, str mark="dma_flags"):
    """Unmap all orig_nents entries: what is marked is left alone, and loses its mark."""
    cdef scatterlist *sgl = entries_of(dev, sgt)
    if in_page_link(mark):
        marks_to_dma_flags(sgl, sgt.sgt.orig_nents)
    dma_unmap_sg_attrs(dev, sgl, sgt.sgt.orig_nents, dir, attrs)

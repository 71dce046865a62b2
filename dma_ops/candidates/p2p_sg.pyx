# SPDX-License-Identifier: MIT
"""Design B: dma_map_p2p_sg(), an op of its own for lists with P2P memory (Murphy in March, patches in April 2021).

Two backends would have filled it: dma-direct and iommu-dma. All others answer -ENXIO, and their dma_map_sg() is as it
was. Nothing is merged, so entry i has address i, and no mark is needed: unmapping asks once more what a page is. That
asks for a map type that does not change while a list is mapped, which the cache of pci_p2pdma_map_type() gives.
"""

from libc.errno cimport EINVAL, EIO, ENXIO

from scatterlist.core cimport SgTable, scatterlist, sg_next, sg_phys

from dma_ops.device cimport DMA_FROM_DEVICE, Device
from dma_ops.errors cimport kernel_bug
from dma_ops.mapping cimport dma_map_direct, dma_pci_p2pdma_supported

from ._common cimport MEM_BUS, MEM_NO_PAGE, entries_of, memory_kind_of, provider_cache

from dma_ops.errors import DmaError


cdef inline int check_direction(int dir) except -9999 nogil:
    if not 0 <= dir <= DMA_FROM_DEVICE:
        return kernel_bug(b"kernel BUG at kernel/dma/mapping.c: !valid_dma_direction(dir)")
    return 0


cdef int one_entry(Device dev, scatterlist *sg, int dir, unsigned long attrs) except -9999 nogil:
    """A list of one, by the backend's own map_sg: 0 or its errno."""
    cdef int ret
    if dma_map_direct(dev):
        ret = dev.direct.map_sg(dev, sg, 1, dir, attrs)
    else:
        ret = dev.dma_ops.map_sg(dev, sg, 1, dir, attrs)
    return 0 if ret == 1 else ret if ret < 0 else -EIO


cdef int undo_entry(Device dev, scatterlist *sg, int dir, unsigned long attrs) except -9999 nogil:
    if dma_map_direct(dev):
        return dev.direct.unmap_sg(dev, sg, 1, dir, attrs)
    return dev.dma_ops.unmap_sg(dev, sg, 1, dir, attrs)


cdef int map_p2p_sg(Device dev, scatterlist *sgl, int nents, int dir, unsigned long attrs) except -9999 nogil:
    """nents, or -ENXIO, -EREMOTEIO, -EINVAL, -EIO, -ENOMEM with every entry as it was before."""
    cdef provider_cache cache
    cdef scatterlist *sg = sgl
    cdef int i, kind, ret = 0
    check_direction(dir)
    if not dma_pci_p2pdma_supported(dev):
        return -ENXIO
    if not dev.has_dma_mask:
        return -EIO
    if nents <= 0:
        return -EINVAL
    cache.pgmap = 0
    for _ in range(nents):          # what cannot be reached is refused before anything is mapped
        if sg == NULL:
            return kernel_bug(b"NULL pointer dereference: the list is shorter than nents")
        kind = memory_kind_of(&cache, dev, sg_phys(sg), sg.length) if sg.length else -EINVAL
        if kind < 0:
            return kind
        if kind == MEM_NO_PAGE:
            return -EINVAL
        sg = sg_next(sg)
    sg = sgl
    for i in range(nents):
        kind = memory_kind_of(&cache, dev, sg_phys(sg), sg.length)
        if kind == MEM_BUS:
            sg.dma_address = sg_phys(sg) + cache.bus_off
            sg.dma_length = sg.length
        else:
            ret = one_entry(dev, sg, dir, attrs)
            if ret:
                unmap_p2p_sg(dev, sgl, i, dir, attrs)
                return ret
        sg = sg_next(sg)
    return nents


cdef int unmap_p2p_sg(Device dev, scatterlist *sg, int nents, int dir, unsigned long attrs) except -9999 nogil:
    cdef provider_cache cache
    check_direction(dir)
    cache.pgmap = 0
    for _ in range(nents):
        if sg == NULL:
            return kernel_bug(b"NULL pointer dereference: the list is shorter than nents")
        if memory_kind_of(&cache, dev, sg_phys(sg), sg.length) == MEM_BUS:
            sg.dma_length = 0
        else:
            undo_entry(dev, sg, dir, attrs)
        sg = sg_next(sg)
    return 0


def dma_map_p2p_sg(Device dev not None, SgTable sgt not None, int dir, unsigned long attrs=0):
    """Map all orig_nents entries, each to an address of its own: that count, which is sgt.nents, too.

    Raises DmaError, with nothing mapped and the list as it was: ENXIO (the backend has no such op), EREMOTEIO (a peer
    that the device cannot reach), EINVAL (an entry without bytes or page): never retry; EIO, ENOMEM.
    """
    cdef scatterlist *sgl = entries_of(dev, sgt)
    cdef int ret = map_p2p_sg(dev, sgl, sgt.sgt.orig_nents, dir, attrs)
    if ret < 0:
        raise DmaError(ret, f"{dev.name}: dma_map_p2p_sg of {sgt.sgt.orig_nents} entries failed with errno {-ret}")
    sgt.sgt.nents = ret
    return ret


def dma_unmap_p2p_sg(Device dev not None, SgTable sgt not None, int dir, unsigned long attrs=0):
    cdef scatterlist *sgl = entries_of(dev, sgt)
    if not dma_pci_p2pdma_supported(dev):
        raise DmaError(ENXIO, f"{dev.name}: the backend has no unmap_p2p_sg")
    unmap_p2p_sg(dev, sgl, sgt.sgt.orig_nents, dir, attrs)

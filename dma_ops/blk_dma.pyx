# SPDX-License-Identifier: MIT
"""Mapping a block request without a scatterlist (block/blk-mq-dma.c, Linux 7.x): bio_vec in, bus addresses out.

    state, it = DmaIovaState(), BlkDmaIter()
    more = blk_rq_dma_map_iter_start(req, dev, state, it)
    while more:
        program(it.addr, it.len)
        more = not blk_rq_dma_map_coalesce(state) and blk_rq_dma_map_iter_next(req, dev, it)
    if it.status: ...

If no gap of the request lies inside a granule and the device has iommu-dma, everything is linked into one IOVA range,
and there is one segment. Else each segment is mapped by itself. The first segment's page decides for the whole request
whether that is RAM or a peer's memory, and how it is reached.

Linux's faults, kept:
- where the start fails after the range was allocated, the range is freed but state keeps it: whoever then unmaps the
  request frees it twice, and two later owners get the same addresses (blk_rq_dma_map_iova);
- the gap mask is looked at, but segments are cut by the queue's limits: a maximum segment size that is no multiple of
  the granule fails the request with IOERR (blk_can_dma_map_iova);
- the second and later segments are not classified: a request that mixes RAM and P2P memory is mapped wrongly.
"""

import errno
from enum import IntEnum

from libc.stdlib cimport calloc, free

from scatterlist._structs cimport phys_vec
from scatterlist.bvec cimport BioVecs, bvec_iter_advance_single, bvec_phys, mp_bvec_iter_bvec

from .api cimport check_device, check_mapped
from .device cimport DMA_ATTR_MMIO, DMA_BIDIRECTIONAL, DMA_FROM_DEVICE, Device, is_dma_error
from .dma_iova cimport (
    DmaIovaState,
    dma_iova_destroy,
    dma_iova_link,
    dma_iova_size,
    dma_iova_state,
    dma_iova_sync,
    dma_iova_try_alloc,
    dma_use_iova,
)
from .machine cimport Machine
from .mapping cimport dma_get_merge_boundary
from .p2pdma cimport (
    P2P_MAP_BUS_ADDR,
    P2P_MAP_NONE,
    P2P_MAP_THRU_HOST_BRIDGE,
    pci_p2pdma_bus_addr_map,
    pci_p2pdma_state,
)
from .phys cimport dma_map_phys, dma_need_unmap

from .p2pdma_state import P2pMapType

cdef enum:
    UINT_MAX = 0xffffffff


class BlkStatus(IntEnum):
    """blk_status_t, what mapping can answer."""

    OK = 0
    NOTSUPP = 1
    TARGET = 5
    RESOURCE = 9
    IOERR = 10
    AGAIN = 12
    INVAL = 19


_STATUS = {errno.EOPNOTSUPP: BlkStatus.NOTSUPP, errno.EREMOTEIO: BlkStatus.TARGET, errno.ENOMEM: BlkStatus.RESOURCE,
           errno.EAGAIN: BlkStatus.AGAIN, errno.EINVAL: BlkStatus.INVAL}


cdef class Request:
    """struct request: bios is a sequence of BioVecs, one per bio, which must not be written to while it exists.

    max_segment_size (bytes) and seg_boundary_mask are the queue's limits. phys_gap_mask: the lowest address bit that
    is set at the end or start of a gap between segments; None: worked out from bios.
    """

    def __cinit__(self, bios, int dir, *, u32 max_segment_size=UINT_MAX, u64 seg_boundary_mask=~<u64>0,
                  phys_gap_mask=None):
        cdef BioVecs vecs
        cdef u64 size
        cdef Py_ssize_t i, k
        if not DMA_BIDIRECTIONAL <= dir <= DMA_FROM_DEVICE:
            raise ValueError(f"{dir} is no direction")
        if max_segment_size == 0:
            raise ValueError("max_segment_size is 0")
        self.bios = tuple(bios)
        self.bio = <blk_bio *>calloc(len(self.bios) + 1, sizeof(blk_bio))
        if self.bio == NULL:
            raise MemoryError
        for i in range(len(self.bios)):
            vecs = self.bios[i]
            size = 0
            for k in range(vecs.n):
                size += vecs.bv[k].bv_len
            if size > UINT_MAX:
                raise ValueError(f"bio {i} has {size} bytes, more than bi_size can count")
            self.bio[i].bvecs = vecs.bv
            self.bio[i].size = <unsigned int>size
            self.payload += size
        if self.payload > UINT_MAX:
            raise ValueError(f"{self.payload} bytes are more than a request can have")
        self.nr_bios = len(self.bios)
        self.dir = dir
        self.max_segment_size = max_segment_size
        self.seg_boundary_mask = seg_boundary_mask
        self.phys_gap_mask = self._gap_mask() if phys_gap_mask is None else phys_gap_mask

    def __dealloc__(self):
        free(self.bio)

    def _gap_mask(self):
        """From 6.19 on the block layer keeps this number while it builds and merges bios."""
        gaps, end = 0, None
        for vecs in self.bios:
            for page, length, offset in vecs.rows():
                if end is not None and end != page + offset:
                    gaps |= end | page + offset
                end = page + offset + length
        return gaps & -gaps

    def __repr__(self):
        return f"<Request of {self.nr_bios} bios, {self.payload} bytes>"


cdef class BlkDmaIter:
    """struct blk_dma_iter: where a request's mapping has come to. addr, len: the segment that was mapped last."""

    def __cinit__(self):
        self._status = BlkStatus.OK

    @property
    def status(self):
        """A BlkStatus; it says something where start or next answered False."""
        return self._status

    @property
    def map(self):
        """P2pMapType of the whole request: to be kept for blk_rq_dma_unmap()."""
        return P2pMapType(self.p2pdma.map)


# -- segments --------------------------------------------------------------------------------------------------

cdef void enter_bio(Request req, blk_map_iter *it, int bio) noexcept nogil:
    it.bio = bio
    it.iter.bi_sector = 0
    it.iter.bi_size = req.bio[bio].size if bio < req.nr_bios else 0
    it.iter.bi_idx = 0
    it.iter.bi_bvec_done = 0


cdef bint more_bios(Request req, blk_map_iter *it) noexcept nogil:
    if it.iter.bi_size:
        return True
    if it.bio + 1 >= req.nr_bios:
        return False
    enter_bio(req, it, it.bio + 1)
    return True


cdef u32 get_max_segment_size(Request req, u64 paddr) noexcept nogil:
    """Up to the boundary, and no more than one segment may have."""
    cdef u64 to_boundary = req.seg_boundary_mask - (req.seg_boundary_mask & paddr)
    cdef u64 most = min(to_boundary, <u64>req.max_segment_size - 1) + 1
    return <u32>min(most, <u64>UINT_MAX)


cdef bint biovec_phys_mergeable(Request req, Machine machine, const bio_vec *a, const bio_vec *b) noexcept nogil:
    cdef u64 start = bvec_phys(a), next = bvec_phys(b)
    if start + a.bv_len != next:
        return False
    if machine.nr_pgmaps and machine.find_pgmap(a.bv_page) != machine.find_pgmap(b.bv_page):
        return False
    return (start | req.seg_boundary_mask) == ((next + b.bv_len - 1) | req.seg_boundary_mask)


cdef bint blk_map_iter_next(Request req, Machine machine, blk_map_iter *it, phys_vec *vec) noexcept nogil:
    """The next segment, with what follows it in memory; False at the end."""
    cdef bio_vec bv, next
    cdef u32 most
    if it.iter.bi_size == 0:
        return False
    bv = mp_bvec_iter_bvec(req.bio[it.bio].bvecs, &it.iter)
    vec.paddr = bvec_phys(&bv)
    most = get_max_segment_size(req, vec.paddr)
    bv.bv_len = min(bv.bv_len, most)
    bvec_iter_advance_single(req.bio[it.bio].bvecs, &it.iter, bv.bv_len)
    while it.iter.bi_size == 0 or it.iter.bi_bvec_done == 0:
        if not more_bios(req, it):
            break
        next = mp_bvec_iter_bvec(req.bio[it.bio].bvecs, &it.iter)
        if bv.bv_len + next.bv_len > most or not biovec_phys_mergeable(req, machine, &bv, &next):
            break
        bv.bv_len += next.bv_len
        bvec_iter_advance_single(req.bio[it.bio].bvecs, &it.iter, next.bv_len)
    vec.len = bv.bv_len
    return True


# -- mapping ---------------------------------------------------------------------------------------------------

cdef bint map_bus(BlkDmaIter it, const phys_vec *vec) noexcept nogil:
    it.addr = pci_p2pdma_bus_addr_map(&it.p2pdma, vec.paddr)
    it.len = <u32>vec.len
    return True


cdef bint map_one(Request req, Device dev, BlkDmaIter it, const phys_vec *vec) except -1:
    it.attrs = DMA_ATTR_MMIO if it.p2pdma.map == P2P_MAP_THRU_HOST_BRIDGE else 0
    it.addr = dma_map_phys(dev, vec.paddr, vec.len, req.dir, it.attrs)
    if is_dma_error(dev, it.addr):
        it._status = BlkStatus.RESOURCE
        return False
    it.len = <u32>vec.len
    return True


cdef int link_all(Request req, Device dev, dma_iova_state *state, BlkDmaIter it, phys_vec *vec,
                  u64 *mapped) except -9999 nogil:
    """0 or the errno of the first link that failed, or of the sync."""
    cdef int ret
    mapped[0] = 0
    while True:
        ret = dma_iova_link(dev, state, vec.paddr, mapped[0], vec.len, req.dir, it.attrs)
        if ret:
            return ret
        mapped[0] += vec.len
        if not blk_map_iter_next(req, dev.machine, &it.iter, vec):
            return dma_iova_sync(dev, state, 0, mapped[0])


cdef bint map_iova(Request req, Device dev, dma_iova_state *state, BlkDmaIter it, phys_vec *vec) except -1:
    cdef u64 mapped = 0
    cdef int ret
    it.addr = state.addr
    it.len = <u32>dma_iova_size(state)
    it.attrs = DMA_ATTR_MMIO if it.p2pdma.map == P2P_MAP_THRU_HOST_BRIDGE else 0
    ret = link_all(req, dev, state, it, vec, &mapped)
    if ret == 0:
        return True
    dma_iova_destroy(dev, state, mapped, req.dir, it.attrs)         # and state still says that it has a range
    it._status = _STATUS.get(-ret, BlkStatus.IOERR)
    return False


def blk_rq_dma_map_iter_start(Request req not None, Device dev not None, DmaIovaState state not None,
                              BlkDmaIter it not None):
    """Map a request's first segment, or all of it: False if it has none or that failed, for which see it.status."""
    cdef phys_vec vec
    cdef int map
    check_device(dev)
    enter_bio(req, &it.iter, 0)
    it.req = req
    it.p2pdma.pgmap = 0
    it.p2pdma.map = P2P_MAP_NONE
    it.p2pdma.bus_off = 0
    it.attrs = 0
    it._status = BlkStatus.OK
    if not blk_map_iter_next(req, dev.machine, &it.iter, &vec):
        return False
    map = pci_p2pdma_state(&it.p2pdma, dev, vec.paddr & ~(dev.machine.page_size - 1))
    if map == P2P_MAP_BUS_ADDR:
        return bool(map_bus(it, &vec))
    if map != P2P_MAP_NONE and map != P2P_MAP_THRU_HOST_BRIDGE:
        it._status = BlkStatus.INVAL
        return False
    if (req.phys_gap_mask & dma_get_merge_boundary(dev) == 0
            and dma_iova_try_alloc(dev, &state.state, vec.paddr, req.payload)):
        return bool(map_iova(req, dev, &state.state, it, &vec))
    state.state.addr = 0
    state.state.size = 0
    return bool(map_one(req, dev, it, &vec))


def blk_rq_dma_map_iter_next(Request req not None, Device dev not None, BlkDmaIter it not None):
    """Map the next segment, unless blk_rq_dma_map_coalesce(). False: there is none, or it.status says why."""
    cdef phys_vec vec
    check_device(dev)
    if it.req is not req:
        raise ValueError("the iterator was not started on this request")
    if not blk_map_iter_next(req, dev.machine, &it.iter, &vec):
        return False
    if it.p2pdma.map == P2P_MAP_BUS_ADDR:
        return bool(map_bus(it, &vec))
    return bool(map_one(req, dev, it, &vec))


def blk_rq_dma_map_coalesce(DmaIovaState state not None):
    """Is the request one segment now?"""
    return bool(dma_use_iova(&state.state))


def blk_rq_dma_unmap(Request req not None, Device dev not None, DmaIovaState state not None, size_t mapped_len, map,
                     unsigned long attrs=0):
    """Unmap a request: True, or False if the caller must call dma_unmap_phys() for each segment that it got."""
    check_mapped(dev, mapped_len)
    if map == P2P_MAP_BUS_ADDR:
        return True
    if dma_use_iova(&state.state):
        dma_iova_destroy(dev, &state.state, mapped_len, req.dir, attrs)
        return True
    return not dma_need_unmap(dev)

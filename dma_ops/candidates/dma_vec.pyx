# SPDX-License-Identifier: MIT
"""Design C: dma_map_new(), from physical ranges to a vector of bus addresses without a scatterlist.

Native: dma-direct, for which an address is an address; iommu-dma, which gives ranges that fit together one stretch of
bus addresses and the IOTLB one flush. Every other backend maps RAM as well, so there is a fallback: one dma_map_page()
for each range, which takes what the backend would have merged apart; or a scatterlist underneath and dma_map_sg(),
which keeps that, but cannot say what has no struct page. Who unmaps needs the vector alone.

The rules, whichever path is taken: the output's bytes are the input's, in its order; a range over 4 GiB becomes
several; if one cannot be mapped, those before it are unmapped again and nothing of the vector remains. -ENXIO: the
backend has no op for this memory; -EREMOTEIO: it has, but the device cannot reach this peer; -EOPNOTSUPP: this path
cannot express it, another could.
"""

from cpython.mem cimport PyMem_Free, PyMem_Malloc
from libc.errno cimport EINVAL, EIO, ENOMEM, ENXIO, EOPNOTSUPP
from libc.stdlib cimport free, realloc

from scatterlist.bvec cimport BioVecs, bvec_phys
from scatterlist.core cimport SgTable, scatterlist, sg_dma_len, sg_is_dma_bus_address, sg_next
from scatterlist.types cimport phys_addr_t

from dma_ops.device cimport (
    DMA_ATTR_MMIO,
    DMA_FROM_DEVICE,
    OP_MAP_PAGE,
    OP_MAP_RESOURCE,
    OP_MAP_SG,
    dma_get_max_seg_size,
    dma_get_seg_boundary,
    is_dma_error,
)
from dma_ops.dma_iova cimport (
    DMA_IOVA_USE_SWIOTLB,
    dma_iova_destroy,
    dma_iova_link,
    dma_iova_state,
    dma_iova_sync,
    dma_iova_try_alloc,
)
from dma_ops.errors cimport kernel_bug
from dma_ops.mapping cimport (
    dma_get_merge_boundary,
    dma_map_direct,
    dma_map_page_attrs,
    dma_map_resource,
    dma_map_sgtable,
    dma_unmap_page_attrs,
    dma_unmap_resource,
    dma_unmap_sg_attrs,
)
from dma_ops.phys cimport OP_DMA_IOMMU

from ._common cimport MEM_BUS, MEM_NO_PAGE, MEM_RAM, check_device, memory_kind_of, provider_cache

from dma_ops.errors import DmaError

PATHS = ("native", "per-segment", "dma_map_sg")
cdef u64 UINT_MAX = <u64>0xffffffff
cdef u64 MOST = <u64>1 << 40        # bytes of a mapping: more than any backend has room for


cdef inline int check_direction(int dir) except -9999 nogil:
    if not 0 <= dir <= DMA_FROM_DEVICE:
        return kernel_bug(b"kernel BUG at kernel/dma/mapping.c: !valid_dma_direction(dir)")
    return 0


cdef inline u32 piece_of(Device dev, phys_addr_t start, u64 left) noexcept nogil:
    """How much of a range fits into 32 bits, up to a page's end if not all."""
    cdef u64 mask = dev.machine.page_size - 1
    if left <= UINT_MAX:
        return <u32>left
    return <u32>((UINT_MAX & ~mask) - (start & mask))


cdef class DmaVector:
    """What dma_map_new() answers: a sequence of (bus address, bytes, flags). dma_unmap_new() needs nothing else.

    flags: 1 for the bus address of P2P memory, which no unmap touches; 2 to 16 for what unmapping has to know.
    """

    def __init__(self):
        raise TypeError("a DmaVector comes from dma_map_new()")

    def __dealloc__(self):
        free(self.vec)

    cdef int append(self, dma_addr_t addr, u32 length, u32 flags) noexcept nogil:
        cdef size_t room
        cdef dma_vec *vec
        if self.n == self.room:
            room = self.room * 2 if self.room else 4
            vec = <dma_vec *>realloc(self.vec, room * sizeof(dma_vec))
            if vec == NULL:
                return -ENOMEM
            self.vec = vec
            self.room = room
        self.vec[self.n].addr = addr
        self.vec[self.n].len = length
        self.vec[self.n].flags = flags
        self.n += 1
        return 0

    @property
    def path(self):
        """How it was mapped, one of PATHS."""
        return PATHS[<int>self.how]

    @property
    def mapped(self):
        return self.dev is not None

    @property
    def size(self):
        """Bytes."""
        cdef size_t i
        cdef u64 total = 0
        for i in range(self.n):
            total += self.vec[i].len
        return total

    def __len__(self):
        return self.n

    def __getitem__(self, Py_ssize_t i):
        if i < 0:
            i += <Py_ssize_t>self.n
        if not 0 <= i < <Py_ssize_t>self.n:
            raise IndexError(f"the vector has {self.n} segments")
        return self.vec[i].addr, self.vec[i].len, self.vec[i].flags

    def __iter__(self):
        return iter([self[i] for i in range(self.n)])

    def __repr__(self):
        state = self.path if self.dev is not None else "unmapped"
        return f"<DmaVector of {self.n} segments, {self.size} bytes, {state}>"


# -- one mapping per range: dma-direct's own way, and everybody else's fallback --------------------------------

cdef int map_piece(Device dev, DmaVector out, int kind, u64 bus_off, phys_addr_t phys, u32 length, int dir,
                   unsigned long attrs) except -9999 nogil:
    cdef u64 mask = dev.machine.page_size - 1
    cdef dma_addr_t addr
    cdef int ret
    if kind == MEM_BUS:
        return out.append(phys + bus_off, length, DMA_VEC_BUS_ADDRESS)
    if kind == MEM_NO_PAGE:
        if not dma_map_direct(dev) and not dev.dma_ops.filled & OP_MAP_RESOURCE:
            return -ENXIO
        addr = dma_map_resource(dev, phys, length, dir, attrs)
    else:
        addr = dma_map_page_attrs(dev, phys & ~mask, phys & mask, length, dir, attrs)
    if is_dma_error(dev, addr):
        return -EIO
    addr &= dev.machine.dma_addr_mask
    ret = out.append(addr, length, DMA_VEC_RESOURCE if kind == MEM_NO_PAGE else 0)
    if ret:
        unmap_piece(dev, addr, length, DMA_VEC_RESOURCE if kind == MEM_NO_PAGE else 0, dir, attrs)
    return ret


cdef int unmap_piece(Device dev, dma_addr_t addr, u32 length, u32 flags, int dir,
                     unsigned long attrs) except -9999 nogil:
    cdef dma_iova_state state
    if flags & DMA_VEC_BUS_ADDRESS:
        return 0
    if flags & DMA_VEC_RANGE:
        state.addr = addr
        state.size = length
        if flags & DMA_VEC_SWIOTLB:
            state.size |= DMA_IOVA_USE_SWIOTLB
        return dma_iova_destroy(dev, &state, length, dir, attrs | DMA_ATTR_MMIO if flags & DMA_VEC_MMIO else attrs)
    if flags & DMA_VEC_RESOURCE:
        return dma_unmap_resource(dev, addr, length, dir, attrs)
    return dma_unmap_page_attrs(dev, addr, length, dir, attrs)


cdef int map_pieces(Device dev, DmaVector out, const phys_vec *ranges, size_t n, int dir,
                    unsigned long attrs) except -9999 nogil:
    """0, or an errno with nothing left mapped."""
    cdef provider_cache cache
    cdef phys_addr_t phys
    cdef u64 left
    cdef size_t i
    cdef u32 length
    cdef int kind, ret = 0
    cache.pgmap = 0
    for i in range(n):
        phys = ranges[i].paddr
        left = ranges[i].len
        kind = memory_kind_of(&cache, dev, phys, left)
        if kind < 0:
            ret = kind
        while left and ret == 0:
            length = piece_of(dev, phys, left)
            ret = map_piece(dev, out, kind, cache.bus_off, phys, length, dir, attrs)
            phys += length
            left -= length
        if ret:
            unmap_pieces(dev, out, dir, attrs)
            return ret
    return 0


cdef int unmap_pieces(Device dev, DmaVector vector, int dir, unsigned long attrs) except -9999 nogil:
    cdef size_t i
    for i in range(vector.n):
        unmap_piece(dev, vector.vec[i].addr, vector.vec[i].len, vector.vec[i].flags, dir, attrs)
    vector.n = 0
    return 0


# -- iommu-dma's own way: ranges that fit together share a stretch of bus addresses ----------------------------

cdef struct stretch:                # ranges[first:last], bytes in all
    size_t first
    size_t last
    u64 bytes
    bint mmio


cdef int next_stretch(Device dev, provider_cache *cache, const phys_vec *ranges, size_t n, u64 granule,
                      stretch *out) except -9999 nogil:
    """As many ranges from out.first on as have no hole within granules, are of one kind, and are no more than the
    device takes as one segment. MEM_BUS or MEM_RAM, or an errno."""
    cdef u64 mask = granule - 1, bytes
    cdef const phys_vec *r = &ranges[out.first]
    cdef size_t i
    cdef int kind = memory_kind_of(cache, dev, r.paddr, r.len), other
    if kind < 0:
        return kind
    out.last = out.first + 1
    out.bytes = r.len
    out.mmio = kind != MEM_RAM
    if kind == MEM_BUS:
        return MEM_BUS
    for i in range(out.last, n):
        if (ranges[i - 1].paddr + ranges[i - 1].len) & mask or ranges[i].paddr & mask:
            break
        bytes = (r.paddr & mask) + out.bytes + ranges[i].len
        if bytes > dma_get_max_seg_size(dev) or bytes - 1 > dma_get_seg_boundary(dev):
            break
        other = memory_kind_of(cache, dev, ranges[i].paddr, ranges[i].len)
        if other != kind:           # an errno will be the next stretch's
            break
        out.bytes += ranges[i].len
        out.last = i + 1
    return MEM_RAM


cdef int link_stretch(Device dev, DmaVector out, const phys_vec *ranges, const stretch *s, int dir,
                      unsigned long attrs) except -9999 nogil:
    cdef dma_iova_state state
    cdef u64 linked = 0
    cdef u32 flags = DMA_VEC_RANGE
    cdef size_t i
    cdef int ret = 0
    if s.mmio:
        attrs |= DMA_ATTR_MMIO
        flags |= DMA_VEC_MMIO
    if not dma_iova_try_alloc(dev, &state, ranges[s.first].paddr, s.bytes):
        return -ENOMEM
    for i in range(s.first, s.last):
        ret = dma_iova_link(dev, &state, ranges[i].paddr, linked, ranges[i].len, dir, attrs)
        if ret:
            break
        linked += ranges[i].len
    if ret == 0:
        ret = dma_iova_sync(dev, &state, 0, linked)
    if ret == 0:
        if state.size & DMA_IOVA_USE_SWIOTLB:
            flags |= DMA_VEC_SWIOTLB
        ret = out.append(state.addr, <u32>s.bytes, flags)
    if ret:
        dma_iova_destroy(dev, &state, linked, dir, attrs)
    return ret


cdef int map_stretches(Device dev, DmaVector out, const phys_vec *ranges, size_t n, int dir,
                       unsigned long attrs) except -9999 nogil:
    """0, or an errno with nothing left mapped. ranges have been split to 32 bits."""
    cdef provider_cache cache
    cdef stretch s
    cdef u64 granule = dma_get_merge_boundary(dev) + 1
    cdef int ret
    cache.pgmap = 0
    s.first = 0
    while s.first < n:
        ret = next_stretch(dev, &cache, ranges, n, granule, &s)
        if ret == MEM_BUS:
            ret = out.append(ranges[s.first].paddr + cache.bus_off, <u32>s.bytes, DMA_VEC_BUS_ADDRESS)
        elif ret >= 0:
            ret = link_stretch(dev, out, ranges, &s, dir, attrs)
        if ret:
            unmap_pieces(dev, out, dir, attrs)
            return ret
        s.first = s.last
    return 0


# -- a scatterlist underneath ----------------------------------------------------------------------------------

cdef SgTable table_of(Device dev, const phys_vec *ranges, size_t n):
    """An entry per range, more for what does not fit into 32 bits."""
    cdef u64 mask = dev.machine.page_size - 1, left
    cdef phys_addr_t phys
    cdef u32 length
    cdef size_t i
    cdef list rows = []
    for i in range(n):
        phys = ranges[i].paddr
        left = ranges[i].len
        while left:
            length = piece_of(dev, phys, left)
            rows.append((phys & ~mask, phys & mask, length))
            phys += length
            left -= length
    return SgTable(rows, page_shift=dev.machine.page_shift, dma_length=dev.machine.need_sg_dma_length,
                   chaining=not dev.machine.arch_no_sg_chain)


cdef int map_by_sg(Device dev, DmaVector out, const phys_vec *ranges, size_t n, int dir,
                   unsigned long attrs) except -9999:
    cdef provider_cache cache
    cdef scatterlist *sg
    cdef u64 meant = 0, made = 0
    cdef unsigned int length
    cdef size_t k
    cdef int ret
    if not dma_map_direct(dev) and not dev.dma_ops.filled & OP_MAP_SG:
        return -ENXIO
    cache.pgmap = 0
    for k in range(n):
        ret = memory_kind_of(&cache, dev, ranges[k].paddr, ranges[k].len)
        if ret < 0:
            return ret
        if ret == MEM_NO_PAGE:          # sg_set_page() has nothing to be given
            return -EOPNOTSUPP
        meant += ranges[k].len
    try:
        out.sgt = table_of(dev, ranges, n)
    except OSError as error:
        return -(error.errno or ENOMEM)
    ret = dma_map_sgtable(dev, &out.sgt.sgt, dir, attrs)
    if ret:
        return ret
    sg = out.sgt.sgt.sgl
    for _ in range(out.sgt.sgt.nents):
        length = sg_dma_len(sg, dev.machine.need_sg_dma_length)
        made += length
        if ret == 0:
            ret = out.append(sg.dma_address & dev.machine.dma_addr_mask, length,
                             DMA_VEC_BUS_ADDRESS if sg_is_dma_bus_address(sg) else 0)
        sg = sg_next(sg)
    if ret == 0 and made != meant:
        dev.machine.warn(b"WARNING: dma_map_new: dma_map_sg answered other bytes than it was given")
        ret = -EIO
    if ret:
        dma_unmap_sg_attrs(dev, out.sgt.sgt.sgl, out.sgt.sgt.orig_nents, dir, attrs)
    return ret


# -- the API ---------------------------------------------------------------------------------------------------

cdef int dma_map_new_path(Device dev) except -1 nogil:
    """Native where the backend has it; else range by range; dma_map_sg where there is no map_page. -1 cannot be."""
    if dev.dma_ops is None:
        return NEW_NATIVE
    if dev.dma_ops.filled & OP_DMA_IOMMU and not dev.untrusted:     # what must be bounced is no stretch
        return NEW_NATIVE
    return NEW_PER_SEGMENT if dma_map_direct(dev) or dev.dma_ops.filled & OP_MAP_PAGE else NEW_MAP_SG


def dma_new_path(Device dev not None):
    """The path that dma_map_new() takes by itself: one of PATHS."""
    check_device(dev)
    return PATHS[dma_map_new_path(dev)]


cdef size_t read_ranges(object ranges, phys_vec **out) except? 0:
    cdef BioVecs bvecs
    cdef list rows
    cdef size_t i
    if isinstance(ranges, BioVecs):
        bvecs = ranges
        rows = [(bvec_phys(&bvecs.bv[i]), bvecs.bv[i].bv_len) for i in range(bvecs.n)] if bvecs.bv != NULL else []
    else:
        rows = [(phys, length) for phys, length in ranges]
    out[0] = <phys_vec *>PyMem_Malloc((len(rows) + 1) * sizeof(phys_vec))
    if out[0] == NULL:
        raise MemoryError
    try:
        for i in range(len(rows)):
            out[0][i].paddr = rows[i][0]
            out[0][i].len = rows[i][1]
    except BaseException:
        PyMem_Free(out[0])
        out[0] = NULL
        raise
    return len(rows)


cdef size_t split(Device dev, phys_vec **ranges, size_t n) except? 0:
    """Cut what does not fit into 32 bits; how many ranges there are then."""
    cdef size_t i, k = 0, more = 0
    cdef u64 left
    cdef phys_vec *out
    for i in range(n):
        more += ranges[0][i].len >> 31
    if more == 0:
        return n
    out = <phys_vec *>PyMem_Malloc((n + more) * sizeof(phys_vec))
    if out == NULL:
        raise MemoryError
    for i in range(n):
        left = ranges[0][i].len
        while left:
            out[k].paddr = ranges[0][i].paddr + (ranges[0][i].len - left)
            out[k].len = piece_of(dev, out[k].paddr, left)
            left -= out[k].len
            k += 1
    PyMem_Free(ranges[0])
    ranges[0] = out
    return k


cdef int check_ranges(Device dev, const phys_vec *ranges, size_t n) noexcept nogil:
    cdef u64 total = 0
    cdef size_t i
    if n == 0:
        return -EINVAL
    for i in range(n):
        if ranges[i].len == 0 or ranges[i].len > MOST - total:
            return -EINVAL
        if ranges[i].paddr + (ranges[i].len - 1) < ranges[i].paddr:
            return -EINVAL
        total += ranges[i].len
    return 0


def dma_map_new(Device dev not None, ranges, int dir, unsigned long attrs=0, *, str path=None):
    """Map BioVecs, or (physical address, bytes) pairs; a DmaVector.

    path: one of PATHS, by default dma_new_path(). Raises DmaError, with nothing mapped: EINVAL (no bytes, or a range
    of two kinds of memory), ENXIO (no op for it: P2P memory without the capability, no map_resource, no map_sg, no
    native path), EREMOTEIO (an unreachable peer), EOPNOTSUPP (a range without page through dma_map_sg): never retry;
    EIO (one range failed, the backend does not say why), ENOMEM.
    """
    cdef phys_vec *vec = NULL
    cdef DmaVector out
    cdef size_t n
    cdef int how, ret
    check_device(dev)
    check_direction(dir)
    if path is not None and path not in PATHS:
        raise ValueError(f"{path!r} is no path; one is {', '.join(PATHS)}")
    how = dma_map_new_path(dev) if path is None else PATHS.index(path)
    n = read_ranges(ranges, &vec)
    out = DmaVector.__new__(DmaVector)
    out.how = <dma_new_how>how
    try:
        ret = check_ranges(dev, vec, n)
        if ret == 0 and how == NEW_NATIVE and dma_map_new_path(dev) != NEW_NATIVE:
            ret = -ENXIO
        if ret == 0 and how == NEW_MAP_SG:
            ret = map_by_sg(dev, out, vec, n, dir, attrs)
        elif ret == 0 and how == NEW_NATIVE and dev.dma_ops is not None:
            n = split(dev, &vec, n)
            ret = map_stretches(dev, out, vec, n, dir, attrs)
        elif ret == 0:
            ret = map_pieces(dev, out, vec, n, dir, attrs)
    finally:
        PyMem_Free(vec)
    if ret:
        raise DmaError(ret, f"{dev.name}: dma_map_new of {n} ranges ({PATHS[how]}) failed with errno {-ret}")
    out.dev = dev
    return out


def dma_unmap_new(Device dev not None, DmaVector vector not None, int dir, unsigned long attrs=0):
    """Unmap what dma_map_new() answered, once. The vector is empty afterwards."""
    check_device(dev)
    check_direction(dir)
    if vector.dev is not dev:
        raise ValueError(f"{dev.name}: the vector is not mapped for this device")
    vector.dev = None
    if vector.how == NEW_MAP_SG:
        vector.n = 0
        dma_unmap_sg_attrs(dev, vector.sgt.sgt.sgl, vector.sgt.sgt.orig_nents, dir, attrs)
        vector.sgt = None
    else:
        unmap_pieces(dev, vector, dir, attrs)

# SPDX-License-Identifier: MIT
"""dma_map_ops written in Python, and in Python around a compiled one.

A subclass of PyDmaMapOps is a backend: the members of dma_map_ops that it defines are filled, the others are NULL. A
subclass of WrappedOps is another backend with some members replaced: what it does not define goes to the inner one,
and what it defines may call inner_<member>() and alter the result.

    class MergesAcrossTheBoundary(WrappedOps):
        def map_sg(self, dev, sg, dir, attrs):
            count = self.inner_map_sg(dev, sg, dir, attrs)
            if count > 1:
                sg[0].dma_length += sg[1].dma_length
            return count

A member fails as in Linux, by its result, or by raising DmaError. Sizes are in bytes, attrs is a set of DMA_ATTR_*.
"""

from libc.errno cimport EINVAL
from libc.stdlib cimport free as c_free, malloc

from scatterlist.core cimport (
    SG_DMA_BUS_ADDRESS,
    SgTable,
    sg_alloc_table,
    sg_assign_page,
    sg_next,
    sg_page,
    sg_phys,
    sg_set_page,
    sg_table,
)
from scatterlist.types cimport dma_addr_t, page_t, phys_addr_t, u64

from .device cimport (
    DMA_F_PCI_P2PDMA_SUPPORTED,
    DMA_MAPPING_ERROR,
    OP_ALLOC,
    OP_ALLOC_NONCONTIGUOUS,
    OP_ALLOC_PAGES,
    OP_DMA_SUPPORTED,
    OP_FREE,
    OP_FREE_NONCONTIGUOUS,
    OP_FREE_PAGES,
    OP_GET_MERGE_BOUNDARY,
    OP_GET_REQUIRED_MASK,
    OP_MAP_PAGE,
    OP_MAP_RESOURCE,
    OP_MAP_SG,
    OP_MAX_MAPPING_SIZE,
    OP_OPT_MAPPING_SIZE,
    OP_SYNC_SG_FOR_CPU,
    OP_SYNC_SG_FOR_DEVICE,
    OP_SYNC_SINGLE_FOR_CPU,
    OP_SYNC_SINGLE_FOR_DEVICE,
    OP_UNMAP_PAGE,
    OP_UNMAP_RESOURCE,
    OP_UNMAP_SG,
    WALK_OK,
    Device,
    DmaMapOps,
    Walker,
)

from .dma_iova cimport DmaIovaState, dma_iova_state
from .phys cimport OP_DMA_IOMMU, OP_MAP_PHYS, PhysMapOps

from .device import OPS as _OPS
from .errors import DmaError

#: The newer API's members, which dma_map_ops of 6.1 lacks, with the bit of DmaMapOps.filled that each brings.
NEWER = {
    "map_phys": OP_MAP_PHYS, "unmap_phys": OP_MAP_PHYS, "iova_try_alloc": OP_DMA_IOMMU, "iova_link": OP_DMA_IOMMU,
    "iova_sync": OP_DMA_IOMMU, "iova_unlink": OP_DMA_IOMMU, "iova_free": OP_DMA_IOMMU,
}


# -- lists -----------------------------------------------------------------------------------------------------

cdef scatterlist *entry_of(SgEntry entry) except NULL:
    if entry.view is None:
        raise ValueError("an SgEntry is made by iterating over a list, not by itself")
    return entry.view.entry(entry.i)


cdef class SgEntry:
    """One entry of a list, as long as the call lasts that was given the list."""
    cdef SgView view
    cdef Py_ssize_t i

    @property
    def page(self):
        return sg_page(entry_of(self))

    @page.setter
    def page(self, u64 value):
        if value & 0xfff:
            raise ValueError(f"page {value:#x} is not the address of a frame")
        sg_assign_page(entry_of(self), value)

    @property
    def phys(self):
        """The entry's first byte."""
        return sg_phys(entry_of(self))

    @property
    def offset(self):
        return entry_of(self).offset

    @offset.setter
    def offset(self, unsigned int value):
        entry_of(self).offset = value

    @property
    def length(self):
        return entry_of(self).length

    @length.setter
    def length(self, unsigned int value):
        entry_of(self).length = value

    @property
    def dma_address(self):
        return entry_of(self).dma_address

    @dma_address.setter
    def dma_address(self, u64 value):
        entry_of(self).dma_address = value

    @property
    def dma_length(self):
        return entry_of(self).dma_length

    @dma_length.setter
    def dma_length(self, unsigned int value):
        entry_of(self).dma_length = value

    @property
    def dma_flags(self):
        return entry_of(self).dma_flags

    @dma_flags.setter
    def dma_flags(self, unsigned int value):
        entry_of(self).dma_flags = value

    @property
    def bus_address(self):
        """SG_DMA_BUS_ADDRESS: dma_address is one that no IOMMU translates."""
        return bool(entry_of(self).dma_flags & SG_DMA_BUS_ADDRESS)

    @bus_address.setter
    def bus_address(self, bint value):
        if value:
            entry_of(self).dma_flags |= SG_DMA_BUS_ADDRESS
        else:
            entry_of(self).dma_flags &= ~<unsigned int>SG_DMA_BUS_ADDRESS

    def __repr__(self):
        return (f"<SgEntry {self.phys:#x}+{self.length:#x} -> {self.dma_address:#x}+{self.dma_length:#x}"
                f"{' bus' if self.bus_address else ''}>")


cdef class SgView:
    """The entries of a list that C code passes to Python: a sequence of SgEntry. It ends with the call."""

    def __dealloc__(self):
        c_free(self.at)

    cdef scatterlist *entry(self, Py_ssize_t i) except NULL:
        if self.at == NULL:
            raise ValueError("the list is used after the call that it was passed to")
        return self.at[i]

    def __len__(self):
        return self.nents

    def __iter__(self):
        return (self[i] for i in range(self.nents))

    def __getitem__(self, Py_ssize_t i):
        cdef SgEntry entry
        if i < 0:
            i += self.nents
        if not 0 <= i < self.nents:
            raise IndexError(f"entry {i} of a list of {self.nents}")
        entry = SgEntry.__new__(SgEntry)
        entry.view = self
        entry.i = i
        return entry


cdef SgView view_of(scatterlist *sgl, int nents):
    cdef SgView view = SgView.__new__(SgView)
    cdef int i
    view.at = <scatterlist **>malloc(max(nents, 1) * sizeof(scatterlist *))
    if view.at == NULL:
        raise MemoryError("no memory for the view of a list")
    view.at[0] = sgl
    for i in range(nents):
        if sgl == NULL:
            break
        view.at[i] = sgl
        view.nents += 1
        sgl = sg_next(sgl)
    return view


cdef int first_of(SgView view, object nents) except -1:
    """How many entries of a view are passed on: all, or the first nents."""
    if nents is None:
        return view.nents
    if not 0 <= nents <= view.nents:
        raise ValueError(f"{nents} entries of a list of {view.nents}")
    return nents


cdef int close_view(SgView view) except -1:
    c_free(view.at)
    view.at = NULL
    return 0


# -- a backend in Python ---------------------------------------------------------------------------------------

cdef class PyWalker(Walker):
    """The hardware in Python: asks translate(dev, addr, write) for (physical address, bytes that follow), which raises
    DmaFault for an access that is refused."""
    cdef object ops

    cdef int translate(self, Device dev, dma_addr_t addr, bint write, phys_addr_t *phys, u64 *run) except -9999 nogil:
        with gil:
            phys[0], run[0] = self.ops.translate(dev, addr, bool(write))
        return WALK_OK


cdef dma_addr_t address_of(object answer) except? 0xBADBADBADBADBAD:
    """A bus address; None is DMA_MAPPING_ERROR."""
    return DMA_MAPPING_ERROR if answer is None else <u64>answer


cdef int errno_of(object answer) except -9999:
    """What an iova_ member answers: None is 0."""
    return 0 if answer is None else <int>answer


cdef DmaIovaState lent(const dma_iova_state *state):
    """A state for Python while a call lasts; what changed in it is copied back."""
    cdef DmaIovaState copy = DmaIovaState()
    copy.state = state[0]
    return copy


cdef class PyDmaMapOps(PhysMapOps):
    """Base of backends written in Python. The members that may be defined, and what they answer:

    alloc(dev, size, attrs) -> (cpu_addr, bus address); free(dev, size, cpu_addr, addr, attrs)
    alloc_pages(dev, size, dir) -> (page, bus address); free_pages(dev, size, page, addr, dir)
    alloc_noncontiguous(dev, size, dir, attrs) -> SgTable; free_noncontiguous(dev, size, sg, dir)
    map_page(dev, page, offset, size, dir, attrs) -> bus address or None; unmap_page(dev, addr, size, dir, attrs)
    map_sg(dev, sg, dir, attrs) -> count or -errno; unmap_sg(dev, sg, dir, attrs)
    map_resource(dev, phys, size, dir, attrs) -> bus address or None; unmap_resource(dev, addr, size, dir, attrs)
    sync_single_for_cpu, sync_single_for_device(dev, addr, size, dir); sync_sg_for_cpu, sync_sg_for_device(dev, sg, dir)
    dma_supported(dev, mask) -> bool; get_required_mask, max_mapping_size, opt_mapping_size, get_merge_boundary(dev)
    mmap, get_sgtable, cache_sync: only that they are there counts.

    The newer API (Linux 6.16 and later); with iova_try_alloc, the device counts as one with iommu-dma:
    map_phys(dev, phys, size, dir, attrs) -> bus address or None; unmap_phys(dev, addr, size, dir, attrs)
    iova_try_alloc(dev, state, phys, size) -> bool, with state.addr and state.size written; iova_free(dev, state)
    iova_link(dev, state, phys, offset, size, dir, attrs), iova_sync(dev, state, offset, size) -> 0 or -errno
    iova_unlink(dev, state, offset, size, dir, attrs)

    translate(dev, addr, write) is the hardware: see PyWalker. p2pdma = True sets DMA_F_PCI_P2PDMA_SUPPORTED.
    """

    p2pdma = None

    def __cinit__(self, *args, **kwargs):
        cdef PyWalker walker
        for name, bit in _OPS.items():
            if callable(getattr(type(self), name, None)):
                self.python |= bit
        self.filled = self.python
        for name, bit in NEWER.items():
            if callable(getattr(type(self), name, None)):
                self.filled |= bit
        if type(self).p2pdma:
            self.flags |= DMA_F_PCI_P2PDMA_SUPPORTED
        if callable(getattr(type(self), "translate", None)):
            walker = PyWalker.__new__(PyWalker)
            walker.ops = self
            self.walker = walker
        else:
            self.walker = Walker()

    cdef int alloc(self, Device dev, size_t size, dma_addr_t *dma_handle, u64 *cpu_addr,
                   unsigned long attrs) except -9999 nogil:
        if self.python & OP_ALLOC:
            with gil:
                try:
                    cpu_addr[0], dma_handle[0] = (<object>self).alloc(dev, size, attrs)
                except DmaError as error:
                    return -<int>error.errno
                return 0
        if self.inner is not None:
            return self.inner.alloc(dev, size, dma_handle, cpu_addr, attrs)
        return DmaMapOps.alloc(self, dev, size, dma_handle, cpu_addr, attrs)

    cdef int free(self, Device dev, size_t size, u64 cpu_addr, dma_addr_t dma_handle,
                  unsigned long attrs) except -9999 nogil:
        if self.python & OP_FREE:
            with gil:
                (<object>self).free(dev, size, cpu_addr, dma_handle, attrs)
                return 0
        if self.inner is not None:
            return self.inner.free(dev, size, cpu_addr, dma_handle, attrs)
        return DmaMapOps.free(self, dev, size, cpu_addr, dma_handle, attrs)

    cdef int alloc_pages(self, Device dev, size_t size, dma_addr_t *dma_handle, page_t *page,
                         int dir) except -9999 nogil:
        if self.python & OP_ALLOC_PAGES:
            with gil:
                try:
                    page[0], dma_handle[0] = (<object>self).alloc_pages(dev, size, dir)
                except DmaError as error:
                    return -<int>error.errno
                return 0
        if self.inner is not None:
            return self.inner.alloc_pages(dev, size, dma_handle, page, dir)
        return DmaMapOps.alloc_pages(self, dev, size, dma_handle, page, dir)

    cdef int free_pages(self, Device dev, size_t size, page_t page, dma_addr_t dma_handle, int dir) except -9999 nogil:
        if self.python & OP_FREE_PAGES:
            with gil:
                (<object>self).free_pages(dev, size, page, dma_handle, dir)
                return 0
        if self.inner is not None:
            return self.inner.free_pages(dev, size, page, dma_handle, dir)
        return DmaMapOps.free_pages(self, dev, size, page, dma_handle, dir)

    cdef int alloc_noncontiguous(self, Device dev, size_t size, sg_table *sgt, int dir,
                                 unsigned long attrs) except -9999 nogil:
        if self.python & OP_ALLOC_NONCONTIGUOUS:
            with gil:
                try:
                    return copy_table(sgt, (<object>self).alloc_noncontiguous(dev, size, dir, attrs), dev)
                except DmaError as error:
                    return -<int>error.errno
        if self.inner is not None:
            return self.inner.alloc_noncontiguous(dev, size, sgt, dir, attrs)
        return DmaMapOps.alloc_noncontiguous(self, dev, size, sgt, dir, attrs)

    cdef int free_noncontiguous(self, Device dev, size_t size, sg_table *sgt, int dir) except -9999 nogil:
        if self.python & OP_FREE_NONCONTIGUOUS:
            with gil:
                view = view_of(sgt.sgl, sgt.orig_nents)
                try:
                    (<object>self).free_noncontiguous(dev, size, view, dir)
                finally:
                    close_view(view)
                return 0
        if self.inner is not None:
            return self.inner.free_noncontiguous(dev, size, sgt, dir)
        return DmaMapOps.free_noncontiguous(self, dev, size, sgt, dir)

    cdef dma_addr_t map_page(self, Device dev, page_t page, u64 offset, size_t size, int dir,
                             unsigned long attrs) except? 0xBADBADBADBADBAD nogil:
        if self.python & OP_MAP_PAGE:
            with gil:
                try:
                    return address_of((<object>self).map_page(dev, page, offset, size, dir, attrs))
                except DmaError:
                    return DMA_MAPPING_ERROR
        if self.inner is not None:
            return self.inner.map_page(dev, page, offset, size, dir, attrs)
        return DmaMapOps.map_page(self, dev, page, offset, size, dir, attrs)

    cdef int unmap_page(self, Device dev, dma_addr_t addr, size_t size, int dir,
                        unsigned long attrs) except -9999 nogil:
        if self.python & OP_UNMAP_PAGE:
            with gil:
                (<object>self).unmap_page(dev, addr, size, dir, attrs)
                return 0
        if self.inner is not None:
            return self.inner.unmap_page(dev, addr, size, dir, attrs)
        return DmaMapOps.unmap_page(self, dev, addr, size, dir, attrs)

    cdef int map_sg(self, Device dev, scatterlist *sgl, int nents, int dir, unsigned long attrs) except -9999 nogil:
        if self.python & OP_MAP_SG:
            with gil:
                view = view_of(sgl, nents)
                try:
                    count = (<object>self).map_sg(dev, view, dir, attrs)
                except DmaError as error:
                    count = -error.errno
                finally:
                    close_view(view)
                if not isinstance(count, int):
                    raise TypeError(f"{type(self).__name__}.map_sg answered {count!r}, not a count or -errno")
                if not -4095 <= count <= nents:
                    raise ValueError(f"{type(self).__name__}.map_sg answered {count} for a list of {nents} entries")
                return count
        if self.inner is not None:
            return self.inner.map_sg(dev, sgl, nents, dir, attrs)
        return DmaMapOps.map_sg(self, dev, sgl, nents, dir, attrs)

    cdef int unmap_sg(self, Device dev, scatterlist *sgl, int nents, int dir, unsigned long attrs) except -9999 nogil:
        if self.python & OP_UNMAP_SG:
            with gil:
                view = view_of(sgl, nents)
                try:
                    (<object>self).unmap_sg(dev, view, dir, attrs)
                finally:
                    close_view(view)
                return 0
        if self.inner is not None:
            return self.inner.unmap_sg(dev, sgl, nents, dir, attrs)
        return DmaMapOps.unmap_sg(self, dev, sgl, nents, dir, attrs)

    cdef dma_addr_t map_resource(self, Device dev, phys_addr_t phys, size_t size, int dir,
                                 unsigned long attrs) except? 0xBADBADBADBADBAD nogil:
        if self.python & OP_MAP_RESOURCE:
            with gil:
                try:
                    return address_of((<object>self).map_resource(dev, phys, size, dir, attrs))
                except DmaError:
                    return DMA_MAPPING_ERROR
        if self.inner is not None:
            return self.inner.map_resource(dev, phys, size, dir, attrs)
        return DmaMapOps.map_resource(self, dev, phys, size, dir, attrs)

    cdef int unmap_resource(self, Device dev, dma_addr_t addr, size_t size, int dir,
                            unsigned long attrs) except -9999 nogil:
        if self.python & OP_UNMAP_RESOURCE:
            with gil:
                (<object>self).unmap_resource(dev, addr, size, dir, attrs)
                return 0
        if self.inner is not None:
            return self.inner.unmap_resource(dev, addr, size, dir, attrs)
        return DmaMapOps.unmap_resource(self, dev, addr, size, dir, attrs)

    cdef int sync_single_for_cpu(self, Device dev, dma_addr_t addr, size_t size, int dir) except -9999 nogil:
        if self.python & OP_SYNC_SINGLE_FOR_CPU:
            with gil:
                (<object>self).sync_single_for_cpu(dev, addr, size, dir)
                return 0
        if self.inner is not None:
            return self.inner.sync_single_for_cpu(dev, addr, size, dir)
        return DmaMapOps.sync_single_for_cpu(self, dev, addr, size, dir)

    cdef int sync_single_for_device(self, Device dev, dma_addr_t addr, size_t size, int dir) except -9999 nogil:
        if self.python & OP_SYNC_SINGLE_FOR_DEVICE:
            with gil:
                (<object>self).sync_single_for_device(dev, addr, size, dir)
                return 0
        if self.inner is not None:
            return self.inner.sync_single_for_device(dev, addr, size, dir)
        return DmaMapOps.sync_single_for_device(self, dev, addr, size, dir)

    cdef int sync_sg_for_cpu(self, Device dev, scatterlist *sgl, int nents, int dir) except -9999 nogil:
        if self.python & OP_SYNC_SG_FOR_CPU:
            with gil:
                view = view_of(sgl, nents)
                try:
                    (<object>self).sync_sg_for_cpu(dev, view, dir)
                finally:
                    close_view(view)
                return 0
        if self.inner is not None:
            return self.inner.sync_sg_for_cpu(dev, sgl, nents, dir)
        return DmaMapOps.sync_sg_for_cpu(self, dev, sgl, nents, dir)

    cdef int sync_sg_for_device(self, Device dev, scatterlist *sgl, int nents, int dir) except -9999 nogil:
        if self.python & OP_SYNC_SG_FOR_DEVICE:
            with gil:
                view = view_of(sgl, nents)
                try:
                    (<object>self).sync_sg_for_device(dev, view, dir)
                finally:
                    close_view(view)
                return 0
        if self.inner is not None:
            return self.inner.sync_sg_for_device(dev, sgl, nents, dir)
        return DmaMapOps.sync_sg_for_device(self, dev, sgl, nents, dir)

    cdef int dma_supported(self, Device dev, u64 mask) except -9999 nogil:
        if self.python & OP_DMA_SUPPORTED:
            with gil:
                return 1 if (<object>self).dma_supported(dev, mask) else 0
        if self.inner is not None:
            return self.inner.dma_supported(dev, mask)
        return DmaMapOps.dma_supported(self, dev, mask)

    cdef u64 get_required_mask(self, Device dev) except? 0xBADBADBADBADBAD nogil:
        if self.python & OP_GET_REQUIRED_MASK:
            with gil:
                return (<object>self).get_required_mask(dev)
        if self.inner is not None:
            return self.inner.get_required_mask(dev)
        return DmaMapOps.get_required_mask(self, dev)

    cdef size_t max_mapping_size(self, Device dev) except? 0xBADBADBADBADBAD nogil:
        if self.python & OP_MAX_MAPPING_SIZE:
            with gil:
                return (<object>self).max_mapping_size(dev)
        if self.inner is not None:
            return self.inner.max_mapping_size(dev)
        return DmaMapOps.max_mapping_size(self, dev)

    cdef size_t opt_mapping_size(self, Device dev) except? 0xBADBADBADBADBAD nogil:
        if self.python & OP_OPT_MAPPING_SIZE:
            with gil:
                return (<object>self).opt_mapping_size(dev)
        if self.inner is not None:
            return self.inner.opt_mapping_size(dev)
        return DmaMapOps.opt_mapping_size(self, dev)

    cdef u64 get_merge_boundary(self, Device dev) except? 0xBADBADBADBADBAD nogil:
        if self.python & OP_GET_MERGE_BOUNDARY:
            with gil:
                return (<object>self).get_merge_boundary(dev)
        if self.inner is not None:
            return self.inner.get_merge_boundary(dev)
        return DmaMapOps.get_merge_boundary(self, dev)

    # -- the newer API: a member is looked for by its name, for the two bits stand for several ---------------------

    cdef object member(self, str name):
        """The Python class's own, or None."""
        return getattr(self, name, None)

    cdef dma_addr_t map_phys(self, Device dev, phys_addr_t phys, size_t size, int dir,
                             unsigned long attrs) except? 0xBADBADBADBADBAD nogil:
        with gil:
            own = self.member("map_phys")
            if own is not None:
                try:
                    return address_of(own(dev, phys, size, dir, attrs))
                except DmaError:
                    return DMA_MAPPING_ERROR
        if self.inner is not None and self.inner.filled & OP_MAP_PHYS:
            return (<PhysMapOps>self.inner).map_phys(dev, phys, size, dir, attrs)
        return PhysMapOps.map_phys(self, dev, phys, size, dir, attrs)

    cdef int unmap_phys(self, Device dev, dma_addr_t addr, size_t size, int dir,
                        unsigned long attrs) except -9999 nogil:
        with gil:
            own = self.member("unmap_phys")
            if own is not None:
                own(dev, addr, size, dir, attrs)
                return 0
        if self.inner is not None and self.inner.filled & OP_MAP_PHYS:
            return (<PhysMapOps>self.inner).unmap_phys(dev, addr, size, dir, attrs)
        return PhysMapOps.unmap_phys(self, dev, addr, size, dir, attrs)

    cdef bint iova_try_alloc(self, Device dev, dma_iova_state *state, phys_addr_t phys, u64 size) except -1 nogil:
        with gil:
            own = self.member("iova_try_alloc")
            if own is not None:
                copy = lent(state)
                done = bool(own(dev, copy, phys, size))
                state[0] = (<DmaIovaState>copy).state
                return done
        if self.inner is not None and self.inner.filled & OP_DMA_IOMMU:
            return (<PhysMapOps>self.inner).iova_try_alloc(dev, state, phys, size)
        return PhysMapOps.iova_try_alloc(self, dev, state, phys, size)

    cdef int iova_link(self, Device dev, dma_iova_state *state, phys_addr_t phys, u64 offset, u64 size, int dir,
                       unsigned long attrs) except -9999 nogil:
        with gil:
            own = self.member("iova_link")
            if own is not None:
                copy = lent(state)
                try:
                    return errno_of(own(dev, copy, phys, offset, size, dir, attrs))
                except DmaError as error:
                    return -<int>error.errno
                finally:
                    state[0] = (<DmaIovaState>copy).state
        if self.inner is not None and self.inner.filled & OP_DMA_IOMMU:
            return (<PhysMapOps>self.inner).iova_link(dev, state, phys, offset, size, dir, attrs)
        return PhysMapOps.iova_link(self, dev, state, phys, offset, size, dir, attrs)

    cdef int iova_sync(self, Device dev, dma_iova_state *state, u64 offset, u64 size) except -9999 nogil:
        with gil:
            own = self.member("iova_sync")
            if own is not None:
                try:
                    return errno_of(own(dev, lent(state), offset, size))
                except DmaError as error:
                    return -<int>error.errno
        if self.inner is not None and self.inner.filled & OP_DMA_IOMMU:
            return (<PhysMapOps>self.inner).iova_sync(dev, state, offset, size)
        return PhysMapOps.iova_sync(self, dev, state, offset, size)

    cdef int iova_unlink(self, Device dev, dma_iova_state *state, u64 offset, u64 size, int dir,
                         unsigned long attrs) except -9999 nogil:
        with gil:
            own = self.member("iova_unlink")
            if own is not None:
                own(dev, lent(state), offset, size, dir, attrs)
                return 0
        if self.inner is not None and self.inner.filled & OP_DMA_IOMMU:
            return (<PhysMapOps>self.inner).iova_unlink(dev, state, offset, size, dir, attrs)
        return PhysMapOps.iova_unlink(self, dev, state, offset, size, dir, attrs)

    cdef int iova_free(self, Device dev, dma_iova_state *state) except -9999 nogil:
        with gil:
            own = self.member("iova_free")
            if own is not None:
                own(dev, lent(state))
                return 0
        if self.inner is not None and self.inner.filled & OP_DMA_IOMMU:
            return (<PhysMapOps>self.inner).iova_free(dev, state)
        return PhysMapOps.iova_free(self, dev, state)

    cdef bint arch_map_page_direct(self, Device dev, phys_addr_t end) noexcept nogil:
        return self.inner is not None and self.inner.arch_map_page_direct(dev, end)

    cdef bint arch_unmap_page_direct(self, Device dev, dma_addr_t addr) noexcept nogil:
        return self.inner is not None and self.inner.arch_unmap_page_direct(dev, addr)

    cdef bint arch_map_sg_direct(self, Device dev, scatterlist *sgl, int nents) noexcept nogil:
        return self.inner is not None and self.inner.arch_map_sg_direct(dev, sgl, nents)

    cdef bint arch_unmap_sg_direct(self, Device dev, scatterlist *sgl, int nents) noexcept nogil:
        return self.inner is not None and self.inner.arch_unmap_sg_direct(dev, sgl, nents)


cdef int copy_table(sg_table *sgt, SgTable table, Device dev) except -9999:
    """Give C a table of its own with what Python's has: the caller frees it."""
    cdef scatterlist *sg
    cdef list rows
    cdef int ret
    if table is None:
        return -EINVAL
    rows = table.entries()
    ret = sg_alloc_table(sgt, len(rows), dev.machine.page_size // sizeof(scatterlist))
    if ret:
        return ret
    sg = sgt.sgl
    for page, offset, length, dma_address, dma_length, dma_flags in rows:
        sg_set_page(sg, page, length, offset)
        sg.dma_address = dma_address
        sg.dma_length = dma_length
        sg.dma_flags = dma_flags
        sg = sg_next(sg)
    sgt.nents = table.sgt.nents
    return 0


# -- around a compiled one -------------------------------------------------------------------------------------

cdef class WrappedOps(PyDmaMapOps):
    """WrappedOps(inner): another backend, with the members replaced that a subclass defines (see PyDmaMapOps).

    inner_<member>() calls the inner backend's; it answers as in C: counts, -errno, all ones for DMA_MAPPING_ERROR.
    Those of a list take nents, to pass on only the first entries.
    p2pdma = True or False overrides the inner backend's DMA_F_PCI_P2PDMA_SUPPORTED.
    """

    def __init__(self, DmaMapOps inner not None):
        self.inner = inner
        self.filled |= inner.filled
        if type(self).p2pdma is None:
            self.flags = inner.flags
        if not callable(getattr(type(self), "translate", None)):
            self.walker = inner.walker

    def __repr__(self):
        return f"<{type(self).__name__} around {self._inner()!r}>"

    def resources(self):
        return self._inner().resources()

    def flush(self):
        self._inner().flush()

    def table(self):
        return self._inner().table()

    cdef DmaMapOps _inner(self):
        if self.inner is None:
            raise ValueError(f"{type(self).__name__}.__init__ was not called with the backend to wrap")
        return self.inner

    cdef PhysMapOps _phys(self, unsigned long bit):
        if not self._inner().filled & bit:
            raise ValueError(f"{self.inner!r} has no such member of the newer DMA API")
        return <PhysMapOps>self.inner

    def inner_alloc(self, Device dev not None, size_t size, unsigned long attrs=0):
        """(0 or -errno, cpu_addr, bus address)."""
        cdef dma_addr_t handle = DMA_MAPPING_ERROR
        cdef u64 cpu_addr = 0
        cdef int ret = self._inner().alloc(dev, size, &handle, &cpu_addr, attrs)
        return ret, cpu_addr, handle

    def inner_free(self, Device dev not None, size_t size, u64 cpu_addr, u64 addr, unsigned long attrs=0):
        self._inner().free(dev, size, cpu_addr, addr, attrs)

    def inner_alloc_pages(self, Device dev not None, size_t size, int dir):
        """(0 or -errno, page, bus address)."""
        cdef dma_addr_t handle = DMA_MAPPING_ERROR
        cdef page_t page = 0
        cdef int ret = self._inner().alloc_pages(dev, size, &handle, &page, dir)
        return ret, page, handle

    def inner_free_pages(self, Device dev not None, size_t size, u64 page, u64 addr, int dir):
        self._inner().free_pages(dev, size, page, addr, dir)

    def inner_map_page(self, Device dev not None, u64 page, u64 offset, size_t size, int dir, unsigned long attrs=0):
        return self._inner().map_page(dev, page, offset, size, dir, attrs)

    def inner_unmap_page(self, Device dev not None, u64 addr, size_t size, int dir, unsigned long attrs=0):
        self._inner().unmap_page(dev, addr, size, dir, attrs)

    def inner_map_sg(self, Device dev not None, SgView sg not None, int dir, unsigned long attrs=0, nents=None):
        return self._inner().map_sg(dev, sg.entry(0), first_of(sg, nents), dir, attrs)

    def inner_unmap_sg(self, Device dev not None, SgView sg not None, int dir, unsigned long attrs=0, nents=None):
        self._inner().unmap_sg(dev, sg.entry(0), first_of(sg, nents), dir, attrs)

    def inner_map_resource(self, Device dev not None, u64 phys, size_t size, int dir, unsigned long attrs=0):
        return self._inner().map_resource(dev, phys, size, dir, attrs)

    def inner_unmap_resource(self, Device dev not None, u64 addr, size_t size, int dir, unsigned long attrs=0):
        self._inner().unmap_resource(dev, addr, size, dir, attrs)

    def inner_sync_single_for_cpu(self, Device dev not None, u64 addr, size_t size, int dir):
        self._inner().sync_single_for_cpu(dev, addr, size, dir)

    def inner_sync_single_for_device(self, Device dev not None, u64 addr, size_t size, int dir):
        self._inner().sync_single_for_device(dev, addr, size, dir)

    def inner_sync_sg_for_cpu(self, Device dev not None, SgView sg not None, int dir, nents=None):
        self._inner().sync_sg_for_cpu(dev, sg.entry(0), first_of(sg, nents), dir)

    def inner_sync_sg_for_device(self, Device dev not None, SgView sg not None, int dir, nents=None):
        self._inner().sync_sg_for_device(dev, sg.entry(0), first_of(sg, nents), dir)

    def inner_dma_supported(self, Device dev not None, u64 mask):
        return bool(self._inner().dma_supported(dev, mask))

    def inner_get_required_mask(self, Device dev not None):
        return self._inner().get_required_mask(dev)

    def inner_max_mapping_size(self, Device dev not None):
        return self._inner().max_mapping_size(dev)

    def inner_opt_mapping_size(self, Device dev not None):
        return self._inner().opt_mapping_size(dev)

    def inner_get_merge_boundary(self, Device dev not None):
        return self._inner().get_merge_boundary(dev)

    def inner_map_phys(self, Device dev not None, u64 phys, size_t size, int dir, unsigned long attrs=0):
        return self._phys(OP_MAP_PHYS).map_phys(dev, phys, size, dir, attrs)

    def inner_unmap_phys(self, Device dev not None, u64 addr, size_t size, int dir, unsigned long attrs=0):
        self._phys(OP_MAP_PHYS).unmap_phys(dev, addr, size, dir, attrs)

    def inner_iova_try_alloc(self, Device dev not None, DmaIovaState state not None, u64 phys, u64 size):
        return bool(self._phys(OP_DMA_IOMMU).iova_try_alloc(dev, &state.state, phys, size))

    def inner_iova_link(self, Device dev not None, DmaIovaState state not None, u64 phys, u64 offset, u64 size, int dir,
                        unsigned long attrs=0):
        return self._phys(OP_DMA_IOMMU).iova_link(dev, &state.state, phys, offset, size, dir, attrs)

    def inner_iova_sync(self, Device dev not None, DmaIovaState state not None, u64 offset, u64 size):
        return self._phys(OP_DMA_IOMMU).iova_sync(dev, &state.state, offset, size)

    def inner_iova_unlink(self, Device dev not None, DmaIovaState state not None, u64 offset, u64 size, int dir,
                          unsigned long attrs=0):
        self._phys(OP_DMA_IOMMU).iova_unlink(dev, &state.state, offset, size, dir, attrs)

    def inner_iova_free(self, Device dev not None, DmaIovaState state not None):
        self._phys(OP_DMA_IOMMU).iova_free(dev, &state.state)

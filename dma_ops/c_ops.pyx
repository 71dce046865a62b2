# SPDX-License-Identifier: MIT
"""A struct dma_map_ops in C as a backend: the core calls the C functions, which may call everything the headers have.

Beside the struct an object may have
    int dma_conformance_setup(struct device *dev)                   once, before anything is mapped: 0 or -errno
    int dma_conformance_translate(struct device *dev, dma_addr_t addr, bool write, phys_addr_t *phys, u64 *run)
                                                                    the hardware: 0, or -EFAULT (nothing there), -EACCES
    long dma_conformance_resources(struct device *dev)              what is allocated: the same after as before
    void dma_conformance_flush(struct device *dev)                  finish what is done lazily
Without translate() a bus address is a physical one. What alloc answers to a non-coherent device becomes uncached.
"""

from libc.errno cimport EACCES, ENOMEM
from libc.string cimport memset

from scatterlist.core cimport scatterlist
from scatterlist.types cimport dma_addr_t, page_t, phys_addr_t, u64

from ._c_api cimport dma_map_ops
from .c_api cimport CObject
from .c_kernel cimport guard
from .device cimport (
    OP_ALLOC,
    OP_ALLOC_PAGES,
    OP_CACHE_SYNC,
    OP_DMA_SUPPORTED,
    OP_FREE,
    OP_FREE_PAGES,
    OP_GET_MERGE_BOUNDARY,
    OP_GET_REQUIRED_MASK,
    OP_GET_SGTABLE,
    OP_MAP_PAGE,
    OP_MAP_RESOURCE,
    OP_MAP_SG,
    OP_MAX_MAPPING_SIZE,
    OP_MMAP,
    OP_OPT_MAPPING_SIZE,
    OP_SYNC_SG_FOR_CPU,
    OP_SYNC_SG_FOR_DEVICE,
    OP_SYNC_SINGLE_FOR_CPU,
    OP_SYNC_SINGLE_FOR_DEVICE,
    OP_UNMAP_PAGE,
    OP_UNMAP_RESOURCE,
    OP_UNMAP_SG,
    WALK_NOT_PRESENT,
    WALK_OK,
    WALK_PERMISSION,
    Device,
    DmaMapOps,
    Walker,
)


from .direct import DirectWalker
from .errors import DmaError

ctypedef long (*any_fn)(long, long, long, long, long, long) noexcept nogil

cdef struct one_call:
    any_fn function
    long a[6]
    long answer


cdef void call_it(void *context) noexcept nogil:
    cdef one_call *call = <one_call *>context
    cdef long *a = call.a
    call.answer = call.function(a[0], a[1], a[2], a[3], a[4], a[5])


cdef class CWalker(Walker):
    """The hardware in C: dma_conformance_translate()."""
    cdef CDmaMapOps ops

    cdef int translate(self, Device dev, dma_addr_t addr, bint write, phys_addr_t *phys, u64 *run) except -9999 nogil:
        cdef int ret
        if self.ops is None:
            return WALK_NOT_PRESENT
        with gil:
            ret = <int>self.ops.call(<u64>self.ops.hardware, dev, <long>addr, write, <long>phys, <long>run, 0)
        if ret == 0:
            return WALK_OK
        return WALK_PERMISSION if ret == -EACCES else WALK_NOT_PRESENT


cdef class CDmaMapOps(DmaMapOps):
    """A struct dma_map_ops written in C."""
    cdef readonly CObject object
    cdef dma_map_ops *c
    cdef u64 hardware
    cdef object device                          # what setup() was called for

    def __init__(self, CObject object not None, str symbol not None):
        cdef CWalker walker
        cdef dma_map_ops *c
        cdef u64 address = object.symbol(symbol)
        self.object = object
        self.c = c = <dma_map_ops *>address
        self.flags = c.flags
        self.filled = (
            OP_ALLOC * (c.alloc != NULL) | OP_FREE * (c.free != NULL)
            | OP_ALLOC_PAGES * (c.alloc_pages != NULL) | OP_FREE_PAGES * (c.free_pages != NULL)
            | OP_MMAP * (c.mmap != NULL) | OP_GET_SGTABLE * (c.get_sgtable != NULL)
            | OP_MAP_PAGE * (c.map_page != NULL) | OP_UNMAP_PAGE * (c.unmap_page != NULL)
            | OP_MAP_SG * (c.map_sg != NULL) | OP_UNMAP_SG * (c.unmap_sg != NULL)
            | OP_MAP_RESOURCE * (c.map_resource != NULL) | OP_UNMAP_RESOURCE * (c.unmap_resource != NULL)
            | OP_SYNC_SINGLE_FOR_CPU * (c.sync_single_for_cpu != NULL)
            | OP_SYNC_SINGLE_FOR_DEVICE * (c.sync_single_for_device != NULL)
            | OP_SYNC_SG_FOR_CPU * (c.sync_sg_for_cpu != NULL)
            | OP_SYNC_SG_FOR_DEVICE * (c.sync_sg_for_device != NULL)
            | OP_CACHE_SYNC * (c.cache_sync != NULL) | OP_DMA_SUPPORTED * (c.dma_supported != NULL)
            | OP_GET_REQUIRED_MASK * (c.get_required_mask != NULL)
            | OP_MAX_MAPPING_SIZE * (c.max_mapping_size != NULL)
            | OP_OPT_MAPPING_SIZE * (c.opt_mapping_size != NULL)
            | OP_GET_MERGE_BOUNDARY * (c.get_merge_boundary != NULL))
        self.hardware = self.find("dma_conformance_translate")
        if self.hardware:
            walker = CWalker.__new__(CWalker)
            walker.ops = self
            self.walker = walker
        else:
            self.walker = DirectWalker()

    cdef u64 find(self, str name) except? 0xBADBADBADBADBAD:
        """A function of the object, or 0."""
        try:
            return self.object.symbol(name)
        except LookupError:
            return 0

    cdef long call(self, u64 function, Device dev, long a1, long a2, long a3, long a4, long a5) except? -77777:
        """Call a function of the object that takes a device first. Raises KernelBug."""
        cdef one_call call
        memset(&call, 0, sizeof(call))
        call.function = <any_fn>function
        call.a[0] = <long>self.object.kernel.struct_device(dev) if dev is not None else 0
        call.a[1], call.a[2], call.a[3], call.a[4], call.a[5] = a1, a2, a3, a4, a5
        self.object.bind()
        with nogil:
            guard(call_it, &call)
        self.object.kernel.read_devices()
        return call.answer

    def setup(self, Device dev not None):
        """Let the object set up the hardware for its device. Raises DmaError."""
        cdef u64 function = self.find("dma_conformance_setup")
        cdef int ret
        if function:
            ret = <int>self.call(function, dev, 0, 0, 0, 0, 0)
            if ret:
                raise DmaError(-ret, f"{self.object.path}: dma_conformance_setup answers {ret}")
        self.device = dev

    def resources(self):
        cdef u64 function = self.find("dma_conformance_resources")
        if not function or self.device is None:
            return {}
        return {"resources": self.call(function, self.device, 0, 0, 0, 0, 0)}

    def flush(self):
        cdef u64 function = self.find("dma_conformance_flush")
        if function and self.device is not None:
            self.call(function, self.device, 0, 0, 0, 0, 0)

    cdef int alloc(self, Device dev, size_t size, dma_addr_t *dma_handle, u64 *cpu_addr,
                   unsigned long attrs) except -9999 nogil:
        cdef u64 at
        with gil:
            at = <u64>self.call(<u64>self.c.alloc, dev, size, <long>dma_handle, 0, attrs, 0)
            if at == 0:
                return -ENOMEM
            cpu_addr[0] = at - self.object.object.page_offset
            if not dev.dma_coherent:            # as an architecture's remapping does it
                dev.machine.set_uncached(cpu_addr[0], size, True)
            return 0

    cdef int free(self, Device dev, size_t size, u64 cpu_addr, dma_addr_t dma_handle,
                  unsigned long attrs) except -9999 nogil:
        with gil:
            if not dev.dma_coherent:
                dev.machine.set_uncached(cpu_addr, size, False)
            self.call(<u64>self.c.free, dev, size, cpu_addr + self.object.object.page_offset, dma_handle, attrs, 0)
            return 0

    cdef int alloc_pages(self, Device dev, size_t size, dma_addr_t *dma_handle, page_t *page,
                         int dir) except -9999 nogil:
        with gil:
            page[0] = <u64>self.call(<u64>self.c.alloc_pages, dev, size, <long>dma_handle, dir, 0, 0)
            return 0 if page[0] else -ENOMEM

    cdef int free_pages(self, Device dev, size_t size, page_t page, dma_addr_t dma_handle, int dir) except -9999 nogil:
        with gil:
            self.call(<u64>self.c.free_pages, dev, size, page, dma_handle, dir, 0)
            return 0

    cdef dma_addr_t map_page(self, Device dev, page_t page, u64 offset, size_t size, int dir,
                             unsigned long attrs) except? 0xBADBADBADBADBAD nogil:
        with gil:
            return <u64>self.call(<u64>self.c.map_page, dev, page, offset, size, dir, attrs)

    cdef int unmap_page(self, Device dev, dma_addr_t addr, size_t size, int dir,
                        unsigned long attrs) except -9999 nogil:
        with gil:
            self.call(<u64>self.c.unmap_page, dev, addr, size, dir, attrs, 0)
            return 0

    cdef int map_sg(self, Device dev, scatterlist *sgl, int nents, int dir, unsigned long attrs) except -9999 nogil:
        with gil:
            return <int>self.call(<u64>self.c.map_sg, dev, <long>sgl, nents, dir, attrs, 0)

    cdef int unmap_sg(self, Device dev, scatterlist *sgl, int nents, int dir, unsigned long attrs) except -9999 nogil:
        with gil:
            self.call(<u64>self.c.unmap_sg, dev, <long>sgl, nents, dir, attrs, 0)
            return 0

    cdef dma_addr_t map_resource(self, Device dev, phys_addr_t phys, size_t size, int dir,
                                 unsigned long attrs) except? 0xBADBADBADBADBAD nogil:
        with gil:
            return <u64>self.call(<u64>self.c.map_resource, dev, phys, size, dir, attrs, 0)

    cdef int unmap_resource(self, Device dev, dma_addr_t addr, size_t size, int dir,
                            unsigned long attrs) except -9999 nogil:
        with gil:
            self.call(<u64>self.c.unmap_resource, dev, addr, size, dir, attrs, 0)
            return 0

    cdef int sync_single_for_cpu(self, Device dev, dma_addr_t addr, size_t size, int dir) except -9999 nogil:
        with gil:
            self.call(<u64>self.c.sync_single_for_cpu, dev, addr, size, dir, 0, 0)
            return 0

    cdef int sync_single_for_device(self, Device dev, dma_addr_t addr, size_t size, int dir) except -9999 nogil:
        with gil:
            self.call(<u64>self.c.sync_single_for_device, dev, addr, size, dir, 0, 0)
            return 0

    cdef int sync_sg_for_cpu(self, Device dev, scatterlist *sgl, int nents, int dir) except -9999 nogil:
        with gil:
            self.call(<u64>self.c.sync_sg_for_cpu, dev, <long>sgl, nents, dir, 0, 0)
            return 0

    cdef int sync_sg_for_device(self, Device dev, scatterlist *sgl, int nents, int dir) except -9999 nogil:
        with gil:
            self.call(<u64>self.c.sync_sg_for_device, dev, <long>sgl, nents, dir, 0, 0)
            return 0

    cdef int dma_supported(self, Device dev, u64 mask) except -9999 nogil:
        with gil:
            return <int>self.call(<u64>self.c.dma_supported, dev, mask, 0, 0, 0, 0)

    cdef u64 get_required_mask(self, Device dev) except? 0xBADBADBADBADBAD nogil:
        with gil:
            return <u64>self.call(<u64>self.c.get_required_mask, dev, 0, 0, 0, 0, 0)

    cdef size_t max_mapping_size(self, Device dev) except? 0xBADBADBADBADBAD nogil:
        with gil:
            return <u64>self.call(<u64>self.c.max_mapping_size, dev, 0, 0, 0, 0, 0)

    cdef size_t opt_mapping_size(self, Device dev) except? 0xBADBADBADBADBAD nogil:
        with gil:
            return <u64>self.call(<u64>self.c.opt_mapping_size, None, 0, 0, 0, 0, 0)

    cdef u64 get_merge_boundary(self, Device dev) except? 0xBADBADBADBADBAD nogil:
        with gil:
            return <u64>self.call(<u64>self.c.get_merge_boundary, dev, 0, 0, 0, 0, 0)

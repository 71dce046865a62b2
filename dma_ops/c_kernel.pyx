# SPDX-License-Identifier: MIT
"""The C side of a machine: its linear map, kmalloc, its struct devices, and what happens at a BUG().

A call from C needs no GIL: it goes through pointers to the models' functions whose types take void * for a cdef class
and cannot raise. An exception stays set for leave(), which ends the C code, and for the Python code that called it.
"""

import weakref

from cpython.exc cimport PyErr_Occurred, PyErr_SetString
from libc.stdlib cimport calloc, free
from libc.string cimport memset, strlen

from scatterlist._structs cimport phys_vec, scatterlist
from scatterlist.types cimport page_t, phys_addr_t, u8, u64

from ._c_api cimport bus_dma_region, device, dma_conformance_calls, dma_conformance_object
from .device cimport Device
from .linear cimport LinearMem
from .machine cimport PHYS_NONE, Machine

from .errors import KernelBug

cdef extern from "_guard.h":
    int dma_guard_call(guarded_fn body, void *context) noexcept nogil
    void dma_guard_leave() noexcept nogil

cdef enum:
    GFP_DMA = 0x01
    GFP_DMA32 = 0x04
    SMALLEST = 3                                # kmalloc: 8 bytes

cdef u8 POISON = 0x5a
BAD_ADDRESS = 0xBADBADBADBADBAD


# -- calls of C code -------------------------------------------------------------------------------------------

cdef int guard(guarded_fn body, void *context) except -1 nogil:
    return dma_guard_call(body, context)


cdef void leave() noexcept nogil:
    """If a Python exception is set, a model died: its caller, C code, must not go on."""
    cdef bint raised
    with gil:
        raised = PyErr_Occurred() != NULL
    if raised:
        dma_guard_leave()


# -- the C side of a machine -----------------------------------------------------------------------------------

cdef Kernel kernel_of(Machine machine):
    """The one Kernel of a machine, which lives as long as somebody needs it."""
    cdef Kernel kernel
    if isinstance(machine.mem, KernelMem):
        kernel = (<KernelMem>machine.mem).kernel()
        if kernel is not None:
            return kernel
    return Kernel(machine)


cdef class KernelMem(LinearMem):
    """Knows the Kernel that made it, weakly."""

    def kernel(self):
        return self.ref() if self.ref is not None else None


cdef class Kernel:
    """The C side of one machine: its linear map, kmalloc, and a struct device for each Device."""

    def __init__(self, Machine machine not None):
        if machine.nr_ram == 0:
            raise ValueError("the machine was made without __init__")
        self.machine = machine
        self.devices = {}
        self.names = {}
        self.slabs = {}
        self.coherent = {}
        self.free_objects = [[] for _ in range(machine.page_shift)]
        if not isinstance(machine.mem, LinearMem):
            machine.set_mem(KernelMem(machine.mem, machine.end_of_ram()))
        self.mem = machine.mem
        (<KernelMem>machine.mem).ref = weakref.ref(self)
        self.facts.kernel = <void *>self
        self.facts.mem = <void *>machine.mem
        self.facts.nr_cpus = machine.nr_cpus
        self.facts.version = machine.kernel
        self.facts.how.page_shift = machine.page_shift
        self.facts.how.max_ents = machine.page_size // sizeof(scatterlist)
        self.facts.how.no_chain = machine.arch_no_sg_chain

    def __dealloc__(self):
        cdef u64 address
        free(<void *>self.facts.how.pgmaps)
        if self.devices is not None:
            for address in self.devices.values():
                free((<c_device *>address).ranges)
                free(<c_device *>address)

    cdef int made(self) except -1:
        if self.machine is None:
            raise ValueError("the Kernel was made without __init__")
        return 0

    cdef void *address(self, u64 phys) noexcept nogil:
        """Where the CPU finds a physical address; NULL if that is no RAM."""
        return self.mem.base + phys if phys < self.mem.size else NULL

    cdef device *struct_device(self, Device dev) except NULL:
        """The struct device of a Device, with what the Device says now."""
        cdef c_device *made
        cdef u64 address
        cdef int i
        if dev.machine is not self.machine:
            raise ValueError(f"{dev!r} is on another machine")
        if dev in self.devices:
            address = self.devices[dev]
            made = <c_device *>address
        else:
            made = <c_device *>calloc(1, sizeof(c_device))
            if made == NULL:
                raise MemoryError("no memory for a struct device")
            self.devices[dev] = <u64>made
            self.names[dev] = dev.name.encode()
            made.dev.init_name = <char *>self.names[dev]
            made.dev.dma_conformance = <void *>dev
            if dev.nr_ranges:
                made.ranges = <bus_dma_region *>calloc(dev.nr_ranges + 1, sizeof(bus_dma_region))
                if made.ranges == NULL:
                    raise MemoryError("no memory for a dma_range_map")
                for i in range(dev.nr_ranges):
                    made.ranges[i].cpu_start = dev.ranges[i].cpu_start
                    made.ranges[i].dma_start = dev.ranges[i].dma_start
                    made.ranges[i].size = dev.ranges[i].size
                    made.ranges[i].offset = dev.ranges[i].cpu_start - dev.ranges[i].dma_start
                made.dev.dma_range_map = made.ranges
        to_struct(dev, &made.dev)
        return &made.dev

    cdef int refresh(self) except -1:
        """Let C code see the machine's P2P ranges as they are now; before 6.12 lists do not look at them."""
        cdef phys_vec *rows
        cdef int i
        if self.facts.version < 612 or self.facts.how.n_pgmaps == <unsigned int>self.machine.nr_pgmaps:
            return 0
        rows = <phys_vec *>calloc(self.machine.nr_pgmaps, sizeof(phys_vec))
        if rows == NULL:
            raise MemoryError("no memory for the P2P ranges")
        for i in range(self.machine.nr_pgmaps):
            rows[i].paddr = self.machine.pgmaps[i].start
            rows[i].len = self.machine.pgmaps[i].end - self.machine.pgmaps[i].start
        free(<void *>self.facts.how.pgmaps)
        self.facts.how.pgmaps = rows
        self.facts.how.n_pgmaps = self.machine.nr_pgmaps
        return 0

    cdef int read_devices(self) except -1:
        """Let each Device have what C code wrote into its struct device."""
        cdef Device dev
        cdef u64 address
        for dev, address in self.devices.items():
            from_struct(dev, &(<c_device *>address).dev)
        return 0

    def device_address(self, Device dev not None):
        """The address of the struct device of a Device, for ctypes."""
        self.made()
        return <u64>self.struct_device(dev)

    @property
    def page_offset(self):
        """Where the CPU finds physical byte 0."""
        self.made()
        return <u64>self.mem.base

    @property
    def allocated(self):
        """{physical address: bytes} of what kmalloc gave out and kfree did not take back."""
        self.made()
        return {address - <u64>self.mem.base: 1 << order for address, order in self.slabs.items()}

    def kmalloc(self, u64 size, unsigned int flags):
        """The address of naturally aligned memory of the machine's RAM, filled with 0x5a; 0 if there is none."""
        cdef unsigned int order = SMALLEST
        cdef u64 page, at
        cdef list objects
        self.made()
        if size > 1 << 30:
            return 0
        while size > <u64>1 << order:
            order += 1
        if order >= self.machine.page_shift:
            page = self.machine.alloc_pages(order - self.machine.page_shift, zone_limit(self.machine, flags))
            if page == PHYS_NONE:
                return 0
            at = <u64>self.mem.base + page
        else:
            objects = self.free_objects[order]
            if not objects or flags & (GFP_DMA | GFP_DMA32):
                page = self.machine.alloc_pages(0, zone_limit(self.machine, flags))
                if page == PHYS_NONE:
                    return 0
                page += <u64>self.mem.base
                objects.extend(range(page + self.machine.page_size - (1 << order), page - 1, -(1 << order)))
            at = objects.pop()
        self.slabs[at] = order
        memset(<void *>at, 0 if flags & GFP_ZERO else POISON, <size_t>1 << order)
        return at

    def kfree(self, u64 at):
        self.made()
        order = self.slabs.pop(at, None)
        if order is None:
            raise KernelBug(f"kernel BUG at mm/slub.c: kfree of {at:#x}, which kmalloc did not give out")
        if order >= self.machine.page_shift:
            self.machine.free_pages(at - <u64>self.mem.base, order - self.machine.page_shift)
        else:
            self.free_objects[order].append(at)

    def reach_coherent(self, u64 cpu_addr, u64 size):
        """Where in RAM a coherent buffer is; 0 if C code cannot reach all of it there, in one piece."""
        cdef u64 step
        self.made()
        step = self.machine.page_size
        pages = self.machine.vmap_pages(cpu_addr)
        if pages is None:
            return cpu_addr if cpu_addr < self.mem.size else 0
        first = pages[0]
        if any(page != first + i * step for i, page in enumerate(pages[:(size + step - 1) // step])):
            return 0
        self.coherent[first] = cpu_addr
        return first


cdef u64 zone_limit(Machine machine, unsigned int flags) noexcept nogil:
    """The highest address that the zones of a gfp mask allow."""
    if flags & GFP_DMA and machine.has_zone_dma:
        return (<u64>1 << machine.zone_dma_bits) - 1
    return 0xffffffffu if flags & GFP_DMA32 else PHYS_NONE


cdef void to_struct(Device dev, device *c) noexcept nogil:
    cdef c_device *whole = <c_device *>c
    whole.dma_mask = dev.dma_mask
    c.dma_mask = &whole.dma_mask if dev.has_dma_mask else NULL
    c.coherent_dma_mask = dev.coherent_dma_mask
    c.bus_dma_limit = dev.bus_dma_limit
    whole.parms.max_segment_size = dev.max_segment_size
    whole.parms.min_align_mask = dev.min_align_mask
    whole.parms.segment_boundary_mask = dev.segment_boundary_mask
    c.dma_parms = &whole.parms if dev.has_dma_parms else NULL
    c.archdata.dma_offset = dev.dma_offset
    c.dma_coherent = dev.dma_coherent
    c.dma_ops_bypass = dev.dma_ops_bypass


cdef int from_struct(Device dev, const device *c) noexcept nogil:
    """What C code may have written."""
    dev.has_dma_mask = c.dma_mask != NULL
    if c.dma_mask != NULL:
        dev.dma_mask = c.dma_mask[0]
    dev.coherent_dma_mask = c.coherent_dma_mask
    dev.bus_dma_limit = c.bus_dma_limit
    dev.has_dma_parms = c.dma_parms != NULL
    if c.dma_parms != NULL:
        dev.max_segment_size = c.dma_parms.max_segment_size
        dev.min_align_mask = c.dma_parms.min_align_mask
        dev.segment_boundary_mask = c.dma_parms.segment_boundary_mask
    dev.dma_coherent = c.dma_coherent
    dev.dma_ops_bypass = c.dma_ops_bypass
    return 0


# -- memory ----------------------------------------------------------------------------------------------------

ctypedef u64 (*pages_fn)(void *, unsigned int, unsigned int) noexcept nogil
ctypedef int (*free_order_fn)(void *, page_t, unsigned int) noexcept nogil
ctypedef u64 (*kmalloc_fn)(void *, u64, unsigned int) noexcept nogil
ctypedef int (*kfree_fn)(void *, u64) noexcept nogil
ctypedef int (*maintain_fn)(void *, phys_addr_t, size_t, int, bint) noexcept nogil


cdef u64 take_pages(Kernel kernel, unsigned int gfp, unsigned int order) except? 0xBADBADBADBADBAD nogil:
    cdef u64 page
    if order > 20:
        return 0
    page = kernel.machine.alloc_pages(order, zone_limit(kernel.machine, gfp))
    return 0 if page == PHYS_NONE else page


cdef int give_pages(Kernel kernel, page_t page, unsigned int order) except -9999 nogil:
    return kernel.machine.free_pages(page, order)


cdef u64 take_object(Kernel kernel, u64 size, unsigned int flags) except? 0xBADBADBADBADBAD nogil:
    with gil:
        return kernel.kmalloc(size, flags)


cdef int give_object(Kernel kernel, u64 at) except -9999 nogil:
    with gil:
        kernel.kfree(at)
    return 0


cdef int maintain(Kernel kernel, phys_addr_t phys, size_t size, int dir, bint for_cpu) except -9999 nogil:
    if for_cpu:
        return kernel.machine.sync_for_cpu(phys, size, dir)
    return kernel.machine.sync_for_device(phys, size, dir)


cdef page_t c_alloc_pages(dma_conformance_object *object, unsigned int gfp, unsigned int order) noexcept nogil:
    return checked_address((<pages_fn><void *>take_pages)(facts(object).kernel, gfp, order))


cdef void c___free_pages(dma_conformance_object *object, page_t page, unsigned int order) noexcept nogil:
    checked((<free_order_fn><void *>give_pages)(facts(object).kernel, page, order))


cdef void *c_kmalloc(dma_conformance_object *object, size_t size, unsigned int flags) noexcept nogil:
    return <void *>checked_address((<kmalloc_fn><void *>take_object)(facts(object).kernel, size, flags))


cdef void c_kfree(dma_conformance_object *object, const void *addr) noexcept nogil:
    if addr != NULL:
        checked((<kfree_fn><void *>give_object)(facts(object).kernel, <u64>addr))


cdef void c_sync_dma_for_device(dma_conformance_object *object, phys_addr_t phys, size_t size, int dir) noexcept nogil:
    checked((<maintain_fn><void *>maintain)(facts(object).kernel, phys, size, dir, False))


cdef void c_sync_dma_for_cpu(dma_conformance_object *object, phys_addr_t phys, size_t size, int dir) noexcept nogil:
    checked((<maintain_fn><void *>maintain)(facts(object).kernel, phys, size, dir, True))


# -- the kernel's log ------------------------------------------------------------------------------------------

ctypedef int (*cpu_fn)(void *) noexcept nogil
ctypedef int (*warn_fn)(void *, const char *) noexcept nogil


cdef void c_bug(dma_conformance_object *object, const char *text) noexcept nogil:
    with gil:
        PyErr_SetString(KernelBug, text)
    dma_guard_leave()


cdef int log_line(Kernel kernel, const char *text) except -9999 nogil:
    cdef size_t n = strlen(text)
    while n and text[n - 1] == c"\n":
        n -= 1
    with gil:
        kernel.machine.dmesg.append(text[:n].decode(errors="replace"))
    return 0


cdef void c_warn(dma_conformance_object *object, const char *text) noexcept nogil:
    checked((<warn_fn><void *>log_line)(facts(object).kernel, text))


cdef int cpu_of(Kernel kernel) noexcept nogil:
    return kernel.machine.cpu


cdef unsigned int c_smp_processor_id(dma_conformance_object *object) noexcept nogil:
    return (<cpu_fn><void *>cpu_of)(facts(object).kernel)

cdef void fill_kernel_calls(dma_conformance_calls *calls) noexcept:
    calls.alloc_pages = c_alloc_pages
    calls.__free_pages = c___free_pages
    calls.kmalloc = c_kmalloc
    calls.kfree = c_kfree
    calls.sync_dma_for_device = c_sync_dma_for_device
    calls.sync_dma_for_cpu = c_sync_dma_for_cpu
    calls.dma_conformance_bug = c_bug
    calls.dma_conformance_warn = c_warn
    calls.smp_processor_id = c_smp_processor_id

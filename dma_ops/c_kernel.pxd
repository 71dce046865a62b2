# SPDX-License-Identifier: MIT
"""The C side of a machine, for Cython code that calls C code or is called by it."""

from scatterlist.pages cimport sg_pages_how
from scatterlist.types cimport page_t, u8, u64

from ._c_api cimport bus_dma_region, device, device_dma_parameters, dma_conformance_calls, dma_conformance_object
from .device cimport Device
from .linear cimport LinearMem
from .machine cimport Machine

cdef enum:
    GFP_ZERO = 0x100
    BAD_INT = -9999                     # what an int function answers with a Python exception set

cdef u64 BAD_ADDRESS                    # what an address function answers with one

ctypedef void (*guarded_fn)(void *context) noexcept nogil

# Run body, which calls C code. -1 with a Python exception set (KernelBug, say) if that code ended in a BUG().
cdef int guard(guarded_fn body, void *context) except -1 nogil

# If a Python exception is set, a model died: its caller, C code, must not go on.
cdef void leave() noexcept nogil

cdef struct c_kernel:                   # dma_conformance_object.kernel
    void *kernel                        # the Kernel, borrowed
    void *mem                           # its PhysMem, borrowed
    int nr_cpus
    unsigned int version                # Machine.kernel
    sg_pages_how how

cdef struct c_device:                   # a struct device and what its pointers point at
    device dev
    u64 dma_mask
    device_dma_parameters parms
    bus_dma_region *ranges

cdef class KernelMem(LinearMem):
    """Knows the Kernel that made it, weakly."""
    cdef object ref

cdef class Kernel:
    """The C side of one machine."""
    cdef readonly Machine machine
    cdef readonly LinearMem mem
    cdef c_kernel facts
    cdef dict devices                   # Device: address of its c_device
    cdef dict names                     # Device: its name's bytes
    cdef dict slabs                     # address of what kmalloc gave out: order of its size
    cdef list free_objects              # by order of size
    cdef dict coherent                  # physical address: the kernel address of a buffer that is remapped
    cdef object __weakref__

    cdef device *struct_device(self, Device dev) except NULL
    cdef int made(self) except -1
    cdef int refresh(self) except -1
    cdef int read_devices(self) except -1
    cdef void *address(self, u64 phys) noexcept nogil

cdef Kernel kernel_of(Machine machine)
cdef int from_struct(Device dev, const device *c) noexcept nogil

cdef void *c_kmalloc(dma_conformance_object *object, size_t size, unsigned int flags) noexcept nogil
cdef void c_kfree(dma_conformance_object *object, const void *addr) noexcept nogil
cdef void c_bug(dma_conformance_object *object, const char *text) noexcept nogil
cdef void c_warn(dma_conformance_object *object, const char *text) noexcept nogil
cdef unsigned int c_smp_processor_id(dma_conformance_object *object) noexcept nogil
cdef void fill_kernel_calls(dma_conformance_calls *calls) noexcept

cdef inline int checked(int ret) noexcept nogil:
    if ret == BAD_INT:
        leave()
    return ret

cdef inline u8 checked_bool(int ret) noexcept nogil:
    if ret == -1:
        leave()
    return ret != 0

cdef inline u64 checked_address(u64 ret) noexcept nogil:
    if ret == BAD_ADDRESS:
        leave()
    return ret

ctypedef int (*from_struct_fn)(void *, const device *) noexcept nogil

cdef inline void *entered(device *c) noexcept nogil:
    """The Device of a struct device, up to date."""
    (<from_struct_fn><void *>from_struct)(c.dma_conformance, c)
    return c.dma_conformance

cdef inline c_kernel *facts(dma_conformance_object *object) noexcept nogil:
    return <c_kernel *>object.kernel

# SPDX-License-Identifier: MIT
"""Guest frames and machine frames of a Xen guest (arch/x86/include/asm/xen/page.h, include/xen/arm/page.h)."""

from scatterlist.types cimport dma_addr_t, phys_addr_t, u64

from dma_ops.machine cimport Machine

cdef enum:
    XEN_PAGE_SHIFT = 12                         # whatever the CPU's page is
    XEN_PAGE_SIZE = 1 << XEN_PAGE_SHIFT

cdef enum:                                      # P2m.guest
    XEN_PV = 0                                  # frames are the guest's own business: p2m and m2p tables
    XEN_HVM = 1                                 # translated by the hypervisor: a frame is a frame
    XEN_ARM = 2                                 # mapped 1:1, but for the pages of other domains

cdef class P2m:
    cdef readonly Machine machine
    cdef readonly int guest
    cdef readonly phys_addr_t p2m               # u64 machine frame per guest frame
    cdef readonly u64 nr_frames
    cdef readonly phys_addr_t m2p               # u64 guest frame per machine frame, the hypervisor's
    cdef readonly u64 nr_machine_frames
    cdef readonly u64 free_top                  # the hypervisor's free memory ends below this machine frame
    cdef dict extents                           # what it was given back: order -> first frames ...
    cdef list singles                           # ... and single frames
    cdef readonly u64 gap                       # frames of others between two extents that it gives

    cdef u64 entry(self, u64 pfn) noexcept nogil
    cdef u64 owner(self, u64 mfn) noexcept nogil
    cdef void forget(self, u64 pfn) noexcept nogil
    cdef void set_run(self, u64 pfn, u64 mfn, u64 n) noexcept nogil
    cdef void write(self, u64 pfn, u64 mfn) noexcept nogil
    cdef bint is_identity(self, u64 pfn) noexcept nogil
    cdef u64 pfn_to_mfn(self, u64 pfn) noexcept nogil
    cdef u64 mfn_to_local_pfn(self, u64 mfn) noexcept nogil
    cdef u64 mfn_to_pfn(self, u64 mfn) noexcept nogil
    cdef u64 exchange(self, unsigned int order, unsigned int address_bits) except? 0xBADBADBADBADBAD nogil
    cdef bint create_contiguous_region(self, phys_addr_t start, unsigned int order, unsigned int address_bits,
                                       dma_addr_t *handle) except -1 nogil
    cdef int destroy_contiguous_region(self, phys_addr_t start, unsigned int order) except -9999 nogil
    cdef u64 guest_address(self, u64 machine_address) noexcept nogil

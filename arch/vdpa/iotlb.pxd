# SPDX-License-Identifier: MIT
"""The address table of a software vDPA device (drivers/vhost/iotlb.c)."""

from scatterlist.types cimport phys_addr_t, s64, u32, u64

from dma_ops.machine cimport Machine

cdef enum:                      # perm
    VHOST_MAP_RO = 0x1
    VHOST_MAP_WO = 0x2
    VHOST_MAP_RW = 0x3

cdef enum:                      # an entry: u64 start, u64 last, u64 addr, u32 perm, and four bytes that nothing reads
    IOTLB_START = 0
    IOTLB_LAST = 8
    IOTLB_ADDR = 16
    IOTLB_PERM = 24
    IOTLB_ENTRY = 32

cdef class VhostIotlb:
    cdef readonly Machine machine
    cdef readonly phys_addr_t base
    cdef readonly u32 limit                     # of entries
    cdef readonly u32 nmaps

    cdef int add_range(self, u64 start, u64 last, u64 addr, u32 perm) except -9999 nogil
    cdef s64 first(self, u64 start, u64 last) noexcept nogil
    cdef void remove(self, s64 i) noexcept nogil
    cdef void del_range(self, u64 start, u64 last) noexcept nogil
    cdef int translate(self, u64 addr, bint write, u64 *target, u64 *run) noexcept nogil

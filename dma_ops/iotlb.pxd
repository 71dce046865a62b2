# SPDX-License-Identifier: MIT
"""The hardware's memory of translations: what it took from a table once, until it is told to forget it."""

from scatterlist.types cimport u32, u64

cdef enum:
    IOTLB_ENTRIES = 1024            # a power of two

cdef struct iotlb_entry:
    u64 page                        # the bus address, in granules
    u64 frame                       # where its first byte leads
    u32 epoch                       # of another epoch than the TLB's: not valid
    u32 rights                      # IOTLB_READ, IOTLB_WRITE: the kinds of access that a walk has allowed

cdef class Iotlb:
    cdef readonly unsigned int shift            # of the granule
    cdef readonly unsigned long commands        # how often it was told to forget
    cdef readonly unsigned long fills           # entries that were taken from the table
    cdef public bint deaf                       # commands are lost
    cdef public bint short                      # a range of more than one granule loses its last one
    cdef u32 epoch
    cdef iotlb_entry *entries                   # NULL before the first fill

    cdef bint find(self, u64 addr, bint write, u64 *phys, u64 *run) noexcept nogil
    cdef void fill(self, u64 addr, u64 phys, u64 run, u64 want, bint write) noexcept nogil
    cdef void invalidate(self, u64 addr, u64 size) noexcept nogil
    cdef void invalidate_all(self) noexcept nogil

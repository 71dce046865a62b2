# SPDX-License-Identifier: MIT
"""A Xen guest's grant table and its allocator (drivers/xen/grant-table.c)."""

from scatterlist.types cimport phys_addr_t, s64, u8, u16, u32, u64

from dma_ops.machine cimport Machine

from .p2m cimport P2m

cdef enum:                      # flags of an entry
    GTF_PERMIT_ACCESS = 1
    GTF_TYPE_MASK = 3
    GTF_READONLY = 4
    GTF_READING = 8             # version 1: in the entry; version 2: in the status frame
    GTF_WRITING = 16

cdef enum:                      # version 1: u16 flags, u16 domid, u32 frame; 2: u16 flags, u16 domid, u32 0, u64 frame
    ENTRY_V1 = 8
    ENTRY_V2 = 16
    FRAME_V1 = 4
    FRAME_V2 = 8
    STATUS_ENTRY = 2

cdef class GrantTable:
    cdef readonly Machine machine
    cdef readonly P2m p2m
    cdef readonly int version
    cdef readonly u32 per_frame                 # entries
    cdef readonly u32 max_frames
    cdef readonly u32 nr_frames
    cdef readonly phys_addr_t shared            # the frames of entries
    cdef readonly phys_addr_t status            # version 2: u16 per entry
    cdef readonly u32 size                      # entries of the frames that there are
    cdef readonly s64 free_count
    cdef u32 *list                              # the free list's links
    cdef u8 *is_free                            # Linux's bitmap
    cdef u32 free_head
    cdef u32 last_free
    cdef s64 tail                               # gnttab_free_tail_ptr: HEAD, NO_TAIL, or the entry whose link it is

    cdef u32 *link(self, u64 ref) except NULL nogil
    cdef u32 *tail_link(self) except NULL nogil
    cdef int set_free(self, u32 start, u32 n) except -9999 nogil
    cdef int expand(self, u32 entries) except -9999 nogil
    cdef s64 get_one(self) except -9999 nogil
    cdef u32 tail_run(self) except? 0xBAD00BAD nogil
    cdef s64 rebuild(self, u32 count) except -9999 nogil
    cdef s64 get_sequence(self, u32 count) except -9999 nogil
    cdef s64 alloc(self, u32 count) except -9999 nogil
    cdef int put(self, u32 first, u32 count) except -9999 nogil
    cdef int grant(self, u32 ref, u16 domid, u64 frame, bint readonly) except -9999 nogil
    cdef bint end_access(self, u32 ref) except -1 nogil
    cdef u16 read16(self, phys_addr_t addr) noexcept nogil

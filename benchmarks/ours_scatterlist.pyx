# SPDX-License-Identifier: MIT
# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The calls of linux_scatterlist.c on our side, timed as there."""

from libc.string cimport memset
from posix.time cimport CLOCK_THREAD_CPUTIME_ID, clock_gettime, timespec

from scatterlist.copy cimport sg_copy_buffer
from scatterlist.core cimport SgTable, scatterlist, sg_free_table, sg_next, sg_table
from scatterlist.memory cimport PhysMem
from scatterlist.pages cimport sg_alloc_table_from_pages_segment, sg_pages_how
from scatterlist.types cimport u8, u64


cdef u64 now() noexcept nogil:
    cdef timespec t
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t)
    return <u64>t.tv_sec * 1000000000u + <u64>t.tv_nsec


def from_pages(const u64[::1] pages):
    """(entries, ns to build, ns to free)"""
    cdef sg_pages_how how
    cdef sg_table table
    cdef u64 start, build, release
    cdef unsigned int n = pages.shape[0]
    cdef int ret
    memset(&how, 0, sizeof(how))
    how.page_shift = 12
    how.max_ents = 128
    with nogil:
        start = now()
        ret = sg_alloc_table_from_pages_segment(&table, &pages[0], n, 0, <unsigned long>n << 12, 0xFFFFFFFFu, &how)
        build = now() - start
        start = now()
        if ret == 0:
            sg_free_table(&table, 128)
        release = now() - start
    return 0 if ret else table.orig_nents, build, release


def walk(SgTable table):
    """(bytes, ns)"""
    cdef scatterlist *sg = table.sgt.sgl
    cdef u64 total = 0, start
    with nogil:
        start = now()
        while sg != NULL:
            total += sg.length
            sg = sg_next(sg)
        start = now() - start
    return total, start


def copy(SgTable table, PhysMem mem, u8[::1] buffer):
    """(bytes, ns)"""
    cdef u64 start
    cdef long done
    with nogil:
        start = now()
        done = sg_copy_buffer(table.sgt.sgl, table.sgt.orig_nents, mem, &buffer[0], buffer.shape[0], 0, True, 12)
        start = now() - start
    return done, start


def build_again(const u64[::1] pages, unsigned int times):
    """ns to build and free a table so many times."""
    cdef sg_pages_how how
    cdef sg_table table
    cdef u64 start
    cdef unsigned int n = pages.shape[0], _i
    memset(&how, 0, sizeof(how))
    how.page_shift = 12
    how.max_ents = 128
    with nogil:
        start = now()
        for _i in range(times):
            if sg_alloc_table_from_pages_segment(&table, &pages[0], n, 0, <unsigned long>n << 12, 0xFFFFFFFFu, &how):
                break
            sg_free_table(&table, 128)
        start = now() - start
    return start


def walk_again(SgTable table, unsigned int times):
    """ns to walk a table so many times."""
    cdef scatterlist *sg
    cdef u64 total = 0, start
    cdef unsigned int _i
    with nogil:
        start = now()
        for _i in range(times):
            sg = table.sgt.sgl
            while sg != NULL:
                total += sg.length
                sg = sg_next(sg)
        start = now() - start
    return start if total else 0

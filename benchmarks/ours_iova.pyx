# SPDX-License-Identifier: MIT
# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""linux_iova.c on our allocator."""

from libc.stdlib cimport calloc, free
from posix.time cimport CLOCK_THREAD_CPUTIME_ID, clock_gettime, timespec

from dma_ops.iova cimport (
    IovaDomain,
    alloc_iova,
    alloc_iova_fast,
    free_iova,
    free_iova_fast,
    iova,
    iova_domain,
)
from scatterlist.types cimport u64


cdef extern from *:
    void prefetch "__builtin_prefetch"(const void *, int) noexcept nogil

cdef enum:
    AHEAD = 16              # as in linux_iova.c


cdef u64 now() noexcept nogil:
    cdef timespec t
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t)
    return <u64>t.tv_sec * 1000000000u + <u64>t.tv_nsec


cdef class Space:
    cdef readonly IovaDomain domain
    cdef u64 *slots
    cdef u64 limit
    cdef bint fast

    def __cinit__(self, u64 slots, u64 limit, bint fast):
        self.domain = IovaDomain()
        self.slots = <u64 *>calloc(slots, sizeof(u64))
        self.limit = limit
        self.fast = fast

    def __dealloc__(self):
        free(self.slots)

    @property
    def live(self):
        return self.domain.live_pages

    def run(self, const u64[::1] tape, u64 first, u64 n):
        """(ns, digest)"""
        cdef iova_domain *domain = &self.domain.d
        cdef u64 start, pfn, size, i, digest = 0
        cdef u64 *slot
        cdef iova *range_
        with nogil:
            start = now()
            for i in range(first, first + n):
                slot = &self.slots[tape[i] >> 16]
                size = slot[0] & 0xffff
                pfn = slot[0] >> 16
                if i + AHEAD < first + n:
                    prefetch(&self.slots[tape[i + AHEAD] >> 16], 1)
                if pfn and self.fast:
                    free_iova_fast(domain, pfn, size, 0)
                elif pfn:
                    free_iova(domain, pfn)
                size = tape[i] & 0xffff
                pfn = 0
                if size and self.fast:
                    pfn = alloc_iova_fast(domain, size, self.limit, True, 0)
                elif size:
                    range_ = alloc_iova(domain, size, self.limit, True)
                    pfn = range_.pfn_lo if range_ != NULL else 0
                slot[0] = pfn << 16 | size
                digest = digest * 31 + pfn
            start = now() - start
        return start, digest

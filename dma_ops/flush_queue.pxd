# SPDX-License-Identifier: MIT
"""Deferred IOTLB flushes: the flush queue of drivers/iommu/dma-iommu.c (Linux 6.1)."""

from scatterlist.types cimport u64

from .iommu cimport IommuDomain
from .iova cimport IovaDomain

cdef enum:
    IOVA_FQ_SIZE = 256
    IOVA_FQ_TIMEOUT = 10            # ms
    IOVA_SINGLE_FQ_SIZE = 32768     # 6.5 and later, where the hypervisor shadows flushes
    IOVA_SINGLE_FQ_TIMEOUT = 1000

cdef struct iova_fq_entry:
    u64 pfn
    u64 pages
    u64 counter                     # flushes begun when this was queued

cdef struct iova_fq:
    unsigned int head
    unsigned int tail
    iova_fq_entry *entries

cdef class FlushQueue:
    cdef readonly IommuDomain domain
    cdef readonly IovaDomain space
    cdef iova_fq *queues
    cdef int nr_queues
    cdef unsigned int size              # a power of two
    cdef readonly unsigned int timeout  # ms
    cdef readonly u64 started           # flushes
    cdef readonly u64 finished
    cdef readonly u64 now               # ms
    cdef u64 due
    cdef readonly bint timer_on

    cdef int queue_iova(self, u64 pfn, u64 pages, int cpu) except -9999 nogil
    cdef int flush_iotlb(self) except -9999 nogil
    cdef int expire(self, int cpu) except -9999 nogil
    cdef void ring_free(self, iova_fq *fq, int cpu) noexcept nogil

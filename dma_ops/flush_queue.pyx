# SPDX-License-Identifier: MIT
"""Deferred IOTLB flushes: the flush queue of drivers/iommu/dma-iommu.c (Linux 6.1).

An unmapped IOVA waits in its CPU's ring until a flush of the whole IOTLB that began after it was queued; only then
can it be given out again. A flush comes with the timer, 10 ms after the first entry of an idle queue, or when a ring
is full.
"""

from libc.stdlib cimport calloc, free

from .iova cimport free_iova_fast


cdef class FlushQueue:
    """The rings of one domain. nr_cpus rings of size entries (one is never used), or single=True: one for all CPUs."""

    def __init__(self, IommuDomain domain not None, IovaDomain space not None, *, int nr_cpus=1, bint single=False,
                 unsigned int size=0, unsigned int timeout=0):
        cdef int i
        if self.queues != NULL:
            raise TypeError("a FlushQueue is initialised once")
        if nr_cpus < 1 or nr_cpus > space.d.nr_cpus:
            raise ValueError(f"nr_cpus is {nr_cpus}, not 1 to {space.d.nr_cpus}")
        self.domain = domain
        self.space = space
        self.nr_queues = 1 if single else nr_cpus
        self.size = size or (IOVA_SINGLE_FQ_SIZE if single else IOVA_FQ_SIZE)
        if self.size & (self.size - 1) or self.size < 2:
            raise ValueError(f"size is {size}, not a power of two")
        self.timeout = timeout or (IOVA_SINGLE_FQ_TIMEOUT if single else IOVA_FQ_TIMEOUT)
        self.queues = <iova_fq *>calloc(self.nr_queues, sizeof(iova_fq))
        if self.queues == NULL:
            raise MemoryError("iova flush queue initialization failed")
        for i in range(self.nr_queues):
            self.queues[i].entries = <iova_fq_entry *>calloc(self.size, sizeof(iova_fq_entry))
            if self.queues[i].entries == NULL:
                raise MemoryError("iova flush queue initialization failed")

    def __dealloc__(self):
        cdef int i
        if self.queues != NULL:
            for i in range(self.nr_queues):
                free(self.queues[i].entries)
        free(self.queues)

    cdef void ring_free(self, iova_fq *fq, int cpu) noexcept nogil:
        """Give back what a finished flush covers; the oldest first."""
        while fq.head != fq.tail and fq.entries[fq.head].counter < self.finished:
            free_iova_fast(&self.space.d, fq.entries[fq.head].pfn, fq.entries[fq.head].pages, cpu)
            fq.head = (fq.head + 1) & (self.size - 1)

    cdef int flush_iotlb(self) except -9999 nogil:
        self.started += 1
        self.domain.flush_iotlb_all()
        self.finished += 1
        return 0

    cdef int queue_iova(self, u64 pfn, u64 pages, int cpu) except -9999 nogil:
        cdef iova_fq *fq = &self.queues[0 if self.nr_queues == 1 else cpu]
        cdef iova_fq_entry *entry
        self.ring_free(fq, cpu)
        if (fq.tail + 1) & (self.size - 1) == fq.head:
            self.flush_iotlb()
            self.ring_free(fq, cpu)
        entry = &fq.entries[fq.tail]
        fq.tail = (fq.tail + 1) & (self.size - 1)
        entry.pfn = pfn
        entry.pages = pages
        entry.counter = self.started
        if not self.timer_on:
            self.timer_on = True
            self.due = self.now + self.timeout
        return 0

    cdef int expire(self, int cpu) except -9999 nogil:
        """The timer, on one CPU: flush, then empty every ring into that CPU's magazines."""
        cdef int i
        self.timer_on = False
        self.flush_iotlb()
        for i in range(self.nr_queues):
            self.ring_free(&self.queues[i], cpu)
        return 0

    def tick(self, u64 ms, *, int cpu=0):
        """Let time pass; the timer fires if it is due."""
        self.now += ms
        if self.timer_on and self.due <= self.now:
            self.expire(self._cpu(cpu))

    def flush(self, *, int cpu=0):
        """Fire the timer now if it is running."""
        if self.timer_on:
            self.expire(self._cpu(cpu))

    def _cpu(self, int cpu):
        if not 0 <= cpu < self.space.d.nr_cpus:
            raise ValueError(f"CPU {cpu} of {self.space.d.nr_cpus}")
        return cpu

    @property
    def waiting(self):
        """How many IOVAs are queued."""
        cdef int i
        return sum((self.queues[i].tail - self.queues[i].head) & (self.size - 1) for i in range(self.nr_queues))

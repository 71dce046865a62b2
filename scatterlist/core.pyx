# SPDX-License-Identifier: MIT
"""struct sg_table: allocation, chaining and the Python view of it (lib/scatterlist.c, Linux 6.1)."""

from libc.errno cimport EINVAL, ENOMEM
from libc.stdlib cimport calloc, free


cdef int sg_alloc_table(sg_table *table, unsigned int nents, unsigned int max_ents) noexcept nogil:
    """Chained arrays of at most max_ents entries; 0, -EINVAL (nents 0) or -ENOMEM (nothing is left allocated)."""
    cdef unsigned int left = nents, n
    cdef scatterlist *array
    cdef scatterlist *prev = NULL
    cdef unsigned int prev_n = 0
    table.sgl = NULL
    table.nents = table.orig_nents = 0
    if nents == 0 or max_ents < 2:
        return -EINVAL
    while left:
        n = left if left <= max_ents else max_ents
        array = <scatterlist *>calloc(n, sizeof(scatterlist))
        if array == NULL:
            if prev != NULL:
                table.nents += 1
                table.orig_nents += 1
            sg_free_table(table, max_ents)
            return -ENOMEM
        sg_mark_end(&array[n - 1])
        if prev == NULL:
            table.sgl = array
        else:
            prev[prev_n - 1].page_link = <unsigned long>array | SG_CHAIN
        if left > max_ents:
            left -= max_ents - 1
            table.nents += max_ents - 1
        else:
            table.nents += left
            left = 0
        table.orig_nents = table.nents
        prev = array
        prev_n = n
    return 0


cdef void sg_free_table(sg_table *table, unsigned int max_ents) noexcept nogil:
    cdef unsigned int left = table.orig_nents
    cdef scatterlist *array = table.sgl
    cdef scatterlist *following
    while array != NULL:
        following = NULL
        if left > max_ents:
            following = sg_chain_ptr(&array[max_ents - 1])
            left -= max_ents - 1
        free(array)
        array = following
    table.sgl = NULL


cdef class SgTable:
    def __init__(self, entries, *, unsigned int page_shift=12):
        """entries: an iterable of (page, offset, length) with page a physical address of a frame."""
        cdef list rows = list(entries)
        cdef scatterlist *sg
        cdef int ret
        self.page_shift = page_shift
        self.max_ents = (1 << page_shift) // sizeof(scatterlist)
        ret = sg_alloc_table(&self.sgt, len(rows), self.max_ents)
        if ret:
            raise OSError(-ret, f"sg_alloc_table of {len(rows)} entries")
        self.total_nents = self.sgt.orig_nents
        sg = self.sgt.sgl
        for page, offset, length in rows:
            sg_set_page(sg, page, length, offset)
            sg = sg_next(sg)

    def __dealloc__(self):
        self.sgt.orig_nents = self.total_nents
        sg_free_table(&self.sgt, self.max_ents)

    @property
    def nents(self):
        return self.sgt.nents

    @nents.setter
    def nents(self, unsigned int value):
        self.sgt.nents = value

    @property
    def orig_nents(self):
        return self.sgt.orig_nents

    @orig_nents.setter
    def orig_nents(self, unsigned int value):
        """Say that the CPU side has fewer entries than were allocated, as some drivers do."""
        if value > self.total_nents:
            raise ValueError(f"orig_nents {value} of a table of {self.total_nents} entries")
        self.sgt.orig_nents = value

    def set_dma(self, unsigned int index, u64 dma_address, unsigned int dma_length):
        """Overwrite the DMA side of one entry, as a list that was mapped before has it."""
        cdef scatterlist *sg = self.sgt.sgl
        if index >= self.total_nents:
            raise IndexError(f"entry {index} of a table of {self.total_nents}")
        while index:
            sg = sg_next(sg)
            index -= 1
        sg.dma_address = dma_address
        sg.dma_length = dma_length

    def entries(self):
        """Every original entry: (page, offset, length, dma_address, dma_length, dma_flags)."""
        cdef list out = []
        cdef scatterlist *sg = self.sgt.sgl
        cdef unsigned int i
        for i in range(self.sgt.orig_nents):
            out.append((sg_page(sg), sg.offset, sg.length, sg.dma_address, sg.dma_length, sg.dma_flags))
            sg = sg_next(sg)
        return out

    def segments(self):
        """The mapped segments, the first nents entries: (dma_address, dma_length, dma_flags)."""
        return [row[3:] for row in self.entries()[:self.sgt.nents]]

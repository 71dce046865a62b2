# SPDX-License-Identifier: MIT
"""struct sg_table: allocation, chaining and the Python view of it (lib/scatterlist.c, Linux 6.1).

Linux allocates a long list as arrays of SG_MAX_SINGLE_ALLOC entries, one page each. Here the arrays of one allocation
lie behind one another in a single block and are chained exactly as Linux chains them: one malloc, and one buffer for
Python.
"""

import os

from cpython.buffer cimport PyBUF_FORMAT, PyBUF_ND, PyBUF_STRIDES, PyBUF_WRITABLE
from libc.errno cimport EINVAL, ENOMEM
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memset

from scatterlist.memory cimport _Borrowed, borrow

cdef enum:
    ENTRY = sizeof(scatterlist)     # 32: the 64-bit layout with dma_length and dma_flags

cdef char *FORMAT = b"T{L:page_link:I:offset:I:length:L:dma_address:I:dma_length:I:dma_flags:}"


# -- memory ----------------------------------------------------------------------------------------------------

cdef scatterlist *sg_block_alloc(size_t n, bint zero) noexcept nogil:
    """n slots and the guard; NULL without memory. The caller sets the end mark."""
    cdef scatterlist *memory
    if n > (<size_t>-1) // ENTRY - 2:
        return NULL
    memory = <scatterlist *>(calloc(n + 2, ENTRY) if zero else malloc((n + 2) * ENTRY))
    if memory == NULL:
        return NULL
    (<sg_block *>memory).next = NULL
    (<sg_block *>memory).n = n
    memset(&memory[n + 1], 0, ENTRY)
    memory[n + 1].page_link = SG_END
    return memory + 1


cdef void sg_block_free_all(sg_block *block) noexcept nogil:
    cdef sg_block *following
    while block != NULL:
        following = block.next
        free(block)
        block = following


cdef void sg_init_table(scatterlist *sgl, unsigned int nents) noexcept nogil:
    """Clear nents entries, dma fields and flags too, and mark the last. nents 0 is out of bounds, as in Linux."""
    memset(sgl, 0, <size_t>nents * ENTRY)
    sg_mark_end(&sgl[nents - 1])


cdef void sg_init_one(scatterlist *sg, unsigned long buf, unsigned int length, unsigned int page_shift) noexcept nogil:
    sg_init_table(sg, 1)
    sg_set_buf(sg, buf, length, page_shift)


# -- walks -----------------------------------------------------------------------------------------------------

cdef unsigned int sg_nents(scatterlist *sg) noexcept nogil:
    cdef unsigned int n = 0
    while sg != NULL:
        n += 1
        sg = sg_next(sg)
    return n


cdef int sg_nents_for_len(scatterlist *sg, u64 length) noexcept nogil:
    """The fewest entries that hold length bytes; -EINVAL if the list is too short."""
    cdef u64 total = 0
    cdef int n = 0
    if not length:
        return 0
    while sg != NULL:
        n += 1
        total += sg.length
        if total >= length:
            return n
        sg = sg_next(sg)
    return -EINVAL


cdef scatterlist *sg_last(scatterlist *sgl, unsigned int nents) noexcept nogil:
    """Entry nents - 1; NULL where Linux dies: nents 0, a shorter list, or an entry without the end mark."""
    cdef scatterlist *sg = NULL
    while nents and sgl != NULL:
        sg = sgl
        sgl = sg_next(sgl)
        nents -= 1
    if nents or sg == NULL or not sg_is_last(sg):
        return NULL
    return sg


cdef u64 sg_length(scatterlist *sg) noexcept nogil:
    """The sum of all lengths from sg to the end of its list."""
    cdef u64 total = 0
    while True:
        total += sg.length
        if sg.page_link & SG_END:
            return total
        sg += 1
        if sg.page_link & SG_CHAIN:
            sg = sg_chain_ptr(sg)


# -- tables ----------------------------------------------------------------------------------------------------

cdef int sg_alloc_table(sg_table *table, unsigned int nents, unsigned int max_ents) noexcept nogil:
    """Chained arrays of at most max_ents entries; 0, -EINVAL (nents 0) or -ENOMEM (nothing is left allocated)."""
    cdef size_t slots = nents
    cdef size_t left
    cdef scatterlist *array
    table.sgl = NULL
    table.nents = table.orig_nents = 0
    if nents == 0 or max_ents < 2:
        return -EINVAL
    if nents > max_ents:
        slots += (nents - 2) // (max_ents - 1)      # a link in each array but the last
    array = sg_block_alloc(slots, True)
    if array == NULL:
        return -ENOMEM
    table.sgl = array
    table.nents = table.orig_nents = nents
    left = slots
    while left > max_ents:
        sg_chain(array, max_ents, array + max_ents)
        array += max_ents
        left -= max_ents
    sg_mark_end(&array[left - 1])
    return 0


cdef void sg_free_table(sg_table *table, unsigned int max_ents) noexcept nogil:
    """Free what sg_alloc_table or the from_pages functions allocated, whatever the counts say now; the counts stay."""
    if table.sgl != NULL:
        sg_block_free_all(sg_block_of(table.sgl))
    table.sgl = NULL


cdef int sg_alloc_table_with(sg_table *table, unsigned int nents, unsigned int max_ents, scatterlist *first_chunk,
                             unsigned int nents_first_chunk, bint no_chain, sg_alloc_fn alloc_fn,
                             void *context) noexcept nogil:
    """__sg_alloc_table: arrays from alloc_fn, the first one perhaps the caller's. 0, -EINVAL or -ENOMEM.

    After -ENOMEM what was allocated stays for the caller to free, and if that is anything, both counts are one higher
    than the entries: the slot kept for the link counts as data, so that the free side computes the same sizes.
    """
    cdef unsigned int capacity = nents_first_chunk if nents_first_chunk else max_ents
    cdef unsigned int left = nents, n, data, prv_capacity = 0
    cdef scatterlist *sg
    cdef scatterlist *prv = NULL
    table.sgl = NULL
    table.nents = table.orig_nents = 0
    if nents == 0 or max_ents < 2 or nents_first_chunk == 1 or (no_chain and nents > max_ents):
        return -EINVAL      # capacities below 2 would loop for ever in Linux
    while left:
        n = left if left <= capacity else capacity
        data = n if left <= capacity else n - 1
        left -= data
        if first_chunk != NULL:
            sg = first_chunk
            first_chunk = NULL
        else:
            sg = alloc_fn(n, context)
        if sg == NULL:
            if prv != NULL:
                table.orig_nents += 1
                table.nents = table.orig_nents
            return -ENOMEM
        sg_init_table(sg, n)
        table.orig_nents += data
        table.nents = table.orig_nents
        if prv != NULL:
            sg_chain(prv, prv_capacity, sg)
        else:
            table.sgl = sg
        prv = sg
        prv_capacity = capacity
        capacity = max_ents
    return 0


cdef void sg_free_table_with(sg_table *table, unsigned int max_ents, unsigned int nents_first_chunk,
                             sg_free_fn free_fn, unsigned int num_ents, void *context) noexcept nogil:
    """__sg_free_table: repeats the arithmetic of the allocation on num_ents, which must be the number allocated."""
    cdef unsigned int capacity = nents_first_chunk if nents_first_chunk else max_ents
    cdef unsigned int n, data
    cdef scatterlist *sgl = table.sgl
    cdef scatterlist *following
    if sgl == NULL:
        return
    while num_ents:
        following = NULL
        n = data = num_ents
        if n > capacity:
            following = sg_chain_ptr(&sgl[capacity - 1])
            n = capacity
            data = n - 1
        num_ents -= data
        if nents_first_chunk:
            nents_first_chunk = 0
        else:
            free_fn(sgl, n, context)
        sgl = following
        capacity = max_ents
    table.sgl = NULL


# -- Python ----------------------------------------------------------------------------------------------------

cdef int raise_errno(int ret, str what) except -1:
    """OSError for a negative errno, nothing for the rest."""
    if ret == -ENOMEM:
        raise OSError(ENOMEM, f"{what}: no memory for the entries")
    if ret < 0:
        raise OSError(-ret, f"{what}: {os.strerror(-ret)}")
    return 0


cdef class SgTable:
    """SgTable(entries=None, *, page_shift=12, max_ents=0, dma_length=True, chaining=True, p2pdma_bit=False)

    A struct sg_table and the memory of its list.

    entries     an iterable of (page, offset, length), page being the physical address of a frame; None for an empty
                header that sg_alloc_table and its kin fill
    page_shift  of the machine: 12, 13, 14 or 16
    max_ents    SG_MAX_SINGLE_ALLOC, the entries of one chained array; 0 for what a page of this machine holds
    dma_length  False for a machine without CONFIG_NEED_SG_DMA_LENGTH, where sg_dma_len() is the CPU's length
    chaining    False for CONFIG_ARCH_NO_SG_CHAIN: a list longer than max_ents is refused with EINVAL
    p2pdma_bit  True allows SG_PCI_P2PDMA in page_link (the proposal of 2021)

    Raises OSError EINVAL for no entries or an unchainable list, ENOMEM without memory (a retry can help), ValueError
    for a page that is not a frame's address.
    """

    def __cinit__(self):
        self.none[0].page_link = self.none[1].page_link = SG_END
        self.sgt.sgl = &self.none[0]
        self.page_shift = 12
        self.max_ents = (1 << 12) // ENTRY
        self.dma_length = self.chaining = True
        self.held = []

    def __init__(self, entries=None, *, unsigned int page_shift=12, unsigned int max_ents=0, bint dma_length=True,
                 bint chaining=True, bint p2pdma_bit=False):
        cdef list rows
        cdef scatterlist *sg
        cdef u64 page
        cdef sg_table table
        cdef int ret
        if not 12 <= page_shift <= 30:
            raise ValueError(f"page_shift {page_shift} is not between 12 and 30")
        if max_ents == 1:
            raise ValueError("an array of one entry cannot be chained")
        self.release()
        self.page_shift = page_shift
        self.dma_length = dma_length
        self.chaining = chaining
        self.p2pdma_bit = p2pdma_bit
        self.max_ents = max_ents if max_ents else (1 << page_shift) // (ENTRY if dma_length else ENTRY - 8)
        if entries is None:
            return
        rows = [(page, offset, length) for page, offset, length in entries]
        if not chaining and len(rows) > self.max_ents:
            raise_errno(-EINVAL, f"sg_alloc_table of {len(rows)} entries without chaining")
        ret = sg_alloc_table(&table, len(rows), self.max_ents)
        raise_errno(ret, f"sg_alloc_table of {len(rows)} entries")
        self.adopt(&table, sg_block_of(table.sgl))
        sg = table.sgl
        for row in rows:
            page = row[0]
            if page & SG_LINK_FLAGS:
                raise ValueError(f"page {page:#x} is not a frame's address: its low bits are the flags of page_link")
            sg_set_page(sg, page, row[2], row[1])
            sg = sg_next(sg)

    def __dealloc__(self):
        cdef SgTable other
        if self.held is not None:
            for other in self.held:
                other.exports -= 1
        sg_block_free_all(self.blocks)

    @staticmethod
    def from_rows(rows, **options):
        """A table from a buffer of rows, without a Python object per row.

        rows is a C-contiguous buffer of unsigned 64-bit integers, three a row (array("Q"), or an array of shape
        (n, 3)): page, offset, length; or of 16-byte rows of struct "QII": page, offset, length. options are SgTable's.
        Raises ValueError for another buffer, or an offset or length over 32 bits.
        """
        cdef SgTable table = SgTable(None, **options)
        view = memoryview(rows)
        if not view.c_contiguous:
            raise ValueError("the rows are not contiguous")
        if view.itemsize == 8 and view.format.lstrip("@=<") in ("Q", "L"):
            width = 24
        elif view.itemsize == 16 or (view.itemsize == 1 and view.format == "B"):
            width = 16
        else:
            raise ValueError(f"rows of format {view.format!r} are neither three 64-bit integers nor struct 'QII'")
        if view.nbytes == 0 or view.nbytes % width:
            raise ValueError(f"{view.nbytes} bytes are not a whole number of {width}-byte rows, or none")
        _fill_rows(table, view, width)
        return table

    @staticmethod
    def from_pages(pages, *, offset=0, size=None, max_segment=0xFFFFFFFF, pfns=False, **options):
        """A table from a buffer of 64-bit page addresses (or frame numbers): sg_alloc_table_from_pages_segment."""
        from scatterlist.pages import sg_alloc_table_from_pages_segment_

        table = SgTable(None, **options)
        sg_alloc_table_from_pages_segment_(table, pages, offset, size, max_segment, pfns=pfns)
        return table

    # -- life ------------------------------------------------------------------

    cdef int check_resizable(self) except -1:
        if self.exports:
            raise BufferError(f"{self.exports} view(s) of this table, or tables that chain to it, are alive")
        return 0

    cdef int release(self) except -1:
        """Free the list. Unlike Linux, which leaves them, both counts become 0."""
        cdef SgTable other
        self.check_resizable()
        self.generation += 1
        sg_block_free_all(self.blocks)
        self.blocks = NULL
        self.sgt.sgl = &self.none[0]
        self.sgt.nents = self.sgt.orig_nents = self.total_nents = 0
        self.prv = NULL
        self.loose = False
        for other in self.held:
            other.exports -= 1
        self.held = []
        return 0

    cdef int adopt(self, const sg_table *table, sg_block *blocks) except -1:
        """Take over a list that C code allocated."""
        self.release()
        self.blocks = blocks
        self.sgt = table[0]
        self.total_nents = table.orig_nents
        return 0

    cdef scatterlist *first(self) except NULL:
        if self.sgt.sgl == &self.none[0]:
            raise ValueError("this table has no list (never allocated, or freed)")
        if self.loose:
            self.check_walk(self.sgt.sgl)
        return self.sgt.sgl

    cdef int check_walk(self, scatterlist *sg) except -1:
        """Refuse a list that runs off its memory: Linux would read what lies behind."""
        cdef sg_block *block
        cdef SgTable table
        cdef scatterlist *guard
        while sg != NULL:
            for table in [self, *self.held]:
                block = table.blocks
                while block != NULL:
                    guard = sg_block_slots(block) + block.n
                    if sg == guard:
                        raise ValueError("the list has no end mark: Linux would run off the end of the array")
                    block = block.next
            sg = sg_next(sg)
        return 0

    def free(self):
        """sg_free_table. Raises BufferError while a view of the entries is alive; freeing twice is harmless."""
        self.release()

    # -- counts ----------------------------------------------------------------

    @property
    def nents(self):
        """Mapped entries: what dma_map_sgtable writes, orig_nents before."""
        return self.sgt.nents

    @nents.setter
    def nents(self, unsigned int value):
        if value > self.sgt.orig_nents and value > self.reachable():
            raise ValueError(f"nents {value} of a list of {self.reachable()} entries")
        self.sgt.nents = value

    @property
    def orig_nents(self):
        """Entries of the CPU's side. May be lowered, as some drivers do; what is freed does not depend on it."""
        return self.sgt.orig_nents

    @orig_nents.setter
    def orig_nents(self, unsigned int value):
        if value > self.reachable():
            raise ValueError(f"orig_nents {value} of a list of {self.reachable()} entries")
        self.sgt.orig_nents = value

    cdef unsigned int reachable(self) noexcept:
        """The entries that a walk finds, whatever the counts say."""
        return 0 if self.sgt.sgl == &self.none[0] else sg_nents(self.sgt.sgl)

    @property
    def total_entries(self):
        """sg_append_table.total_nents: data entries allocated."""
        return self.total_nents

    @property
    def max_single_alloc(self):
        """SG_MAX_SINGLE_ALLOC: entries of one array, its link included."""
        return self.max_ents

    @property
    def length(self):
        """The sum of all entries' lengths, in bytes."""
        cdef u64 total
        cdef scatterlist *sg
        if self.sgt.sgl == &self.none[0]:
            return 0
        sg = self.first()
        with nogil:
            total = sg_length(sg)
        return total

    def __len__(self):
        return self.sgt.orig_nents

    def arrays(self):
        """The sizes of the chained arrays, links included."""
        cdef list out = []
        cdef scatterlist *sg
        cdef unsigned int n = 0
        if self.sgt.sgl == &self.none[0]:
            return out
        sg = self.first()
        while True:
            n += 1
            if sg_is_last(sg):
                out.append(n)
                return out
            sg += 1
            if sg_is_chain(sg):
                out.append(n + 1)
                n = 0
                sg = sg_chain_ptr(sg)

    # -- contents --------------------------------------------------------------

    def entries(self):
        """Every original entry: (page, offset, length, dma_address, dma_length, dma_flags)."""
        cdef list out = []
        cdef scatterlist *sg = self.sgt.sgl
        cdef unsigned int left = self.sgt.orig_nents
        while left and sg != NULL:
            out.append((sg_page(sg), sg.offset, sg.length, sg.dma_address, sg.dma_length, sg.dma_flags))
            sg = sg_next(sg)
            left -= 1
        return out

    def set_dma(self, unsigned int index, u64 dma_address, unsigned int dma_length):
        """Overwrite the DMA side of one entry, as a list that was mapped before has it."""
        cdef scatterlist *sg = self.sgt.sgl
        if index >= self.reachable():
            raise IndexError(f"entry {index} of a list of {self.reachable()}")
        while index:
            sg = sg_next(sg)
            index -= 1
        sg.dma_address = dma_address
        sg.dma_length = dma_length

    def segments(self):
        """The mapped segments, the first nents entries: (dma_address, dma_length, dma_flags)."""
        return [row[3:] for row in self.entries()[:self.sgt.nents]]

    @property
    def sgl(self):
        """The first entry, or None without a list."""
        from scatterlist.entry import first_entry

        return first_entry(self)

    def __iter__(self):
        """The original entries, as for_each_sgtable_sg walks them."""
        from scatterlist.entry import for_each_sgtable_sg

        return iter(for_each_sgtable_sg(self))

    def __repr__(self):
        if self.sgt.sgl == &self.none[0]:
            return "<SgTable, empty>"
        return f"<SgTable of {self.sgt.orig_nents} entries, {self.sgt.nents} mapped, arrays of {self.max_ents}>"

    # -- views -----------------------------------------------------------------

    def views(self):
        """One read-only memoryview for each block of memory, of struct rows with Linux's field names, links included.

        While one is alive the table cannot be freed or grown (BufferError).
        """
        cdef list out = []
        cdef sg_block *block = self.blocks
        cdef BlockView view
        while block != NULL:
            view = BlockView.__new__(BlockView)
            view.table = self
            view.block = block
            out.append(memoryview(view))
            block = block.next
        return out

    def __getbuffer__(self, Py_buffer *buffer, int flags):
        if self.blocks == NULL or self.blocks.next != NULL:
            raise BufferError("the entries are not one block of memory: use views()")
        export(self, self.blocks, self, buffer, flags, self.shape)

    def __releasebuffer__(self, Py_buffer *buffer):
        self.exports -= 1


cdef int export(SgTable table, sg_block *block, object owner, Py_buffer *buffer, int flags,
                Py_ssize_t *shape) except -1:
    if flags & PyBUF_WRITABLE == PyBUF_WRITABLE:
        raise BufferError("entries are read-only through a view: page_link holds pointers")
    shape[0] = block.n
    buffer.buf = sg_block_slots(block)
    buffer.obj = owner
    buffer.len = block.n * ENTRY
    buffer.itemsize = ENTRY
    buffer.readonly = 1
    buffer.ndim = 1
    buffer.format = FORMAT if flags & PyBUF_FORMAT else NULL
    buffer.shape = shape if flags & PyBUF_ND else NULL
    buffer.strides = &buffer.itemsize if flags & PyBUF_STRIDES == PyBUF_STRIDES else NULL
    buffer.suboffsets = NULL
    buffer.internal = NULL
    table.exports += 1
    return 0


cdef class BlockView:
    """The exporter of one block of a table."""
    cdef SgTable table
    cdef sg_block *block
    cdef Py_ssize_t shape[1]

    def __init__(self):
        raise TypeError("views come from SgTable.views()")

    def __getbuffer__(self, Py_buffer *buffer, int flags):
        if self.table is None:
            raise BufferError("this view has no table")
        cdef sg_block *block = self.table.blocks
        while block != NULL and block != self.block:
            block = block.next
        if block == NULL:
            raise BufferError("the table of this view was freed")
        export(self.table, block, self, buffer, flags, self.shape)

    def __releasebuffer__(self, Py_buffer *buffer):
        self.table.exports -= 1


cdef int _fill_rows(SgTable table, rows, size_t width) except -1:
    cdef _Borrowed source = borrow(rows)
    cdef size_t n = source.view.len // width
    cdef const u64 *row = <const u64 *>source.view.buf
    cdef const unsigned int *narrow
    cdef u64 bad = 0, high = 0
    cdef sg_table made
    cdef scatterlist *sg
    if <size_t>row & 7:
        return _fill_rows(table, bytes(rows), width)
    if n > 0xFFFFFFFF:
        raise ValueError(f"{n} rows are more than a table can count")
    if not table.chaining and n > table.max_ents:
        raise_errno(-EINVAL, f"sg_alloc_table of {n} entries without chaining")
    raise_errno(sg_alloc_table(&made, n, table.max_ents), f"sg_alloc_table of {n} entries")
    table.adopt(&made, sg_block_of(made.sgl))
    sg = made.sgl
    with nogil:
        while sg != NULL:
            bad |= row[0]
            if width == 24:
                high |= row[1] | row[2]
                sg_set_page(sg, row[0] & ~<u64>SG_LINK_FLAGS, row[2], row[1])
                row += 3
            else:
                narrow = <const unsigned int *>(row + 1)
                sg_set_page(sg, row[0] & ~<u64>SG_LINK_FLAGS, narrow[1], narrow[0])
                row += 2
            sg = sg_next(sg)
    if bad & SG_LINK_FLAGS or high >> 32:
        table.release()
        raise ValueError("a page that is not a frame's address, or an offset or length over 32 bits")
    return 0


def _runtime_layout():
    """{field: offset} and sizeof of struct scatterlist as compiled, for the layout's test."""
    cdef scatterlist sg
    cdef char *start = <char *>&sg
    return {
        "page_link": <char *>&sg.page_link - start, "offset": <char *>&sg.offset - start,
        "length": <char *>&sg.length - start, "dma_address": <char *>&sg.dma_address - start,
        "dma_length": <char *>&sg.dma_length - start, "dma_flags": <char *>&sg.dma_flags - start,
    }, ENTRY

# SPDX-License-Identifier: MIT
"""The accessors and walks of include/linux/scatterlist.h and lib/scatterlist.c for Python, under Linux's names.

Where Linux takes a struct scatterlist *, these take an SgEntry or an SgTable (for its first entry). What is out of
bounds in Linux, or a BUG(), is a ValueError here.
"""

import warnings

from cpython.ref cimport PyObject
from libc.errno cimport EINVAL

cimport scatterlist.core as core
from scatterlist.core cimport sg_block, sg_block_alloc, sg_block_of, sg_block_slots, sg_table
from scatterlist.types cimport u32, u64


cdef class SgEntry:
    """A struct scatterlist *: one entry of a table's list. Its attributes are Linux's fields; page_link is read-only.

    Using an entry after its table was freed raises ValueError.
    """

    def __init__(self):
        raise TypeError("entries come from a table: sgt.sgl, sg_next(sg), for_each_sg(...)")

    cdef scatterlist *ptr(self) except NULL:
        if self.table is None or self.generation != self.table.generation:
            raise ValueError("the table of this entry was freed")
        return self.p

    cdef scatterlist *data(self) except NULL:
        cdef scatterlist *sg = self.ptr()
        if core.sg_is_chain(sg):
            raise ValueError("kernel BUG: sg_is_chain(sg): this entry became a link")
        return sg

    @property
    def page_link(self):
        """The page's address or the next array's, and the flag bits."""
        return self.ptr().page_link

    @property
    def offset(self):
        return self.ptr().offset

    @offset.setter
    def offset(self, u32 value):
        self.data().offset = value

    @property
    def length(self):
        return self.ptr().length

    @length.setter
    def length(self, u32 value):
        self.data().length = value

    @property
    def dma_address(self):
        return self.ptr().dma_address

    @dma_address.setter
    def dma_address(self, u64 value):
        self.data().dma_address = value

    @property
    def dma_length(self):
        """sg_dma_len(sg): without CONFIG_NEED_SG_DMA_LENGTH the same field as length."""
        return core.sg_dma_len(self.ptr(), self.table.dma_length)

    @dma_length.setter
    def dma_length(self, u32 value):
        core.sg_set_dma_len(self.data(), value, self.table.dma_length)

    @property
    def dma_flags(self):
        return self.ptr().dma_flags

    @dma_flags.setter
    def dma_flags(self, u32 value):
        self.data().dma_flags = value

    def __eq__(self, other):
        if not isinstance(other, SgEntry):
            return NotImplemented
        return self.p == (<SgEntry>other).p and self.generation == (<SgEntry>other).generation

    def __hash__(self):
        return hash(<size_t>self.p)

    def __repr__(self):
        if self.table is None or self.generation != self.table.generation:
            return "<SgEntry, freed>"
        flags = "".join(name for bit, name in ((1, " chain"), (2, " end"), (4, " p2pdma")) if self.p.page_link & bit)
        return f"<SgEntry page {core.sg_page(self.p):#x} offset {self.p.offset} length {self.p.length}{flags}>"


# -- between Python and C --------------------------------------------------------------------------------------

cdef SgEntry entry_at(SgTable table, scatterlist *p):
    cdef SgEntry entry = SgEntry.__new__(SgEntry)
    entry.table = table
    entry.p = p
    entry.generation = table.generation
    return entry


cdef SgTable table_of(object sgl):
    if isinstance(sgl, SgTable):
        return sgl
    if isinstance(sgl, SgEntry) and (<SgEntry>sgl).table is not None:
        return (<SgEntry>sgl).table
    raise TypeError(f"an SgTable or SgEntry is needed, not {type(sgl).__name__}")


cdef scatterlist *as_sg(object sgl) except NULL:
    """The list that starts here, known to end within its memory."""
    cdef scatterlist *sg
    cdef SgTable table
    if isinstance(sgl, SgTable):
        return (<SgTable>sgl).first()
    table = table_of(sgl)
    sg = (<SgEntry>sgl).ptr()
    if table.loose:
        table.check_walk(sg)
    return sg


cdef scatterlist *as_data(object sg) except NULL:
    """One entry that holds data; whether its list ends does not matter."""
    if isinstance(sg, SgEntry):
        return (<SgEntry>sg).data()
    if isinstance(sg, SgTable):
        if (<SgTable>sg).sgt.sgl == &(<SgTable>sg).none[0]:
            raise ValueError("this table has no list (never allocated, or freed)")
        return (<SgTable>sg).sgt.sgl
    raise TypeError(f"an SgTable or SgEntry is needed, not {type(sg).__name__}")


cdef int trim_counts(SgTable table) except -1:
    """C code walks orig_nents entries: a list that was cut must not promise more than can be reached."""
    cdef unsigned int n
    if table.sgt.sgl != &table.none[0]:
        n = core.sg_nents(table.sgt.sgl)
        table.sgt.orig_nents = min(table.sgt.orig_nents, n)
        table.sgt.nents = min(table.sgt.nents, n)
    return 0


cdef size_t slots_from(SgTable table, scatterlist *sg) except? 0:
    """How many slots there are from sg to the end of its block.

    Asked before a list's structure changes, which only its own table may do, and only while nobody else relies on it:
    C code trusts the counts of every table that reaches the list.
    """
    cdef sg_block *block = table.blocks
    table.check_resizable()
    while block != NULL:
        if sg_block_slots(block) <= sg < sg_block_slots(block) + block.n:
            return sg_block_slots(block) + block.n - sg
        block = block.next
    raise ValueError("the entry belongs to another table: change the list's structure through that one")


def first_entry(SgTable table not None):
    """The first entry of a table, or None."""
    return None if table.sgt.sgl == &table.none[0] else entry_at(table, table.sgt.sgl)


# -- flags -----------------------------------------------------------------------------------------------------

def __sg_flags(sg):
    """SG_CHAIN and SG_END of an entry."""
    return as_any(sg).page_link & core.SG_PAGE_LINK_MASK


cdef scatterlist *as_any(object sg) except NULL:
    if isinstance(sg, SgEntry):
        return (<SgEntry>sg).ptr()
    return as_data(sg)


def sg_is_chain(sg):
    return bool(core.sg_is_chain(as_any(sg)))


def sg_is_last(sg):
    return bool(core.sg_is_last(as_any(sg)))


def sg_mark_end(sg):
    """Make sg the last entry of its list. The table's counts shrink with it, so that C code stays inside."""
    cdef scatterlist *p = as_any(sg)
    slots_from(table_of(sg), p)
    core.sg_mark_end(p)
    trim_counts(table_of(sg))


def sg_unmark_end(sg):
    """Take the end mark away. Walks that reach no other mark then raise ValueError; Linux would run off the array."""
    cdef scatterlist *p = as_any(sg)
    slots_from(table_of(sg), p)
    core.sg_unmark_end(p)
    table_of(sg).loose = True


def sg_is_dma_bus_address(sg):
    return bool(core.sg_is_dma_bus_address(as_any(sg)))


def sg_dma_is_bus_address(sg):
    """6.12's name of sg_is_dma_bus_address."""
    return bool(core.sg_is_dma_bus_address(as_any(sg)))


def sg_dma_mark_bus_address(sg):
    core.sg_dma_mark_bus_address(as_data(sg))


def sg_dma_unmark_bus_address(sg):
    core.sg_dma_unmark_bus_address(as_data(sg))


def sg_dma_is_swiotlb(sg):
    """6.12: some entry of the list that this one leads may be bounced."""
    return bool(core.sg_dma_is_swiotlb(as_any(sg)))


def sg_dma_mark_swiotlb(sg):
    core.sg_dma_mark_swiotlb(as_data(sg))


def sg_is_pci_p2pdma(sg):
    return bool(core.sg_is_pci_p2pdma(as_any(sg)))


def sg_mark_pci_p2pdma(sg):
    """Set the third bit of page_link, the proposal of 2021. The table must have been made with p2pdma_bit=True."""
    if not table_of(sg).p2pdma_bit:
        raise ValueError("this table has no third flag bit (p2pdma_bit=False): page_link bit 2 belongs to the pointer")
    core.sg_mark_pci_p2pdma(as_data(sg))


def sg_unmark_pci_p2pdma(sg):
    core.sg_unmark_pci_p2pdma(as_data(sg))


# -- contents --------------------------------------------------------------------------------------------------

def sg_page(sg):
    return core.sg_page(as_data(sg))


def sg_phys(sg):
    """The first byte's physical address, the offset included."""
    return core.sg_phys(as_data(sg))


def sg_virt(sg):
    """The first byte's linear address: in this model the physical one."""
    return core.sg_phys(as_data(sg))


def sg_dma_address(sg):
    return as_data(sg).dma_address


def sg_dma_len(sg):
    return core.sg_dma_len(as_data(sg), table_of(sg).dma_length)


cdef int check_page(u64 page) except -1:
    if page & core.SG_LINK_FLAGS:
        raise ValueError(f"page {page:#x} is not a frame's address: its low bits are the flags of page_link")
    return 0


def sg_assign_page(sg, u64 page):
    check_page(page)
    core.sg_assign_page(as_data(sg), page)


def sg_set_page(sg, u64 page, u32 length, u32 offset):
    """Page, length and offset; the dma fields and flags stay. offset may exceed a page."""
    check_page(page)
    core.sg_set_page(as_data(sg), page, length, offset)


def sg_set_folio(sg, u64 folio, u64 length, u64 offset):
    """6.12: folio is its head page's address. More than 32 bits are a warning, and are cut off."""
    check_page(folio)
    if length > 0xFFFFFFFF or offset > 0xFFFFFFFF:
        warnings.warn("WARNING: sg_set_folio: length or offset over 32 bits is cut off", RuntimeWarning, stacklevel=2)
    core.sg_set_page(as_data(sg), folio, <u32>length, <u32>offset)


def sg_set_buf(sg, u64 buf, u32 length):
    """buf is a linear address: here a physical one."""
    core.sg_set_buf(as_data(sg), buf, length, table_of(sg).page_shift)


# -- lists -----------------------------------------------------------------------------------------------------

def sg_next(sg):
    """The next data entry, or None after the end."""
    cdef scatterlist *p = core.sg_next(as_sg(sg))
    return None if p == NULL else entry_at(table_of(sg), p)


def sg_nents(sgl):
    """Entries from here to the end mark; None has 0."""
    return 0 if sgl is None else core.sg_nents(as_sg(sgl))


def sg_nents_for_len(sgl, u64 length):
    """The fewest entries that hold length bytes. Raises OSError EINVAL if the list is too short."""
    cdef int ret
    if sgl is None:
        ret = 0 if length == 0 else -EINVAL
    else:
        ret = core.sg_nents_for_len(as_sg(sgl), length)
    core.raise_errno(ret, f"sg_nents_for_len of {length} bytes")
    return ret


def sg_last(sgl, u32 nents):
    """Entry number nents - 1, which must carry the end mark."""
    cdef scatterlist *p = core.sg_last(as_sg(sgl), nents)
    if p == NULL:
        raise ValueError(f"kernel BUG at lib/scatterlist.c: entry {nents} is not the last of the list")
    return entry_at(table_of(sgl), p)


def sg_init_table(sgl, u32 nents):
    """Clear nents entries of one array and mark the last."""
    cdef scatterlist *sg = as_any(sgl)
    cdef SgTable table = table_of(sgl)
    if nents == 0 or nents > slots_from(table, sg):
        raise ValueError(f"sg_init_table of {nents} entries is out of bounds")
    core.sg_init_table(sg, nents)
    trim_counts(table)


def sg_init_one(sg, u64 buf, u32 length):
    sg_init_table(sg, 1)
    sg_set_buf(sg, buf, length)


def sg_init_marker(sgl, u32 nents):
    """Mark entry nents - 1 of an array as the last."""
    cdef scatterlist *sg = as_any(sgl)
    if nents == 0 or nents > slots_from(table_of(sgl), sg):
        raise ValueError(f"sg_init_marker of {nents} entries is out of bounds")
    core.sg_mark_end(sg + nents - 1)
    trim_counts(table_of(sgl))


def sg_chain(prv, u32 prv_nents, SgTable sgl not None):
    """Make entry prv_nents - 1 of the array prv a link to another table's list; what it held is lost.

    The other table cannot be freed while this one lives. The first entry of a list cannot become a link: Linux would
    take it for data.
    """
    cdef scatterlist *first = as_any(prv)
    cdef SgTable table = table_of(prv)
    sgl.first()
    if reaches(sgl, table):
        raise ValueError("a circular list: Linux would walk it for ever")
    if prv_nents < 1 or prv_nents > slots_from(table, first):
        raise ValueError(f"entry {prv_nents} is out of bounds")
    if first + prv_nents - 1 == table.sgt.sgl or core.sg_nents(table.sgt.sgl) < 2:
        raise ValueError("the first entry of a list cannot be a link")
    core.sg_chain(first, prv_nents, sgl.sgt.sgl)
    table.held.append(sgl)
    sgl.exports += 1
    trim_counts(table)


cdef bint reaches(SgTable start, SgTable target):
    cdef SgTable table
    if start is target:
        return True
    for table in start.held:
        if reaches(table, target):
            return True
    return False


def for_each_sg(sgl, u32 nr):
    """Exactly nr entries. Raises ValueError where the list is shorter: Linux would dereference NULL."""
    cdef scatterlist *sg = as_sg(sgl)
    cdef SgTable table = table_of(sgl)
    cdef u32 i
    cdef list out = []
    for i in range(nr):
        if sg == NULL:
            raise ValueError(f"for_each_sg of {nr} entries: the list ends after {i}")
        out.append(entry_at(table, sg))
        sg = core.sg_next(sg)
    return out


def for_each_sgtable_sg(SgTable sgt not None):
    """The entries of the CPU's side."""
    return for_each_sg(sgt, sgt.sgt.orig_nents) if sgt.sgt.orig_nents else []


def for_each_sgtable_dma_sg(SgTable sgt not None):
    """The mapped entries."""
    return for_each_sg(sgt, sgt.sgt.nents) if sgt.sgt.nents else []


# -- tables ----------------------------------------------------------------------------------------------------

def sg_alloc_table(SgTable sgt not None, u32 nents):
    """Give a table a cleared list of nents entries. Raises OSError EINVAL (nents 0, or too long to be unchained) or
    ENOMEM (a retry can help)."""
    cdef sg_table made
    if not sgt.chaining and nents > sgt.max_ents:
        core.raise_errno(-EINVAL, f"sg_alloc_table of {nents} entries without chaining")
    sgt.check_resizable()
    core.raise_errno(core.sg_alloc_table(&made, nents, sgt.max_ents), f"sg_alloc_table of {nents} entries")
    sgt.adopt(&made, sg_block_of(made.sgl))


def sg_free_table(SgTable sgt not None):
    """Free a table's list. Unlike Linux both counts become 0."""
    sgt.release()


def sg_free_append_table(SgTable sgt not None):
    sgt.release()


cdef struct python_alloc:
    PyObject *alloc_fn
    PyObject *error
    sg_block *head
    sg_block *tail


cdef scatterlist *alloc_from_python(unsigned int nents, void *context) noexcept nogil:
    cdef python_alloc *how = <python_alloc *>context
    cdef scatterlist *slots
    cdef sg_block *block
    if how.alloc_fn != NULL:
        with gil:
            try:
                if not (<object>how.alloc_fn)(nents):
                    return NULL
            except BaseException as error:
                (<list>how.error).append(error)
                return NULL
    slots = sg_block_alloc(nents, False)
    if slots == NULL:
        return NULL
    block = sg_block_of(slots)
    if how.head == NULL:
        how.head = block
    else:
        how.tail.next = block
    how.tail = block
    return slots


def __sg_alloc_table(SgTable sgt not None, u32 nents, u32 max_ents, SgTable first_chunk=None, u32 nents_first_chunk=0,
                     alloc_fn=None):
    """__sg_alloc_table with arrays of at most max_ents entries, the first perhaps the memory of another table, which
    passes to this one.

    alloc_fn(n) is called before each array of n entries is allocated; a false answer is a failed allocation. Raises
    OSError EINVAL or ENOMEM; after ENOMEM the table holds what was allocated before, and its counts are one higher
    than its entries (Linux's arithmetic), so free it.
    """
    cdef python_alloc how
    cdef scatterlist *chunk = NULL
    cdef sg_table made
    cdef list errors = []
    cdef int ret
    if first_chunk is not None:
        if first_chunk is sgt:
            raise ValueError("a table cannot be its own first chunk")
        chunk = first_chunk.first()
        if not 2 <= nents_first_chunk <= slots_from(first_chunk, chunk):
            raise ValueError(f"nents_first_chunk {nents_first_chunk} does not fit the first chunk's memory")
        if first_chunk.held:
            raise ValueError("a list that chains to another table cannot be a first chunk")
    sgt.release()
    sgt.exports += 1            # alloc_fn may do anything: neither table can be freed from under us
    if first_chunk is not None:
        first_chunk.exports += 1
    how.alloc_fn = NULL if alloc_fn is None else <PyObject *>alloc_fn
    how.error = <PyObject *>errors
    how.head = how.tail = NULL
    ret = core.sg_alloc_table_with(&made, nents, max_ents, chunk, nents_first_chunk, not sgt.chaining,
                                   alloc_from_python, &how)
    sgt.exports -= 1
    if first_chunk is not None:
        first_chunk.exports -= 1
        if made.sgl != NULL:    # its memory is the new table's now
            how.tail = first_chunk.blocks
            while how.tail.next != NULL:
                how.tail = how.tail.next
            how.tail.next = how.head
            how.head = first_chunk.blocks
            first_chunk.blocks = NULL
            first_chunk.release()
    if made.sgl != NULL:
        sgt.adopt(&made, how.head)
        trim_counts(sgt)
    if errors:
        raise errors[0]
    core.raise_errno(ret, f"__sg_alloc_table of {nents} entries")


def __sg_free_table(SgTable sgt not None, u32 max_ents, u32 nents_first_chunk=0, free_fn=None, num_ents=None):
    """Free a table of __sg_alloc_table; free_fn(n) is told the sizes that Linux computes from num_ents.

    num_ents defaults to orig_nents. A count that differs from the allocated one gives wrong sizes: Linux would leak, or
    free with the wrong allocator; here the memory is freed anyhow. Returns the sizes.
    """
    cdef u32 capacity = nents_first_chunk if nents_first_chunk else max_ents
    cdef u32 left = sgt.sgt.orig_nents if num_ents is None else num_ents
    cdef u32 n
    cdef list sizes = []
    if max_ents < 2 or nents_first_chunk == 1:
        raise ValueError("arrays of one entry cannot be chained")
    sgt.check_resizable()
    if sgt.sgt.sgl == &sgt.none[0]:
        return sizes
    while left:
        n = left if left <= capacity else capacity
        left -= n if left <= capacity else n - 1
        if nents_first_chunk:
            nents_first_chunk = 0
        else:
            sizes.append(n)
        capacity = max_ents
        if len(sizes) > 1 << 20:
            raise ValueError("num_ents makes more than 2^20 arrays")
    if free_fn is not None:
        for n in sizes:
            free_fn(n)
    sgt.release()
    return sizes

# SPDX-License-Identifier: MIT
"""Chained tables from pools (lib/sg_pool.c, Linux 6.1): what the block layer and NVMe use.

Five pools of 8, 16, 32, 64 and 128 entries. A table may begin with an array that the caller has already, often part of
a request, and goes on with arrays of at most SG_CHUNK_SIZE entries.
"""

from scatterlist.core cimport SG_CHUNK_SIZE, SgTable, sg_init_table
from scatterlist.entry cimport trim_counts
from scatterlist.types cimport u32

from scatterlist import entry

_POOLS = (8, 16, 32, 64, 128)
_in_use = dict.fromkeys(_POOLS, 0)


def sg_pool_index(u32 nents):
    """The number of the pool whose arrays hold nents entries. Raises ValueError over 128, where Linux has a BUG()."""
    nents &= 0xFFFF         # an unsigned short in Linux
    if nents > SG_CHUNK_SIZE:
        raise ValueError(f"kernel BUG at lib/sg_pool.c: {nents} entries of a pool of {SG_CHUNK_SIZE}")
    return 0 if nents <= 8 else (nents - 1).bit_length() - 3


def sg_pool_usage():
    """{pool size: arrays in use}. A table that sg_free_table_chained never saw stays counted: Linux would leak it."""
    return dict(_in_use)


def _take(n):
    _in_use[_POOLS[sg_pool_index(n)]] += 1
    return True


def _give_back(n):
    _in_use[_POOLS[sg_pool_index(n)]] -= 1


def sg_alloc_table_chained(SgTable sgt not None, u32 nents, SgTable first_chunk=None, u32 nents_first_chunk=0):
    """Give a table nents entries, the first nents_first_chunk of them (if over 1) in first_chunk's memory.

    If they all fit the first chunk, Linux only sets the counts and clears the list that the table has already: give the
    table as its own first_chunk. Otherwise the first chunk's memory passes to the table. Raises OSError ENOMEM (a retry
    can help), ValueError where Linux would BUG() or follow NULL.
    """
    cdef SgTable chunk
    if nents == 0 or nents > 0x7FFFFFFF:
        raise ValueError(f"kernel BUG at lib/sg_pool.c: sg_alloc_table_chained of {nents} entries")
    if first_chunk is not None and nents_first_chunk and nents <= nents_first_chunk:
        sgt.check_resizable()
        if sgt.sgt.sgl == &sgt.none[0]:
            raise ValueError("the first chunk must be the table's list already: Linux would follow NULL")
        if sgt.blocks == NULL or sgt.blocks.n < nents:
            raise ValueError(f"the table's list has no room for {nents} entries")
        sg_init_table(sgt.sgt.sgl, nents)
        sgt.sgt.nents = sgt.sgt.orig_nents = nents
        trim_counts(sgt)
        return
    if nents_first_chunk <= 1:
        first_chunk = None
        nents_first_chunk = 0
    elif first_chunk is None:
        sg_pool_index(min(nents, nents_first_chunk))
    elif first_chunk is sgt:
        chunk = SgTable(None, page_shift=sgt.page_shift, max_ents=sgt.max_ents)
        sgt.first()
        sgt.check_resizable()
        chunk.adopt(&sgt.sgt, sgt.blocks)
        sgt.blocks = NULL
        sgt.release()
        first_chunk = chunk
    taken = []

    def take(n):
        taken.append(n)
        return _take(n)

    try:
        entry.__sg_alloc_table(sgt, nents, SG_CHUNK_SIZE, first_chunk, nents_first_chunk, take)
    except BaseException:
        for n in taken:
            _give_back(n)
        sgt.release()
        raise


def sg_free_table_chained(SgTable sgt not None, u32 nents_first_chunk=0):
    """Give a table's arrays back; nents_first_chunk as in the allocation. A table within its first chunk is kept."""
    if sgt.sgt.orig_nents <= nents_first_chunk:
        return
    if nents_first_chunk == 1:
        nents_first_chunk = 0
    entry.__sg_free_table(sgt, SG_CHUNK_SIZE, nents_first_chunk, _give_back)

# SPDX-License-Identifier: MIT
"""sg_split (lib/sg_split.c, Linux 6.1 and 6.12, which do not differ).

Its faults are modelled:
- the loop that assigns entries decrements the number of splits left twice when the last split ends inside an entry, so
  it misses zero and appends every later entry: 100/100/100 split into {50, 100} gives the second output 50, 100, 0;
- a skip equal to an entry's length keeps that entry with length 0;
- without CONFIG_NEED_SG_DMA_LENGTH, clearing the dma length clears the CPU's length of all but the last entry;
- dma_flags are copied with the CPU's entry, the dma address with the mapped one: marks can end on the wrong entry.
"""

from libc.errno cimport EFAULT, EINVAL, ENOMEM
from libc.stdlib cimport calloc, free

from scatterlist.core cimport (
    SgTable,
    raise_errno,
    sg_block_alloc,
    sg_block_free_all,
    sg_block_of,
    sg_dma_len,
    sg_mark_end,
    sg_nents,
    sg_next,
    sg_set_dma_len,
    sg_table,
)
from scatterlist.entry cimport as_sg, table_of

cdef struct splitter:
    scatterlist *in_sg0
    int nents
    s64 skip_sg0
    unsigned int length_last_sg
    int allocated
    scatterlist *out_sg


cdef int calculate(scatterlist *sg, int nents, int nb_splits, s64 skip, const size_t *sizes, splitter *curr,
                   bint mapped, bint dma_length) noexcept nogil:
    """Find each output's first entry, entry count, and bytes in its last entry. -EINVAL if the input is too short,
    -EFAULT if it has fewer than nents entries."""
    cdef splitter *first = curr
    cdef size_t size = sizes[0], length
    cdef unsigned int sglen
    cdef int i
    for i in range(nb_splits):
        curr[i].in_sg0 = NULL
        curr[i].nents = 0
    for i in range(nents):
        if i:
            sg = sg_next(sg)
        if sg == NULL:
            return -EFAULT
        sglen = sg_dma_len(sg, dma_length) if mapped else sg.length
        if skip > <s64>sglen:
            skip -= sglen
            continue
        length = min(size, <size_t>(<s64>sglen - skip))
        if curr.in_sg0 == NULL:
            curr.in_sg0 = sg
            curr.skip_sg0 = skip
        size -= length
        curr.nents += 1
        curr.length_last_sg = <unsigned int>length
        while size == 0 and <size_t>skip + length < sglen:
            nb_splits -= 1
            if nb_splits <= 0:
                break
            curr += 1
            sizes += 1
            skip += length
            size = sizes[0]
            length = min(size, <size_t>(<s64>sglen - skip))
            curr.in_sg0 = sg
            curr.skip_sg0 = skip
            curr.nents = 1
            curr.length_last_sg = <unsigned int>length
            size -= length
        skip = 0
        if size == 0:
            nb_splits -= 1
            if nb_splits > 0:
                curr += 1
                sizes += 1
                size = sizes[0]
        if nb_splits == 0:
            break
    return -EINVAL if size or first.in_sg0 == NULL else 0


cdef void split_phys(splitter *split, bint dma_length) noexcept nogil:
    cdef scatterlist *sg = split.in_sg0
    cdef scatterlist *out = split.out_sg
    cdef int j
    for j in range(split.nents):
        out[j] = sg[0]
        if j == 0:
            out.offset += <unsigned int>split.skip_sg0
            out.length -= <unsigned int>split.skip_sg0
        out[j].dma_address = 0
        sg_set_dma_len(&out[j], 0, dma_length)
        sg = sg_next(sg)
    out[split.nents - 1].length = split.length_last_sg
    sg_mark_end(&out[split.nents - 1])


cdef void split_mapped(splitter *split, bint dma_length) noexcept nogil:
    cdef scatterlist *sg = split.in_sg0
    cdef scatterlist *out = split.out_sg
    cdef int j
    for j in range(split.nents):
        out[j].dma_address = sg.dma_address
        sg_set_dma_len(&out[j], sg_dma_len(sg, dma_length), dma_length)
        if j == 0:
            out.dma_address += split.skip_sg0
            sg_set_dma_len(out, sg_dma_len(out, dma_length) - <unsigned int>split.skip_sg0, dma_length)
        sg = sg_next(sg)
    sg_set_dma_len(&out[split.nents - 1], split.length_last_sg, dma_length)


cdef int sg_split(scatterlist *sgl, int in_mapped_nents, s64 skip, int nb_splits, const size_t *sizes,
                  scatterlist **out, int *out_mapped_nents, bint dma_length) noexcept nogil:
    """Split a list into nb_splits new arrays of the given sizes, after skip bytes.

    0 with out filled (each an array of its own, freed with sg_block_free_all(sg_block_of(it))) and out_mapped_nents, if
    not NULL, the entries of each (mapped ones if in_mapped_nents); -EINVAL if the input is too short, -ENOMEM, -EFAULT
    where Linux would write out of bounds: an output without an entry (size 0), more mapped entries than the output has.
    """
    cdef splitter *splitters
    cdef int i, ret
    if nb_splits < 1:
        return -EFAULT
    splitters = <splitter *>calloc(nb_splits, sizeof(splitter))
    if splitters == NULL:
        return -ENOMEM
    ret = calculate(sgl, <int>sg_nents(sgl), nb_splits, skip, sizes, splitters, False, dma_length)
    if ret == 0:
        for i in range(nb_splits):
            if splitters[i].nents == 0:
                ret = -EFAULT
                break
            splitters[i].allocated = splitters[i].nents
            splitters[i].out_sg = sg_block_alloc(splitters[i].nents, False)
            if splitters[i].out_sg == NULL:
                ret = -ENOMEM
                break
    if ret == 0:
        for i in range(nb_splits):
            split_phys(&splitters[i], dma_length)
        if in_mapped_nents:
            ret = calculate(sgl, in_mapped_nents, nb_splits, skip, sizes, splitters, True, dma_length)
            for i in range(nb_splits):
                if ret == 0 and not 0 < splitters[i].nents <= splitters[i].allocated:
                    ret = -EFAULT
            if ret == 0:
                for i in range(nb_splits):
                    split_mapped(&splitters[i], dma_length)
    for i in range(nb_splits):
        if ret == 0:
            out[i] = splitters[i].out_sg
            if out_mapped_nents != NULL:
                out_mapped_nents[i] = splitters[i].nents
        elif splitters[i].out_sg != NULL:
            sg_block_free_all(sg_block_of(splitters[i].out_sg))
    free(splitters)
    return ret


# -- Python ----------------------------------------------------------------------------------------------------

def sg_split_(sgl, int in_mapped_nents, long long skip, sizes):
    """Split a list into new ones of the given sizes in bytes, after skip bytes of it: (tables, mapped counts).

    in_mapped_nents is what dma_map_sg answered, 0 if the list is not mapped. Each table's orig_nents is its number of
    entries, nents its mapped count (the same if not mapped). Raises OSError EINVAL if the list is too short, ENOMEM (a
    retry can help); ValueError where Linux would write out of bounds: a size of 0 that gets no entry, say.
    """
    cdef scatterlist *sg = as_sg(sgl)
    cdef SgTable source = table_of(sgl)
    cdef SgTable table
    cdef list wanted = [size for size in sizes]
    cdef int n = len(wanted)
    cdef size_t *c_sizes
    cdef scatterlist **out
    cdef int *mapped
    cdef sg_table made
    cdef int i, ret
    cdef list tables = []
    cdef list counts = []
    if skip < 0 or in_mapped_nents < 0 or not wanted:
        raise ValueError("skip and in_mapped_nents must not be negative, and there must be a size")
    c_sizes = <size_t *>calloc(n, sizeof(size_t))
    out = <scatterlist **>calloc(n, sizeof(scatterlist *))
    mapped = <int *>calloc(n, sizeof(int))
    try:
        if c_sizes == NULL or out == NULL or mapped == NULL:
            raise MemoryError
        for i in range(n):
            c_sizes[i] = wanted[i]
        ret = sg_split(sg, in_mapped_nents, skip, n, c_sizes, out, mapped, source.dma_length)
        if ret == -EFAULT:
            raise ValueError("sg_split: Linux would access memory out of bounds (an output without entries, or more "
                             "mapped entries than there are)")
        raise_errno(ret, f"sg_split into {n}")
        for i in range(n):
            made.sgl = out[i]
            made.orig_nents = made.nents = sg_nents(out[i])
            table = SgTable(None, page_shift=source.page_shift, max_ents=source.max_ents, dma_length=source.dma_length,
                            chaining=source.chaining, p2pdma_bit=source.p2pdma_bit)
            table.adopt(&made, sg_block_of(out[i]))
            out[i] = NULL
            table.sgt.nents = mapped[i]
            tables.append(table)
            counts.append(mapped[i])
    finally:
        for i in range(n):
            if out != NULL and out[i] != NULL:
                sg_block_free_all(sg_block_of(out[i]))
        free(c_sizes)
        free(out)
        free(mapped)
    return tables, counts

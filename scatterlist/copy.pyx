# SPDX-License-Identifier: MIT
"""Copies between a list and a linear buffer (lib/scatterlist.c, Linux 6.1).

The list's pages are those of a PhysMem. Each function answers the bytes moved, which may be fewer than asked for. The
running count is 32 bits wide in Linux: buffers of 4 GiB and more misbehave there, and are refused here.
"""

from libc.errno cimport ENOMEM

from scatterlist.core cimport SgTable, raise_errno
from scatterlist.entry cimport as_sg, table_of
from scatterlist.iterators cimport (
    SG_MITER_ATOMIC,
    SG_MITER_FROM_SG,
    SG_MITER_TO_SG,
    sg_mapping_iter,
    sg_miter_next,
    sg_miter_skip,
    sg_miter_start,
    sg_miter_stop,
)
from scatterlist.memory cimport _Borrowed, borrow
from scatterlist.types cimport u8, u32


cdef s64 sg_copy_buffer(scatterlist *sgl, unsigned int nents, PhysMem mem, void *buf, size_t buflen, s64 skip,
                        bint to_buffer, unsigned int page_shift) noexcept nogil:
    """Bytes copied, 0 if skip is beyond the end, -ENOMEM if the memory model has none left."""
    cdef unsigned int done = 0
    cdef size_t step
    cdef sg_mapping_iter miter
    sg_miter_start(&miter, sgl, nents, SG_MITER_ATOMIC | (SG_MITER_FROM_SG if to_buffer else SG_MITER_TO_SG))
    if not sg_miter_skip(&miter, skip, page_shift):
        return 0
    while done < buflen and sg_miter_next(&miter, page_shift):
        step = miter.length if miter.length < buflen - done else buflen - done
        if to_buffer:
            mem.read(miter.addr, <u8 *>buf + done, step)
        elif mem.write(miter.addr, <u8 *>buf + done, step):
            return -ENOMEM
        done += <unsigned int>step
    sg_miter_stop(&miter)
    return done


cdef s64 sg_zero_buffer(scatterlist *sgl, unsigned int nents, PhysMem mem, size_t buflen, s64 skip,
                        unsigned int page_shift) noexcept nogil:
    """Bytes zeroed."""
    cdef unsigned int done = 0
    cdef size_t step
    cdef sg_mapping_iter miter
    sg_miter_start(&miter, sgl, nents, SG_MITER_ATOMIC | SG_MITER_TO_SG)
    if not sg_miter_skip(&miter, skip, page_shift):
        return 0
    while done < buflen and sg_miter_next(&miter, page_shift):
        step = miter.length if miter.length < buflen - done else buflen - done
        mem.fill(miter.addr, 0, step)
        done += <unsigned int>step
    sg_miter_stop(&miter)
    return done


# -- Python ----------------------------------------------------------------------------------------------------

cdef int check(unsigned long long buflen, long long skip) except -1:
    if skip < 0:
        raise ValueError("a negative skip: Linux would leave the list")
    if buflen > 0xFFFFFFFF:
        raise ValueError("4 GiB and more: Linux's 32-bit count would wrap")
    return 0


cdef size_t amount(object buflen, Py_ssize_t available) except? 0:
    if buflen is None:
        return available
    if not 0 <= buflen <= available:
        raise ValueError(f"buflen {buflen} of a buffer of {available} bytes")
    return buflen


cdef object copy_out(PhysMem mem, sgl, u32 nents, buf, buflen, long long skip):
    cdef _Borrowed into = borrow(buf, writable=True)
    cdef size_t n = amount(buflen, into.view.len)
    cdef scatterlist *sg = as_sg(sgl)
    cdef SgTable table = table_of(sgl)
    check(n, skip)
    return sg_copy_buffer(sg, nents, mem, into.view.buf, n, skip, True, table.page_shift)


cdef object copy_in(PhysMem mem, sgl, u32 nents, buf, buflen, long long skip):
    cdef _Borrowed source = borrow(buf)
    cdef size_t n = amount(buflen, source.view.len)
    cdef scatterlist *sg = as_sg(sgl)
    cdef SgTable table = table_of(sgl)
    cdef s64 ret
    check(n, skip)
    ret = sg_copy_buffer(sg, nents, mem, source.view.buf, n, skip, False, table.page_shift)
    raise_errno(-ENOMEM if ret < 0 else 0, "sg_copy_from_buffer")
    return ret


def sg_copy_buffer_(PhysMem mem not None, sgl, u32 nents, buf, buflen=None, long long skip=0, bint to_buffer=False):
    """Copy between a list (its first nents entries, after skip bytes) and a buffer; the bytes moved.

    mem is the memory that the list's pages are in, buflen the buffer's size by default. Raises ValueError for a
    negative skip or 4 GiB and more, OSError ENOMEM if the memory model has no memory left (part is copied then).
    """
    return (copy_out if to_buffer else copy_in)(mem, sgl, nents, buf, buflen, skip)


def sg_copy_to_buffer(PhysMem mem not None, sgl, u32 nents, buf, buflen=None):
    """From a list into a writable buffer; the bytes moved."""
    return copy_out(mem, sgl, nents, buf, buflen, 0)


def sg_copy_from_buffer(PhysMem mem not None, sgl, u32 nents, buf, buflen=None):
    """From a buffer into a list; the bytes moved."""
    return copy_in(mem, sgl, nents, buf, buflen, 0)


def sg_pcopy_to_buffer(PhysMem mem not None, sgl, u32 nents, buf, buflen=None, long long skip=0):
    """sg_copy_to_buffer after skip bytes of the list."""
    return copy_out(mem, sgl, nents, buf, buflen, skip)


def sg_pcopy_from_buffer(PhysMem mem not None, sgl, u32 nents, buf, buflen=None, long long skip=0):
    """sg_copy_from_buffer after skip bytes of the list."""
    return copy_in(mem, sgl, nents, buf, buflen, skip)


def sg_zero_buffer_(PhysMem mem not None, sgl, u32 nents, size_t buflen, long long skip=0):
    """Zero buflen bytes of a list after skip bytes; the bytes zeroed."""
    cdef scatterlist *sg = as_sg(sgl)
    cdef SgTable table = table_of(sgl)
    check(buflen, skip)
    return sg_zero_buffer(sg, nents, mem, buflen, skip, table.page_shift)

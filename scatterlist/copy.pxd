# SPDX-License-Identifier: MIT
"""Copies between a list and a linear buffer (lib/scatterlist.c)."""

from scatterlist._structs cimport scatterlist
from scatterlist.memory cimport PhysMem
from scatterlist.types cimport s64

cdef s64 sg_copy_buffer(scatterlist *sgl, unsigned int nents, PhysMem mem, void *buf, size_t buflen, s64 skip,
                        bint to_buffer, unsigned int page_shift) noexcept nogil
cdef s64 sg_zero_buffer(scatterlist *sgl, unsigned int nents, PhysMem mem, size_t buflen, s64 skip,
                        unsigned int page_shift) noexcept nogil

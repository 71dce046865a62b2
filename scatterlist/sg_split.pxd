# SPDX-License-Identifier: MIT
"""lib/sg_split.c"""

from scatterlist._structs cimport scatterlist
from scatterlist.types cimport s64

cdef int sg_split(scatterlist *sgl, int in_mapped_nents, s64 skip, int nb_splits, const size_t *sizes,
                  scatterlist **out, int *out_mapped_nents, bint dma_length) noexcept nogil

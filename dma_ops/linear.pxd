# SPDX-License-Identifier: MIT
"""Physical memory that C code reaches by pointers."""

from scatterlist.memory cimport PhysMem
from scatterlist.types cimport u8, u64

cdef class LinearMem(PhysMem):
    cdef u8 *base                       # of physical byte 0
    cdef readonly u64 size              # of the linear map
    cdef void *reserved
    cdef size_t reserved_size

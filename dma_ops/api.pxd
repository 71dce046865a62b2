# SPDX-License-Identifier: MIT
"""What C code may rely on, checked at the border to Python."""

from scatterlist.types cimport u64

from .device cimport Device

cdef u64 MAX_MAPPING                # bytes: more than any backend has room for

cdef int check_device(Device dev) except -1
cdef int check_mapped(Device dev, size_t size) except -1

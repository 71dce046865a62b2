# SPDX-License-Identifier: MIT
"""A shared object of C code on a machine; c_kernel has what Cython code that calls C code needs."""

from scatterlist.types cimport u64

from ._c_api cimport dma_conformance_object
from .c_kernel cimport Kernel

cdef class CObject:
    """A loaded shared object."""
    cdef readonly str path
    cdef readonly Kernel kernel
    cdef int fd                         # of the copy that is loaded
    cdef void *handle
    cdef dma_conformance_object *object

    cdef int bind(self) except -1
    cdef void *find(self, str name) except NULL
    cdef u64 argument(self, argument, list keep) except? 0xBADBADBADBADBAD

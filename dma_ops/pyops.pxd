# SPDX-License-Identifier: MIT
"""dma_map_ops written in Python, and in Python around a compiled one."""

from scatterlist.core cimport scatterlist

from .device cimport DmaMapOps
from .phys cimport PhysMapOps

cdef class SgView:
    cdef scatterlist **at               # the entries, NULL once the call is over
    cdef int nents

    cdef scatterlist *entry(self, Py_ssize_t i) except NULL

cdef class PyDmaMapOps(PhysMapOps):
    cdef unsigned long python           # the OP_* bits of what the Python class defines
    cdef readonly DmaMapOps inner       # asked for the rest, or None

    cdef object member(self, str name)

cdef class WrappedOps(PyDmaMapOps):
    cdef DmaMapOps _inner(self)
    cdef PhysMapOps _phys(self, unsigned long bit)

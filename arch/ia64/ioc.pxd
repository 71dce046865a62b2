# SPDX-License-Identifier: MIT
"""The I/O controller of HP's zx1 and sx1000 families, the hardware's side."""

from dma_ops.device cimport Walker
from dma_ops.machine cimport Machine
from scatterlist.types cimport u64

cdef u64 PDIR_VALID                 # bit 63 of an entry

cdef class Ioc(Walker):
    cdef readonly Machine machine
    cdef readonly u64 ibase         # bit 0: translation is on
    cdef readonly u64 imask
    cdef readonly u64 tcnfg         # page size: 0 is 4 KiB, 1 8, 2 16, 3 64
    cdef readonly u64 pdir_base
    cdef unsigned int shift

    cdef void pcom(self, u64 value) noexcept nogil

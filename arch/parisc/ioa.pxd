# SPDX-License-Identifier: MIT
"""HP I/O adapters, the hardware's side: U2/Uturn (ccio) and Astro, Ike, REO, Pluto (sba)."""

from dma_ops.device cimport Walker
from dma_ops.machine cimport Machine
from scatterlist.types cimport u32, u64

# ccio: the second word of an entry
cdef enum:
    IOPDIR_VALID = 0x01
    HINT_SAFE_DMA = 0x02            # read, modify and write partial cache lines
    HINT_STOP_MOST = 0x04           # atomic across cache lines, for EISA
    HINT_PREFETCH = 0x10
    CCIO_CHAINID_SHIFT = 8
    CMD_TLB_PURGE = 33

cdef u64 SBA_PDIR_VALID             # bit 63 of an sba entry

cdef class IoAdapter(Walker):
    cdef readonly Machine machine

    cdef void command(self, u64 value) noexcept nogil

cdef class CcioIoa(IoAdapter):
    cdef readonly u32 io_pdir_base
    cdef readonly u32 io_chain_id_mask

cdef class SbaIoc(IoAdapter):
    cdef readonly u64 ibase             # bit 0: translation is on
    cdef readonly u64 imask
    cdef readonly u64 pdir_base
    cdef readonly u64 frame_mask        # the physical address bits that an entry holds

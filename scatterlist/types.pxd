# SPDX-License-Identifier: MIT
"""The integer types that every package shares, in Linux's spelling."""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

ctypedef uint8_t u8
ctypedef uint16_t u16
ctypedef uint32_t u32
ctypedef uint64_t u64
ctypedef int32_t s32
ctypedef int64_t s64

ctypedef u64 dma_addr_t     # an address as the device puts it on its bus
ctypedef u64 phys_addr_t    # an address as the CPU puts it on its bus
ctypedef u64 page_t         # struct page *: a token equal to the frame's physical address, never dereferenced

# SPDX-License-Identifier: MIT
"""What an architecture looks like to DMA: word size, pages, RAM, caches, and the memory itself."""

from scatterlist.memory cimport PhysMem
from scatterlist.types cimport dma_addr_t, page_t, phys_addr_t, u8, u32, u64

from .cache cimport Cache

cdef struct mem_range:
    u64 start
    u64 end                     # exclusive

cdef struct pgmap_range:        # P2P memory registered with pci_p2pdma_add_resource: one dev_pagemap
    u64 start
    u64 end                     # exclusive
    u64 bus_offset              # bus address = phys + bus_offset, modulo 2^64
    u32 provider                # index into Machine.providers
    u32 pgmap                   # unique per add_resource call, never 0

cdef class Machine:
    cdef readonly str name
    cdef readonly str arch
    cdef readonly int bits                  # 32 or 64: unsigned long
    cdef readonly bint big_endian
    cdef readonly unsigned int page_shift
    cdef readonly u64 page_size
    cdef readonly u64 dma_addr_mask         # all ones of dma_addr_t; equals DMA_MAPPING_ERROR on this machine
    cdef readonly u64 phys_addr_mask
    cdef readonly u64 ulong_mask
    cdef readonly bint need_sg_dma_length   # CONFIG_NEED_SG_DMA_LENGTH: else sg_dma_len() is sg->length itself
    cdef readonly bint arch_no_sg_chain     # CONFIG_ARCH_NO_SG_CHAIN
    cdef readonly bint pci_p2pdma           # CONFIG_PCI_P2PDMA
    cdef readonly unsigned int zone_dma_bits
    cdef readonly bint has_zone_dma
    cdef readonly bint bounce_unaligned_kmalloc    # CONFIG_DMA_BOUNCE_UNALIGNED_KMALLOC (6.12, arm64)
    cdef readonly int kernel                # 100 * major + minor: 601, 612, 617
    cdef readonly int nr_cpus
    cdef public int cpu                     # smp_processor_id()
    cdef readonly PhysMem mem
    cdef mem_range *ram                     # ascending, disjoint
    cdef int nr_ram
    cdef pgmap_range *pgmaps                # ascending by start
    cdef int nr_pgmaps
    cdef public list providers
    cdef public list dmesg                  # WARN and printk lines that a test may look at
    cdef public list events                 # None, or the log of ("sync_dev" | "sync_cpu" | ..., phys, len, dir)
    cdef Cache cache                        # the CPU's, or None: see cpu_write()
    cdef list alloc_feed                    # physical addresses that the next alloc_pages calls answer
    cdef dict allocated                     # phys -> order
    cdef list blocks                        # the same, ascending
    cdef list vmaps                         # (kernel address, end, pages), ascending
    cdef u64 table_next
    cdef dict table_free
    cdef list fail_plan                     # fault injection: [kind, countdown]
    cdef bint fail_armed

    cdef phys_addr_t alloc_pages(self, unsigned int order, u64 limit) except? 0xBADBADBADBADBAD nogil
    cdef int free_pages(self, phys_addr_t page, unsigned int order) except -9999 nogil
    cdef phys_addr_t alloc_table(self, u64 size, u64 align) except? 0xBADBADBADBADBAD nogil
    cdef int free_table(self, phys_addr_t table, u64 size) except -9999 nogil
    cdef phys_addr_t end_of_ram(self) noexcept nogil
    cdef bint is_ram(self, phys_addr_t addr) noexcept nogil
    cdef pgmap_range *find_pgmap(self, phys_addr_t addr) noexcept nogil
    cdef int warn(self, const char *message) except -9999 nogil
    cdef bint should_fail(self, const char *kind) noexcept nogil
    cdef int maintain(self, u64 addr, u64 size, bint clean, bint invalidate) except -9999 nogil
    cpdef int snoop(self, u64 addr, u64 size) except -9999
    cdef int zero(self, phys_addr_t addr, u64 size) except -9999 nogil
    cdef int set_mem(self, PhysMem mem) except -1
    cdef int set_uncached(self, phys_addr_t addr, u64 size, bint on) except -9999 nogil
    cdef int sync_for_device(self, phys_addr_t addr, u64 size, int dir) except -9999 nogil
    cdef int sync_for_cpu(self, phys_addr_t addr, u64 size, int dir) except -9999 nogil

cdef inline bint is_pci_p2pdma_page(Machine m, page_t page) noexcept nogil:
    return m.nr_pgmaps != 0 and m.find_pgmap(page) != NULL

cdef u64 PHYS_NONE      # what alloc_pages and alloc_table answer when there is no memory: all ones

# SPDX-License-Identifier: MIT
"""struct device as the DMA layer sees it, struct dma_map_ops, and the hardware's side of a mapping."""

from scatterlist.core cimport scatterlist, sg_table
from scatterlist.types cimport dma_addr_t, page_t, phys_addr_t, u32, u64

from .iotlb cimport Iotlb
from .machine cimport Machine

cdef enum:
    DMA_BIDIRECTIONAL = 0
    DMA_TO_DEVICE = 1
    DMA_FROM_DEVICE = 2
    DMA_NONE = 3

cdef enum:
    DMA_ATTR_WEAK_ORDERING = 1 << 1
    DMA_ATTR_WRITE_COMBINE = 1 << 2
    DMA_ATTR_NO_KERNEL_MAPPING = 1 << 4
    DMA_ATTR_SKIP_CPU_SYNC = 1 << 5
    DMA_ATTR_FORCE_CONTIGUOUS = 1 << 6
    DMA_ATTR_ALLOC_SINGLE_PAGES = 1 << 7
    DMA_ATTR_NO_WARN = 1 << 8
    DMA_ATTR_PRIVILEGED = 1 << 9
    DMA_ATTR_MMIO = 1 << 10                     # 6.17
    DMA_ATTR_REQUIRE_COHERENT = 1 << 12         # newest

cdef enum:
    DMA_F_PCI_P2PDMA_SUPPORTED = 1 << 0         # dma_map_ops.flags

# dma_map_ops members that a backend fills (DmaMapOps.filled); one that Linux leaves NULL is absent here too.
cdef enum:
    OP_ALLOC = 1 << 0
    OP_FREE = 1 << 1
    OP_ALLOC_PAGES = 1 << 2
    OP_FREE_PAGES = 1 << 3
    OP_ALLOC_NONCONTIGUOUS = 1 << 4
    OP_FREE_NONCONTIGUOUS = 1 << 5
    OP_MMAP = 1 << 6
    OP_GET_SGTABLE = 1 << 7
    OP_MAP_PAGE = 1 << 8
    OP_UNMAP_PAGE = 1 << 9
    OP_MAP_SG = 1 << 10
    OP_UNMAP_SG = 1 << 11
    OP_MAP_RESOURCE = 1 << 12
    OP_UNMAP_RESOURCE = 1 << 13
    OP_SYNC_SINGLE_FOR_CPU = 1 << 14
    OP_SYNC_SINGLE_FOR_DEVICE = 1 << 15
    OP_SYNC_SG_FOR_CPU = 1 << 16
    OP_SYNC_SG_FOR_DEVICE = 1 << 17
    OP_CACHE_SYNC = 1 << 18
    OP_DMA_SUPPORTED = 1 << 19
    OP_GET_REQUIRED_MASK = 1 << 20
    OP_MAX_MAPPING_SIZE = 1 << 21
    OP_OPT_MAPPING_SIZE = 1 << 22
    OP_GET_MERGE_BOUNDARY = 1 << 23

# what Walker.translate answers
cdef enum:
    WALK_OK = 0
    WALK_NOT_PRESENT = -1
    WALK_PERMISSION = -2
    WALK_OUT_OF_RANGE = -3
    WALK_MALFORMED = -4

cdef struct bus_dma_region:     # one row of dev->dma_range_map
    u64 cpu_start
    u64 dma_start
    u64 size

cdef class Walker:
    """The hardware: decodes the translation table in memory, and nothing else."""
    cdef readonly Iotlb iotlb                   # what it remembers of the table, or None: it looks each time

    cdef int translate(self, Device dev, dma_addr_t addr, bint write, phys_addr_t *phys,
                       u64 *run) except -9999 nogil
    cdef int reach(self, Device dev, dma_addr_t addr, u64 want, bint write, phys_addr_t *phys,
                   u64 *run) except -9999 nogil

cdef class IoTlbMemBase:
    """struct io_tlb_mem, whose fields dma_ops.swiotlb declares."""

cdef class Device:
    cdef readonly str name
    cdef readonly Machine machine
    cdef public DmaMapOps dma_ops               # None: no table, that is dma-direct
    cdef public DmaMapOps direct                # what dma-direct means on this machine
    cdef public IoTlbMemBase io_tlb_mem         # the bounce pool, or None
    cdef public object pci                      # its place in the PCI tree (dma_ops.p2pdma.PciDev), or None
    cdef public object coherent_pool            # dma_declare_coherent_memory's pool, or None
    cdef public object debug                    # dma-debug's state (dma_ops.debug), or None
    cdef public bint has_dma_mask               # False: dev->dma_mask is NULL
    cdef public u64 dma_mask
    cdef public u64 coherent_dma_mask
    cdef public u64 bus_dma_limit               # 0: none
    cdef public bint has_dma_parms
    cdef public u32 max_segment_size            # dma_parms, 0: default
    cdef public u32 min_align_mask
    cdef public u64 segment_boundary_mask       # dma_parms, 0: default
    cdef bus_dma_region *ranges                 # dev->dma_range_map
    cdef int nr_ranges
    cdef public u64 dma_offset                  # dma = phys + dma_offset without a range map (powerpc's archdata)
    cdef public bint is_pci
    cdef public bint dma_coherent
    cdef public bint untrusted                  # pci_dev.untrusted
    cdef public bint dma_ops_bypass
    cdef public bint dma_skip_sync              # 6.12 and later
    cdef public bint pci_32bit_workaround       # 6.4 and later: iommu-dma still tries below 4 GiB first

    cdef dma_addr_t phys_to_dma(self, phys_addr_t phys) noexcept nogil
    cdef phys_addr_t dma_to_phys(self, dma_addr_t dma) noexcept nogil
    cdef u64 dma_limit(self) noexcept nogil
    cdef bint all_ram_mapped(self) noexcept nogil

cdef inline u64 min_not_zero(u64 a, u64 b) noexcept nogil:
    return b if a == 0 else a if b == 0 else a if a < b else b

cdef inline unsigned int dma_get_max_seg_size(Device dev) noexcept nogil:
    return dev.max_segment_size if dev.has_dma_parms and dev.max_segment_size else 65536

cdef inline u64 dma_get_seg_boundary(Device dev) noexcept nogil:
    return dev.segment_boundary_mask if dev.has_dma_parms and dev.segment_boundary_mask else dev.machine.ulong_mask

cdef inline u64 dma_get_seg_boundary_nr_pages(Device dev, unsigned int shift) noexcept nogil:
    """Boundary in pages of 1 << shift bytes (include/linux/dma-mapping.h)."""
    return (dma_get_seg_boundary(dev) >> shift) + 1

cdef inline u32 dma_get_min_align_mask(Device dev) noexcept nogil:
    return dev.min_align_mask if dev.has_dma_parms else 0

cdef inline bint is_dma_error(Device dev, dma_addr_t addr) noexcept nogil:
    """Is this DMA_MAPPING_ERROR, all ones of the machine's dma_addr_t?"""
    return (addr & dev.machine.dma_addr_mask) == dev.machine.dma_addr_mask

cdef inline bint dma_capable(Device dev, dma_addr_t addr, size_t size, bint is_ram) noexcept nogil:
    """Can the device reach all of a mapping? Zero bytes end one before their start (include/linux/dma-direct.h)."""
    cdef u64 mask = dev.machine.dma_addr_mask
    cdef u64 end = (addr + size - 1) & mask
    if (addr & mask) == mask:
        return False
    if is_ram and mask >> 32 == 0 and min(addr & mask, end) < dev.phys_to_dma(dev.machine.ram[0].start) & mask:
        return False                            # a 32-bit dma_addr_t that wrapped
    return end <= min_not_zero(dev.dma_mask, dev.bus_dma_limit)

cdef class DmaMapOps:
    """struct dma_map_ops of Linux 6.1. Results are its own: 0, counts, -errno, DMA_MAPPING_ERROR as 64 one bits.

    cpu_addr of the alloc family is the buffer's kernel address; in the linear map that is its physical address.
    """
    cdef readonly unsigned long flags           # DMA_F_*
    cdef readonly unsigned long filled          # OP_*
    cdef readonly Walker walker

    cdef int alloc(self, Device dev, size_t size, dma_addr_t *dma_handle, u64 *cpu_addr,
                   unsigned long attrs) except -9999 nogil
    cdef int free(self, Device dev, size_t size, u64 cpu_addr, dma_addr_t dma_handle,
                  unsigned long attrs) except -9999 nogil
    cdef int alloc_pages(self, Device dev, size_t size, dma_addr_t *dma_handle, page_t *page,
                         int dir) except -9999 nogil
    cdef int free_pages(self, Device dev, size_t size, page_t page, dma_addr_t dma_handle, int dir) except -9999 nogil
    cdef int alloc_noncontiguous(self, Device dev, size_t size, sg_table *sgt, int dir,
                                 unsigned long attrs) except -9999 nogil
    cdef int free_noncontiguous(self, Device dev, size_t size, sg_table *sgt, int dir) except -9999 nogil
    cdef dma_addr_t map_page(self, Device dev, page_t page, u64 offset, size_t size, int dir,
                             unsigned long attrs) except? 0xBADBADBADBADBAD nogil
    cdef int unmap_page(self, Device dev, dma_addr_t addr, size_t size, int dir,
                        unsigned long attrs) except -9999 nogil
    cdef int map_sg(self, Device dev, scatterlist *sgl, int nents, int dir, unsigned long attrs) except -9999 nogil
    cdef int unmap_sg(self, Device dev, scatterlist *sgl, int nents, int dir, unsigned long attrs) except -9999 nogil
    cdef dma_addr_t map_resource(self, Device dev, phys_addr_t phys, size_t size, int dir,
                                 unsigned long attrs) except? 0xBADBADBADBADBAD nogil
    cdef int unmap_resource(self, Device dev, dma_addr_t addr, size_t size, int dir,
                            unsigned long attrs) except -9999 nogil
    cdef int sync_single_for_cpu(self, Device dev, dma_addr_t addr, size_t size, int dir) except -9999 nogil
    cdef int sync_single_for_device(self, Device dev, dma_addr_t addr, size_t size, int dir) except -9999 nogil
    cdef int sync_sg_for_cpu(self, Device dev, scatterlist *sgl, int nents, int dir) except -9999 nogil
    cdef int sync_sg_for_device(self, Device dev, scatterlist *sgl, int nents, int dir) except -9999 nogil
    cdef int dma_supported(self, Device dev, u64 mask) except -9999 nogil
    cdef u64 get_required_mask(self, Device dev) except? 0xBADBADBADBADBAD nogil
    cdef size_t max_mapping_size(self, Device dev) except? 0xBADBADBADBADBAD nogil
    cdef size_t opt_mapping_size(self, Device dev) except? 0xBADBADBADBADBAD nogil
    cdef u64 get_merge_boundary(self, Device dev) except? 0xBADBADBADBADBAD nogil
    # the per-architecture hooks of kernel/dma/mapping.c, which only powerpc has
    cdef bint arch_map_page_direct(self, Device dev, phys_addr_t end) noexcept nogil
    cdef bint arch_unmap_page_direct(self, Device dev, dma_addr_t addr) noexcept nogil
    cdef bint arch_map_sg_direct(self, Device dev, scatterlist *sgl, int nents) noexcept nogil
    cdef bint arch_unmap_sg_direct(self, Device dev, scatterlist *sgl, int nents) noexcept nogil

cdef u64 DMA_MAPPING_ERROR

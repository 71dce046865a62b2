# SPDX-License-Identifier: MIT
"""gart_dma_ops: the AGP aperture of AMD's K8 northbridges as an IOMMU (arch/x86/kernel/amd_gart_64.c, Linux 6.1)."""

from scatterlist.core cimport scatterlist
from scatterlist.types cimport dma_addr_t, phys_addr_t, u32, u64

from dma_ops.device cimport Device, DmaMapOps, Walker
from dma_ops.machine cimport Machine

cdef class Northbridge(Walker):
    cdef Machine machine
    cdef readonly u32 aperture_ctl              # register 0x90: GARTEN bit 0, order bits 1 to 3
    cdef readonly u32 aperture_base             # 0x94: address bits 25 to 39
    cdef readonly u32 table_base                # 0x98: address bits 12 to 39 in bits 4 to 31

    cdef void cache_control(self, u32 value) noexcept nogil

cdef class GartDmaOps(DmaMapOps):
    cdef Machine machine
    cdef readonly u64 bus_base                  # iommu_bus_base: where the IOMMU's part of the aperture begins
    cdef readonly u64 size                      # iommu_size, in bytes
    cdef readonly u64 pages
    cdef readonly u64 gatt                      # physical address of the first entry of the IOMMU's part
    cdef readonly u32 unmapped_entry            # gart_unmapped_entry: the scratch page's
    cdef readonly u64 next_bit
    cdef readonly bint need_flush
    cdef readonly unsigned int flushes
    cdef readonly bint force_iommu
    cdef readonly bint iommu_merge
    cdef readonly bint fullflush
    cdef readonly bint panic_on_overflow
    cdef u64 *bitmap

    cdef u64 alloc_iommu(self, Device dev, u64 n, u64 align_mask) except? 0xBADBADBADBADBAD nogil
    cdef int flush_gart(self) noexcept nogil
    cdef bint need_iommu(self, Device dev, u64 addr, size_t size) noexcept nogil
    cdef int write_entry(self, u64 index, u32 entry) except -9999 nogil
    cdef dma_addr_t map_area(self, Device dev, u64 phys, size_t size, u64 align_mask) except? 0xBADBADBADBADBAD nogil
    cdef int unmap_area(self, dma_addr_t addr, size_t size) except -9999 nogil
    cdef int map_sg_alone(self, Device dev, scatterlist *sgl, int nents) except -9999 nogil
    cdef int map_group(self, Device dev, scatterlist *start, int n, scatterlist *out, u64 pages,
                       bint need) except -9999 nogil
    cdef int map_sg_failed(self, Device dev, scatterlist *sgl, int nents, int out, u64 pages) except -9999 nogil
    cdef int iommu_full(self, Device dev, size_t size) except -9999 nogil

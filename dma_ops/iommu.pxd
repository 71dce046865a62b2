# SPDX-License-Identifier: MIT
"""An IOMMU's translation domain: what drivers/iommu/iommu.c and an io-pgtable give to iommu-dma and to arm's ops."""

from scatterlist.core cimport scatterlist
from scatterlist.types cimport dma_addr_t, phys_addr_t, s64, u64

from .device cimport Device, Walker
from .machine cimport Machine

cdef enum:
    IOMMU_READ = 1 << 0
    IOMMU_WRITE = 1 << 1
    IOMMU_CACHE = 1 << 2
    IOMMU_NOEXEC = 1 << 3
    IOMMU_MMIO = 1 << 4
    IOMMU_PRIV = 1 << 5

cdef class IommuDomain:
    """One table in one hardware format; a subclass per format writes it, its walker decodes it."""
    cdef readonly Machine machine
    cdef readonly u64 pgsize_bitmap
    cdef readonly u64 aperture_start
    cdef readonly u64 aperture_end              # inclusive
    cdef readonly bint force_aperture
    cdef readonly Walker walker
    cdef readonly u64 syncs                     # iotlb_sync calls: flushes of the IOTLB for a range

    cdef int map_pages(self, u64 iova, phys_addr_t paddr, size_t pgsize, size_t pgcount, int prot,
                       size_t *mapped) except -9999 nogil
    cdef size_t unmap_pages(self, u64 iova, size_t pgsize, size_t pgcount) except? 0xBADBADBADBADBAD nogil
    cdef phys_addr_t iova_to_phys(self, u64 iova) noexcept nogil
    cdef int iotlb_sync_map(self, u64 iova, size_t size) except -9999 nogil
    cdef int iotlb_sync(self, u64 iova, size_t size) except -9999 nogil
    cdef int flush_iotlb_all(self) except -9999 nogil

cdef size_t iommu_pgsize(IommuDomain domain, u64 iova, phys_addr_t paddr, size_t size,
                         size_t *count) except? 0xBADBADBADBADBAD nogil
cdef int map_no_sync(IommuDomain domain, u64 iova, phys_addr_t paddr, size_t size, int prot) except -9999 nogil
cdef int iommu_map(IommuDomain domain, u64 iova, phys_addr_t paddr, size_t size, int prot) except -9999 nogil
cdef size_t iommu_unmap(IommuDomain domain, u64 iova, size_t size) except? 0xBADBADBADBADBAD nogil
cdef size_t iommu_unmap_fast(IommuDomain domain, u64 iova, size_t size) except? 0xBADBADBADBADBAD nogil
cdef s64 iommu_map_sg(IommuDomain domain, u64 iova, scatterlist *sg, unsigned int nents, int prot) except? -9999 nogil

# SPDX-License-Identifier: MIT
"""An IOMMU's translation domain: what drivers/iommu/iommu.c and an io-pgtable give to iommu-dma and to arm's ops."""

from libc.errno cimport EINVAL


cdef class IommuDomain:
    """One table in one hardware format; a subclass per format writes it, its walker decodes it."""

    cdef int map_pages(self, u64 iova, phys_addr_t paddr, size_t pgsize, size_t pgcount, int prot,
                       size_t *mapped) except -9999 nogil:
        """Write pgcount entries of pgsize; mapped grows by the bytes done. 0, -EINVAL, -ENOMEM, -ERANGE, -EEXIST."""
        return -EINVAL

    cdef size_t unmap_pages(self, u64 iova, size_t pgsize, size_t pgcount) except? 0xBADBADBADBADBAD nogil:
        """Clear entries; the bytes that were mapped."""
        return 0

    cdef phys_addr_t iova_to_phys(self, u64 iova) noexcept nogil:
        """0 where nothing is mapped."""
        return 0

    cdef int iotlb_sync_map(self, u64 iova, size_t size) except -9999 nogil:
        return 0

    cdef int iotlb_sync(self, u64 iova, size_t size) except -9999 nogil:
        return 0

    cdef int flush_iotlb_all(self) except -9999 nogil:
        return 0


cdef int iommu_map(IommuDomain domain, u64 iova, phys_addr_t paddr, size_t size, int prot) except -9999 nogil:
    return -EINVAL


cdef size_t iommu_unmap(IommuDomain domain, u64 iova, size_t size) except? 0xBADBADBADBADBAD nogil:
    return 0

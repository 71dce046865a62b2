# SPDX-License-Identifier: MIT
"""An IOMMU's translation domain: what drivers/iommu/iommu.c and an io-pgtable give to iommu-dma and to arm's ops.

Linux 6.1: a request is cut into runs of one page size, the largest that size and alignment of both addresses allow, and
as many as come before the next larger size would do. A format may do less of a run than it was asked for.
"""

from libc.errno cimport EINVAL

from scatterlist.core cimport sg_is_dma_bus_address, sg_next, sg_phys

from .errors cimport kernel_bug

cdef extern from *:
    int clzl "__builtin_clzl"(unsigned long) noexcept nogil
    int ctzl "__builtin_ctzl"(unsigned long) noexcept nogil


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
        self.syncs += 1
        return 0

    cdef int flush_iotlb_all(self) except -9999 nogil:
        return 0


cdef inline u64 up_to_bit(unsigned int bit) noexcept nogil:
    return ~<u64>0 >> (63 - bit)


cdef size_t iommu_pgsize(IommuDomain domain, u64 iova, phys_addr_t paddr, size_t size,
                         size_t *count) except? 0xBADBADBADBADBAD nogil:
    """The page size to begin with, and in count how many of them to map before a larger size is better."""
    cdef u64 both = paddr | iova
    cdef u64 sizes = domain.pgsize_bitmap & up_to_bit(63 - clzl(size))
    cdef u64 offset, larger
    cdef unsigned int bit
    if both:
        sizes &= up_to_bit(ctzl(both))
    if sizes == 0:
        kernel_bug(b"kernel BUG at drivers/iommu/iommu.c: !pgsizes")
        return 0
    bit = 63 - clzl(sizes)
    sizes = domain.pgsize_bitmap & ~up_to_bit(bit)
    if sizes:
        larger = <u64>1 << ctzl(sizes)
        if not (iova ^ paddr) & (larger - 1):
            offset = larger - (both & (larger - 1))
            if offset + larger >= offset and offset + larger <= size:
                size = offset
    count[0] = size >> bit
    return <u64>1 << bit


cdef int map_no_sync(IommuDomain domain, u64 iova, phys_addr_t paddr, size_t size, int prot) except -9999 nogil:
    """0, or an errno, after which nothing of the request is mapped."""
    cdef u64 first = iova
    cdef size_t pgsize, count = 0, mapped
    cdef int ret
    if (iova | paddr | size) & ((<u64>1 << ctzl(domain.pgsize_bitmap)) - 1):
        return -EINVAL
    while size:
        mapped = 0
        pgsize = iommu_pgsize(domain, iova, paddr, size, &count)
        ret = domain.map_pages(iova, paddr, pgsize, count, prot, &mapped)
        size -= mapped
        if ret:
            iommu_unmap(domain, first, iova + mapped - first)
            return ret
        iova += mapped
        paddr += mapped
    return 0


cdef int iommu_map(IommuDomain domain, u64 iova, phys_addr_t paddr, size_t size, int prot) except -9999 nogil:
    """All three in bytes, multiples of the smallest page. 0; -EINVAL for a misuse; the format's -ENOMEM, -ERANGE."""
    cdef int ret = map_no_sync(domain, iova, paddr, size, prot)
    if ret == 0:
        ret = sync_map(domain, iova, size)
    return ret


cdef inline int sync_map(IommuDomain domain, u64 iova, size_t size) except -9999 nogil:
    """Tell the hardware of new entries. That this can fail is new in 6.7; then nothing stays mapped."""
    cdef int ret = domain.iotlb_sync_map(iova, size)
    if ret == 0 or domain.machine.kernel < 607:
        return 0
    iommu_unmap(domain, iova, size)
    return ret


cdef size_t iommu_unmap_fast(IommuDomain domain, u64 iova, size_t size) except? 0xBADBADBADBADBAD nogil:
    """Clear entries and leave the IOTLB to the caller. The bytes that were mapped: less than size ends at a hole."""
    cdef size_t pgsize, count = 0, done, unmapped = 0
    if (iova | size) & ((<u64>1 << ctzl(domain.pgsize_bitmap)) - 1):
        return 0
    while unmapped < size:
        pgsize = iommu_pgsize(domain, iova, iova, size - unmapped, &count)
        done = domain.unmap_pages(iova, pgsize, count)
        if done == 0:
            break
        iova += done
        unmapped += done
    return unmapped


cdef size_t iommu_unmap(IommuDomain domain, u64 iova, size_t size) except? 0xBADBADBADBADBAD nogil:
    cdef size_t unmapped = iommu_unmap_fast(domain, iova, size)
    domain.iotlb_sync(iova, unmapped)
    return unmapped


cdef s64 iommu_map_sg(IommuDomain domain, u64 iova, scatterlist *sg, unsigned int nents, int prot) except? -9999 nogil:
    """Map the entries one behind the other, physical neighbours as one; bus-address entries take no space.

    The bytes that were mapped, or an errno with nothing mapped.
    """
    cdef u64 len = 0, mapped = 0
    cdef phys_addr_t s_phys, start = 0
    cdef unsigned int i = 0
    cdef int ret
    while i <= nents:               # one round more than there are entries maps what is left
        s_phys = sg_phys(sg)
        if len and s_phys != start + len:
            ret = map_no_sync(domain, iova + mapped, start, len, prot)
            if ret:
                iommu_unmap(domain, iova, mapped)
                return ret
            mapped += len
            len = 0
        if not sg_is_dma_bus_address(sg):
            if len == 0:
                start = s_phys
            len += sg.length
        i += 1
        if i < nents:
            sg = sg_next(sg)
    ret = sync_map(domain, iova, mapped)
    return ret if ret else <s64>mapped

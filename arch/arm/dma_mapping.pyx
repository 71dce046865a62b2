# SPDX-License-Identifier: MIT
"""iommu_ops of 32-bit Arm (arch/arm/mm/dma-mapping.c with CONFIG_ARM_DMA_USE_IOMMU, Linux 6.1)."""

from libc.errno cimport EINVAL, ENOMEM, ERANGE
from libc.stdlib cimport calloc
from libc.stdlib cimport free as c_free

from scatterlist.core cimport sg_next, sg_page

from dma_ops.device cimport (
    DMA_ATTR_ALLOC_SINGLE_PAGES,
    DMA_ATTR_FORCE_CONTIGUOUS,
    DMA_ATTR_PRIVILEGED,
    DMA_ATTR_SKIP_CPU_SYNC,
    DMA_BIDIRECTIONAL,
    DMA_FROM_DEVICE,
    DMA_MAPPING_ERROR,
    DMA_TO_DEVICE,
    OP_ALLOC,
    OP_FREE,
    OP_GET_SGTABLE,
    OP_MAP_PAGE,
    OP_MAP_RESOURCE,
    OP_MAP_SG,
    OP_MMAP,
    OP_SYNC_SG_FOR_CPU,
    OP_SYNC_SG_FOR_DEVICE,
    OP_SYNC_SINGLE_FOR_CPU,
    OP_SYNC_SINGLE_FOR_DEVICE,
    OP_UNMAP_PAGE,
    OP_UNMAP_RESOURCE,
    OP_UNMAP_SG,
    dma_get_max_seg_size,
)
from dma_ops.errors cimport kernel_bug
from dma_ops.iommu cimport IOMMU_MMIO, IOMMU_PRIV, IOMMU_READ, IOMMU_WRITE, iommu_map, iommu_unmap
from dma_ops.iommu_helper cimport (
    bitmap_clear,
    bitmap_find_next_zero_area_off,
    bitmap_free,
    bitmap_set,
    bitmap_weight,
    bitmap_zalloc,
)
from dma_ops.machine cimport PHYS_NONE
from dma_ops.mapping cimport get_order
from dma_ops.pgtable_lpae cimport LpaeDomain

from dma_ops.errors import DmaError

cdef enum:
    PAGE_SHIFT = 12
    PAGE_SIZE = 1 << PAGE_SHIFT
    OFFSET_MASK = PAGE_SIZE - 1
    BITMAP_BYTES = PAGE_SIZE
    ALIGNMENT = 8                       # CONFIG_ARM_DMA_IOMMU_ALIGNMENT

_ORDERS = (9, 8, 4, 0)                  # in which a buffer's pages are asked for


cdef inline u32 page_align(u64 size) noexcept nogil:
    """In size_t, which has 32 bits here."""
    return <u32>((size + OFFSET_MASK) & ~<u64>OFFSET_MASK)


cdef inline int prot_of(int dir, unsigned long attrs) noexcept nogil:
    cdef int prot = IOMMU_PRIV if attrs & DMA_ATTR_PRIVILEGED else 0
    if dir != DMA_FROM_DEVICE:
        prot |= IOMMU_READ
    if dir != DMA_TO_DEVICE:
        prot |= IOMMU_WRITE
    return prot


cdef class ArmIommuOps(DmaMapOps):
    """32-bit Arm with an IOMMU under its own dma_map_ops: R-Car's IPMMU, Exynos, OMAP, old Mediatek.

    One window of at most 4 GiB per mapping (struct dma_iommu_mapping), kept in bitmaps of 128 MiB of which only the
    first exists at the start; another is added when the request fits in none, and stays even if it does not fit there
    either. First-fit, aligned to the request's order up to 1 MiB, counted from the window's start; nothing straddles
    two bitmaps. Lists merge at page-aligned joints up to max_segment_size, the head's offset counted in; the segment
    boundary and the DMA mask are never looked at.

    The hardware side is the 32-bit LPAE format, that of the IPMMU (drivers/iommu/ipmmu-vmsa.c, one of the two drivers
    that call arm_iommu_create_mapping themselves); it cannot say "write only". An iova is cut to 32 bits on its way to
    the IOMMU, so that of a window above 4 GiB the device gets addresses that nothing translates.

    base, size: the window. domain: another page table than the IPMMU's. Several devices may share one mapping.
    """

    def __init__(self, Machine machine not None, u64 base=0, u64 size=1 << 32, *, IommuDomain domain=None):
        cdef u64 bytes_needed = ((size >> PAGE_SHIFT) + 31) // 32 * 4
        if size > 1 << 32:
            raise DmaError(ERANGE, f"a window of {size:#x} bytes is larger than 4 GiB")
        if bytes_needed == 0:
            raise DmaError(EINVAL, f"a window of {size:#x} bytes has no page")
        self.machine = machine
        self.filled = (OP_ALLOC | OP_FREE | OP_MMAP | OP_GET_SGTABLE | OP_MAP_PAGE | OP_UNMAP_PAGE | OP_MAP_SG
                       | OP_UNMAP_SG | OP_MAP_RESOURCE | OP_UNMAP_RESOURCE | OP_SYNC_SINGLE_FOR_CPU
                       | OP_SYNC_SINGLE_FOR_DEVICE | OP_SYNC_SG_FOR_CPU | OP_SYNC_SG_FOR_DEVICE)
        self.base = base
        self.extensions = max(<u64>1, bytes_needed // BITMAP_BYTES)     # rounded down: 200 MiB are 128
        self.bits = <u32>(8 * min(bytes_needed, <u64>BITMAP_BYTES))     # rounded up: 5 pages are 32
        self.bitmaps = <u64 **>calloc(self.extensions, sizeof(u64 *))
        if self.bitmaps == NULL:
            raise MemoryError("no memory for the bitmaps")
        self.bitmaps[0] = bitmap_zalloc(self.bits)
        if self.bitmaps[0] == NULL:
            raise MemoryError("no memory for the bitmaps")
        self.nr_bitmaps = 1
        self.domain = domain
        if domain is None:
            self.domain = LpaeDomain(machine, 32, 40, aarch32=True, flush_all=True)
        self.walker = self.domain.walker
        self.map_errno = ENOMEM
        self.stack = []
        self.buffers = {}

    def __dealloc__(self):
        cdef u32 i
        if self.bitmaps != NULL:
            for i in range(self.nr_bitmaps):
                bitmap_free(self.bitmaps[i])
        c_free(self.bitmaps)

    # -- the window --------------------------------------------------------------------------------------------

    cdef dma_addr_t alloc_iova(self, u32 size) except? 0xBADBADBADBADBAD nogil:
        """DMA_MAPPING_ERROR where no bitmap has room. A size of 0 takes an address and no bit."""
        cdef unsigned int order = min(get_order(size, PAGE_SHIFT), <unsigned int>ALIGNMENT)
        cdef u64 count = page_align(size) >> PAGE_SHIFT, align = (<u64>1 << order) - 1, start
        cdef u32 i
        if self.machine.should_fail(b"iova"):
            return DMA_MAPPING_ERROR
        for i in range(self.extensions):
            if i == self.nr_bitmaps:
                self.bitmaps[i] = bitmap_zalloc(self.bits)
                if self.bitmaps[i] == NULL:
                    return DMA_MAPPING_ERROR
                self.nr_bitmaps += 1
                start = bitmap_find_next_zero_area_off(self.bitmaps[i], self.bits, 0, count, align, 0)
                if start > self.bits:
                    return DMA_MAPPING_ERROR
            else:
                start = bitmap_find_next_zero_area_off(self.bitmaps[i], self.bits, 0, count, align, 0)
                if start > self.bits:
                    continue
            bitmap_set(self.bitmaps[i], start, count)
            return (self.base + ((<u64>self.bits * i + start) << PAGE_SHIFT)) & self.machine.dma_addr_mask
        return DMA_MAPPING_ERROR

    cdef int free_iova(self, dma_addr_t addr, u32 size) except -9999 nogil:
        """KernelBug for a range that is not within one bitmap."""
        cdef u64 mapping_size = <u64>self.bits << PAGE_SHIFT
        cdef u32 i
        if size == 0:
            return 0
        i = <u32>(addr - self.base) // <u32>mapping_size
        if addr < self.base or i > self.extensions:
            return kernel_bug(b"kernel BUG at arch/arm/mm/dma-mapping.c: addr is not in the mapping")
        if addr + size > self.base + mapping_size * (i + 1):
            return kernel_bug(b"kernel BUG at arch/arm/mm/dma-mapping.c: the range leaves its bitmap")
        if i >= self.nr_bitmaps:
            return kernel_bug(b"Unable to handle kernel NULL pointer dereference: __free_iova, no such bitmap")
        bitmap_clear(self.bitmaps[i], (addr - self.base - mapping_size * i) >> PAGE_SHIFT, size >> PAGE_SHIFT)
        return 0

    # -- the IOMMU API, whose unsigned long iova has 32 bits ---------------------------------------------------

    cdef int map(self, dma_addr_t iova, phys_addr_t phys, u32 size, int prot) except -9999 nogil:
        if self.machine.should_fail(b"iommu_map"):
            return -self.map_errno
        return iommu_map(self.domain, <u32>iova, phys, size, prot)

    cdef int unmap(self, dma_addr_t iova, u32 size) except -9999 nogil:
        iommu_unmap(self.domain, <u32>iova, size)
        return 0

    cdef phys_addr_t phys_of(self, dma_addr_t iova) noexcept nogil:
        return self.domain.iova_to_phys(<u32>iova)

    # -- single mappings ---------------------------------------------------------------------------------------

    cdef dma_addr_t map_range(self, phys_addr_t phys, u32 offset, u32 size, int prot) except? 0xBADBADBADBADBAD nogil:
        """From the page at phys to the end of the buffer, even if its offset is beyond the page."""
        cdef u32 len = page_align(<u32>(size + offset))
        cdef dma_addr_t iova = self.alloc_iova(len)
        cdef int ret
        if iova == DMA_MAPPING_ERROR:
            return iova
        ret = self.map(iova, phys, len, prot)
        if ret < 0:
            self.free_iova(iova, len)
            return DMA_MAPPING_ERROR
        return (iova + offset) & self.machine.dma_addr_mask

    cdef int remove_mapping(self, dma_addr_t addr, u32 size) except -9999 nogil:
        """From the page of addr on: the pages that a larger offset once skipped stay mapped."""
        size = page_align((addr & OFFSET_MASK) + size)
        addr &= ~<u64>OFFSET_MASK
        self.unmap(addr, size)
        return self.free_iova(addr, size)

    cdef dma_addr_t map_page(self, Device dev, page_t page, u64 offset, size_t size, int dir,
                             unsigned long attrs) except? 0xBADBADBADBADBAD nogil:
        if not dev.dma_coherent and not attrs & DMA_ATTR_SKIP_CPU_SYNC:
            self.machine.sync_for_device(page + offset, size, dir)
        return self.map_range(page, <u32>offset, <u32>size, prot_of(dir, attrs))

    cdef int unmap_page(self, Device dev, dma_addr_t addr, size_t size, int dir,
                        unsigned long attrs) except -9999 nogil:
        """Nothing at all for what was mapped at iova 0."""
        cdef u64 iova = addr & ~<u64>OFFSET_MASK
        if iova == 0:
            return 0
        if not dev.dma_coherent and not attrs & DMA_ATTR_SKIP_CPU_SYNC:
            self.machine.sync_for_cpu(self.phys_of(iova) + (addr & OFFSET_MASK), size, dir)
        return self.remove_mapping(addr, <u32>size)

    cdef dma_addr_t map_resource(self, Device dev, phys_addr_t phys, size_t size, int dir,
                                 unsigned long attrs) except? 0xBADBADBADBADBAD nogil:
        return self.map_range(phys & ~<u64>OFFSET_MASK, phys & OFFSET_MASK, <u32>size, prot_of(dir, attrs) | IOMMU_MMIO)

    cdef int unmap_resource(self, Device dev, dma_addr_t addr, size_t size, int dir,
                            unsigned long attrs) except -9999 nogil:
        if addr & ~<u64>OFFSET_MASK == 0:
            return 0
        return self.remove_mapping(addr, <u32>size)

    # -- lists -------------------------------------------------------------------------------------------------

    cdef int map_chunk(self, Device dev, scatterlist *sg, u32 size, scatterlist *out, int dir,
                       unsigned long attrs) except -9999 nogil:
        """__map_sg_chunk(): entries of size bytes altogether at one iova, whose page goes into out.dma_address."""
        cdef u32 count = 0, len
        cdef dma_addr_t iova
        cdef int ret
        size = page_align(size)
        out.dma_address = DMA_MAPPING_ERROR & self.machine.dma_addr_mask
        iova = self.alloc_iova(size)
        if iova == DMA_MAPPING_ERROR:
            return -ENOMEM
        while count < size >> PAGE_SHIFT:
            if sg == NULL:
                return kernel_bug(b"Unable to handle kernel NULL pointer dereference: __map_sg_chunk")
            len = page_align(<u32>(sg.offset + sg.length))
            if not dev.dma_coherent and not attrs & DMA_ATTR_SKIP_CPU_SYNC:
                self.machine.sync_for_device(sg_page(sg) + sg.offset, sg.length, dir)
            ret = self.map(iova + (<u64>count << PAGE_SHIFT), sg_page(sg), len, prot_of(dir, attrs))
            if ret < 0:
                self.unmap(iova, count << PAGE_SHIFT)
                self.free_iova(iova, size)
                return ret
            count += len >> PAGE_SHIFT
            sg = sg_next(sg)
        out.dma_address = iova
        return 0

    cdef int map_sg(self, Device dev, scatterlist *sgl, int nents, int dir, unsigned long attrs) except -9999 nogil:
        """Segments; -ENOMEM without room or memory, -EINVAL for any other error of the IOMMU.

        A chunk that fails leaves DMA_MAPPING_ERROR in the next output entry; those before it are unmapped and keep
        their address and length.
        """
        cdef scatterlist *sg = sgl
        cdef scatterlist *out = sgl
        cdef scatterlist *start = sgl
        cdef int i, _k, count = 0, ret
        cdef u32 offset = sg.offset, size = sg.offset + sg.length, limit = dma_get_max_seg_size(dev)
        for i in range(1, nents + 1):
            if i < nents:
                sg = sg_next(sg)
                sg.dma_length = 0
                if not (sg.offset or size & OFFSET_MASK or <u32>(size + sg.length) > limit):
                    size += sg.length
                    continue
            ret = self.map_chunk(dev, start, size, out, dir, attrs)
            if ret < 0:
                sg = sgl
                for _k in range(count):
                    self.remove_mapping(sg.dma_address, sg.dma_length)
                    sg = sg_next(sg)
                return ret if ret == -ENOMEM else -EINVAL
            out.dma_address = (out.dma_address + offset) & self.machine.dma_addr_mask
            out.dma_length = size - offset
            count += 1
            if i < nents:
                offset = sg.offset
                size = sg.offset + sg.length
                start = sg
                out = sg_next(out)
        return count

    cdef int unmap_sg(self, Device dev, scatterlist *sgl, int nents, int dir, unsigned long attrs) except -9999 nogil:
        cdef scatterlist *sg = sgl
        cdef int _i
        for _i in range(nents):
            if sg.dma_length:
                self.remove_mapping(sg.dma_address, sg.dma_length)
            if not dev.dma_coherent and not attrs & DMA_ATTR_SKIP_CPU_SYNC:
                self.machine.sync_for_cpu(sg_page(sg) + sg.offset, sg.length, dir)
            sg = sg_next(sg)
        return 0

    # -- sync --------------------------------------------------------------------------------------------------

    cdef int sync_single_for_cpu(self, Device dev, dma_addr_t addr, size_t size, int dir) except -9999 nogil:
        cdef u64 iova = addr & ~<u64>OFFSET_MASK
        if dev.dma_coherent or iova == 0:
            return 0
        return self.machine.sync_for_cpu(self.phys_of(iova) + (addr & OFFSET_MASK), size, dir)

    cdef int sync_single_for_device(self, Device dev, dma_addr_t addr, size_t size, int dir) except -9999 nogil:
        cdef u64 iova = addr & ~<u64>OFFSET_MASK
        if dev.dma_coherent or iova == 0:
            return 0
        return self.machine.sync_for_device(self.phys_of(iova) + (addr & OFFSET_MASK), size, dir)

    cdef int sync_sg_for_cpu(self, Device dev, scatterlist *sgl, int nents, int dir) except -9999 nogil:
        cdef scatterlist *sg = sgl
        cdef int _i
        if not dev.dma_coherent:
            for _i in range(nents):
                self.machine.sync_for_cpu(sg_page(sg) + sg.offset, sg.length, dir)
                sg = sg_next(sg)
        return 0

    cdef int sync_sg_for_device(self, Device dev, scatterlist *sgl, int nents, int dir) except -9999 nogil:
        cdef scatterlist *sg = sgl
        cdef int _i
        if not dev.dma_coherent:
            for _i in range(nents):
                self.machine.sync_for_device(sg_page(sg) + sg.offset, sg.length, dir)
                sg = sg_next(sg)
        return 0

    # -- coherent ----------------------------------------------------------------------------------------------
    # Callers may always sleep here, so that a non-coherent device never gets memory from the atomic pool.

    cdef int alloc(self, Device dev, size_t size, dma_addr_t *dma_handle, u64 *cpu_addr,
                   unsigned long attrs) except -9999 nogil:
        with gil:
            if dev.dma_coherent:
                dma_handle[0], cpu_addr[0] = self._alloc_simple(page_align(size), attrs)
            else:
                dma_handle[0], cpu_addr[0] = self._alloc_remapped(page_align(size), attrs)
        return -ENOMEM if dma_handle[0] == DMA_MAPPING_ERROR else 0

    cdef int free(self, Device dev, size_t size, u64 cpu_addr, dma_addr_t dma_handle,
                  unsigned long attrs) except -9999 nogil:
        if dev.dma_coherent:
            self.remove_mapping(dma_handle, page_align(size))
            return self.machine.free_pages(cpu_addr, get_order(page_align(size), PAGE_SHIFT))
        with gil:
            self._free_remapped(cpu_addr, dma_handle, page_align(size))
        return 0

    def _alloc_simple(self, u64 size, unsigned long attrs):
        """A coherent device's memory. Its pages follow one another, but __iommu_create_mapping is given the address of
        one page pointer where it reads one for each page: behind the first page it maps what the stack holds."""
        page = self.machine._alloc_pages(get_order(size, PAGE_SHIFT), PHYS_NONE) if size else PHYS_NONE
        if page == PHYS_NONE:
            return DMA_MAPPING_ERROR, 0
        found = [page, *self.stack]
        found += [0] * ((size >> PAGE_SHIFT) - len(found))
        # without a mapping the pages are lost: __free_from_pool frees nothing that is not the pool's
        return self._create_mapping(found[:size >> PAGE_SHIFT], attrs), page

    def _alloc_remapped(self, u64 size, unsigned long attrs):
        """Pages from all over, under one kernel address."""
        blocks = self._alloc_blocks(size, attrs) if size else None
        if blocks is None:
            return DMA_MAPPING_ERROR, 0
        pages = [page + (k << PAGE_SHIFT) for page, order in blocks for k in range(1 << order)][:size >> PAGE_SHIFT]
        handle = self._create_mapping(pages, attrs)
        if handle == DMA_MAPPING_ERROR:
            self._free_blocks(blocks)
            return handle, 0
        for page in pages:
            self.machine.set_uncached(page, PAGE_SIZE, True)
        address = self.machine.vmap(pages)
        self.buffers[address] = blocks
        return handle, address

    def _free_remapped(self, u64 address, u64 handle, u32 size):
        blocks = self.buffers.pop(address, None)
        if blocks is None:
            self.machine.dmesg.append(f"WARNING: trying to free invalid coherent area: {address:#x}")
            return
        for page in self.machine.vunmap(address):
            self.machine.set_uncached(page, PAGE_SIZE, False)
        self.remove_mapping(handle, size)
        self._free_blocks(blocks)

    def _alloc_blocks(self, u64 size, unsigned long attrs):
        """[(page, order)], each order as long as it fits and there are such blocks; None without memory."""
        cdef u64 count = size >> PAGE_SHIFT
        cdef list blocks = []
        orders = iter(_ORDERS)
        if attrs & DMA_ATTR_FORCE_CONTIGUOUS:
            page = self.machine._alloc_pages(get_order(size, PAGE_SHIFT), PHYS_NONE)
            return None if page == PHYS_NONE else [(page, get_order(size, PAGE_SHIFT))]
        order = 0 if attrs & DMA_ATTR_ALLOC_SINGLE_PAGES else next(orders)
        while count:
            if count >> order == 0:
                order = next(orders)
                continue
            page = self.machine._alloc_pages(order, PHYS_NONE)
            if page == PHYS_NONE:
                if order:
                    order = next(orders)
                    continue
                self._free_blocks(blocks)
                return None
            blocks.append((page, order))
            count -= 1 << order
        return blocks

    def _free_blocks(self, blocks):
        for page, order in blocks:
            self.machine.free_pages(page, order)

    def _create_mapping(self, list pages, unsigned long attrs):
        """__iommu_create_mapping(): pages at one iova, runs of neighbours as one; DMA_MAPPING_ERROR."""
        cdef u64 size = len(pages) << PAGE_SHIFT
        cdef size_t i = 0, j
        cdef dma_addr_t handle = self.alloc_iova(<u32>size)
        if handle == DMA_MAPPING_ERROR:
            return handle
        while i < len(pages):
            j = i + 1
            while j < len(pages) and pages[j] == pages[i] + ((j - i) << PAGE_SHIFT):
                j += 1
            if self.map(handle + (i << PAGE_SHIFT), pages[i], <u32>((j - i) << PAGE_SHIFT),
                        prot_of(DMA_BIDIRECTIONAL, attrs)) < 0:
                self.unmap(handle, <u32>(i << PAGE_SHIFT))
                self.free_iova(handle, <u32>size)
                return DMA_MAPPING_ERROR
            i = j
        return handle

    # -- what tests look at ------------------------------------------------------------------------------------

    def resources(self):
        """entries: pages of iova; buffers: remapped allocations. A bitmap that was added stays, and is no leak."""
        cdef u64 entries = 0
        cdef u32 i
        for i in range(self.nr_bitmaps):
            entries += bitmap_weight(self.bitmaps[i], self.bits)
        return {"entries": entries, "buffers": len(self.buffers)}

    def table(self):
        """{iova >> 12: (physical address, IOMMU_* protection)} of all pages that the table maps."""
        return {iova >> PAGE_SHIFT: page for iova, page in self.domain.pages().items()}

# SPDX-License-Identifier: MIT
"""gart_dma_ops: the AGP aperture of AMD's K8 northbridges as an IOMMU (arch/x86/kernel/amd_gart_64.c, Linux 6.1)."""

from libc.errno cimport EINVAL, ENOMEM

from scatterlist.core cimport sg_next, sg_phys
from scatterlist.types cimport page_t

from dma_ops.device cimport (
    DMA_MAPPING_ERROR,
    OP_ALLOC,
    OP_ALLOC_PAGES,
    OP_DMA_SUPPORTED,
    OP_FREE,
    OP_FREE_PAGES,
    OP_GET_REQUIRED_MASK,
    OP_GET_SGTABLE,
    OP_MAP_PAGE,
    OP_MAP_SG,
    OP_MMAP,
    OP_UNMAP_PAGE,
    OP_UNMAP_SG,
    WALK_NOT_PRESENT,
    WALK_OK,
    dma_get_max_seg_size,
    dma_get_seg_boundary,
    dma_get_seg_boundary_nr_pages,
)
from dma_ops.errors cimport kernel_bug
from dma_ops.iommu_helper cimport (
    bitmap_clear,
    bitmap_free,
    bitmap_weight,
    bitmap_zalloc,
    iommu_area_alloc,
    iommu_num_pages,
)
from dma_ops.iotlb cimport Iotlb
from dma_ops.machine cimport PHYS_NONE
from dma_ops.mapping cimport get_order

cdef enum:
    PAGE_SHIFT = 12
    PAGE_SIZE = 1 << PAGE_SHIFT
    SUPERPAGE = 1 << 21                 # PMD_SIZE
    GPTE_VALID = 1
    GPTE_COHERENT = 2
    GARTEN = 1
    INVGART = 1

cdef u64 GART_MAX_PHYS_ADDR = <u64>1 << 40
cdef u64 NONE = ~<u64>0


cdef inline u32 gpte_encode(u64 phys) noexcept nogil:
    """Above 1 TiB the high bits run over into the low ones, as in GPTE_ENCODE."""
    return <u32>((phys & 0xfffff000u) | (phys >> 32) << 4 | GPTE_VALID | GPTE_COHERENT)


cdef class Northbridge(Walker):
    """The chip: aperture and table registers, 32-bit entries. Outside the aperture an address is a physical one.

    An entry has no permission bits; one that is not valid ends the access (a GART PTE error).
    """

    def __cinit__(self):
        self.iotlb = Iotlb(PAGE_SHIFT)

    cdef void cache_control(self, u32 value) noexcept nogil:
        """A write of register 0x9c: there is no way to invalidate less than all."""
        if value & INVGART:
            self.iotlb.invalidate_all()

    cdef int translate(self, Device dev, dma_addr_t addr, bint write, phys_addr_t *phys, u64 *run) except -9999 nogil:
        cdef u64 base = <u64>(self.aperture_base & 0x7fff) << 25
        cdef u64 size = <u64>(32 << 20) << (self.aperture_ctl >> 1 & 7)
        cdef u32 entry
        if not self.aperture_ctl & GARTEN or not base <= addr < base + size:
            phys[0] = addr
            run[0] = base - addr if addr < base and self.aperture_ctl & GARTEN else NONE - addr
            return WALK_OK
        entry = self.machine.mem.read32((<u64>(self.table_base >> 4) << 12) + 4 * ((addr - base) >> PAGE_SHIFT), False)
        if not entry & GPTE_VALID:
            return WALK_NOT_PRESENT
        phys[0] = (entry & 0xfffff000u) | <u64>(entry & 0xff0) << 28 | (addr & (PAGE_SIZE - 1))
        run[0] = PAGE_SIZE - (addr & (PAGE_SIZE - 1))
        return WALK_OK


cdef class GartDmaOps(DmaMapOps):
    """x86_64, AMD K8 and family 10h: the top of the AGP aperture below 4 GiB remaps what a device cannot reach.

    Only addresses beyond the device's mask are mapped (unless forced); all others stay physical. Allocation is next-fit
    in a bitmap whose last page is never used; the hardware's TLB is flushed at each allocation, or with fullflush off
    only when the search wraps. Lists merge only if told to (iommu=merge or any other iommu= option), at page-aligned
    joints between entries that both need the aperture, up to max_segment_size with the segment boundary unseen. A list
    that finds no room is tried again entry by entry if merging or forced. An unmapped entry points to a scratch page,
    so a late access goes there without a fault; an entry that was never used faults. Neither directions nor attributes
    are looked at. A full aperture is an error, or a panic; a request larger than the segment boundary hangs.

    aperture, order: base and size (32 MiB << order) of the aperture. agp: an AGP driver keeps the lower half.
    iommu_size: iommu=<bytes>. pages: cut what that gives to so many pages, which no kernel does (for tests).
    """

    def __init__(self, Machine machine not None, u64 aperture=0xf0000000, unsigned int order=1, *, bint agp=False,
                 u64 iommu_size=0, u64 pages=0, bint force=False, bint merge=False, bint fullflush=True,
                 bint panic=False):
        cdef u64 aperture_size, end, table, scratch
        cdef Northbridge chip
        if order > 7:
            raise ValueError(f"aperture order is {order}, not 0 to 7")
        aperture_size = <u64>(32 << 20) << order
        if aperture % (32 << 20) or not 0 < aperture <= (1 << 32) - aperture_size:
            raise ValueError(f"aperture {aperture:#x} is not a multiple of 32 MiB that ends below 4 GiB")
        if iommu_size > aperture_size:
            raise ValueError(f"iommu_size {iommu_size:#x} is larger than the aperture")
        self.machine = machine
        self.filled = (OP_MAP_SG | OP_UNMAP_SG | OP_MAP_PAGE | OP_UNMAP_PAGE | OP_ALLOC | OP_FREE | OP_MMAP
                       | OP_GET_SGTABLE | OP_DMA_SUPPORTED | OP_GET_REQUIRED_MASK | OP_ALLOC_PAGES | OP_FREE_PAGES)
        self.force_iommu = force
        self.iommu_merge = merge
        self.fullflush = fullflush
        self.panic_on_overflow = panic
        # check_iommu_size(): as much is taken off as the end of the part, seen from the base, lacks to 2 MiB
        self.size = iommu_size or (aperture_size // 2 if agp else aperture_size)
        end = aperture + self.size
        self.size -= ((end + SUPERPAGE - 1) & ~<u64>(SUPERPAGE - 1)) - end
        self.bus_base = aperture + aperture_size - self.size
        table = machine._alloc_table(aperture_size >> PAGE_SHIFT << 2, PAGE_SIZE)
        scratch = machine._alloc_pages(0, PHYS_NONE)
        if table == PHYS_NONE or scratch == PHYS_NONE:
            raise MemoryError("Cannot allocate GATT table or scratch page")
        self.gatt = table + ((self.bus_base - aperture) >> PAGE_SHIFT << 2)
        self.unmapped_entry = gpte_encode(scratch)
        if pages:
            if pages > self.size >> PAGE_SHIFT:
                raise ValueError(f"{pages} pages are more than the aperture has")
            self.size = pages << PAGE_SHIFT
        self.pages = self.size >> PAGE_SHIFT
        self.bitmap = bitmap_zalloc(self.pages)
        if self.bitmap == NULL:
            raise MemoryError("Cannot allocate iommu bitmap")
        chip = Northbridge.__new__(Northbridge)
        chip.machine = machine
        chip.aperture_base = aperture >> 25
        chip.aperture_ctl = GARTEN | order << 1
        chip.table_base = <u32>(table >> 12 << 4)
        if <u64>(chip.table_base >> 4) << 12 != table:
            raise ValueError(f"the GATT at {table:#x} is beyond 40 bits: give the Machine a table_base")
        self.walker = chip

    def __dealloc__(self):
        bitmap_free(self.bitmap)

    # -- allocator ---------------------------------------------------------------------------------------------

    cdef u64 alloc_iommu(self, Device dev, u64 n, u64 align_mask) except? 0xBADBADBADBADBAD nogil:
        """The first of n entries, or all ones. KernelHang if n is more than the segment boundary."""
        cdef u64 base = ((self.bus_base & dma_get_seg_boundary(dev)) + PAGE_SIZE - 1) >> PAGE_SHIFT
        cdef u64 boundary = dma_get_seg_boundary_nr_pages(dev, PAGE_SHIFT), index
        if self.machine.should_fail(b"entries"):
            return NONE
        index = iommu_area_alloc(self.bitmap, self.pages, self.next_bit, n, base, boundary, align_mask)
        if index == NONE:
            self.need_flush = True
            index = iommu_area_alloc(self.bitmap, self.pages, 0, n, base, boundary, align_mask)
        if index != NONE:
            self.next_bit = index + n
            if self.next_bit >= self.pages:
                self.next_bit = 0
                self.need_flush = True
        if self.fullflush:
            self.need_flush = True
        return index

    cdef int flush_gart(self) noexcept nogil:
        if self.need_flush:
            self.flushes += 1
            if self.walker is not None:
                (<Northbridge>self.walker).cache_control(INVGART)   # amd_flush_garts()
            self.need_flush = False
        return 0

    cdef int iommu_full(self, Device dev, size_t size) except -9999 nogil:
        return self.machine.warn(b"PCI-DMA: Out of IOMMU space")

    # -- one area ----------------------------------------------------------------------------------------------

    cdef bint need_iommu(self, Device dev, u64 addr, size_t size) noexcept nogil:
        """!dma_capable(): an area of length 0 ends one byte before its address."""
        return addr == NONE or addr + size - 1 > dev.dma_limit()

    cdef int write_entry(self, u64 index, u32 entry) except -9999 nogil:
        if self.machine.mem.write32(self.gatt + 4 * index, entry, False):
            return kernel_bug(b"no host memory for the GATT")
        return 0

    cdef dma_addr_t map_area(self, Device dev, u64 phys, size_t size, u64 align_mask) except? 0xBADBADBADBADBAD nogil:
        """dma_map_area(): entries for one area; the caller decides whether they are needed, and flushes."""
        cdef u64 n = iommu_num_pages(phys, size, PAGE_SIZE), index, i
        if phys + size > GART_MAX_PHYS_ADDR:
            return DMA_MAPPING_ERROR
        index = self.alloc_iommu(dev, n, align_mask)
        if index == NONE:
            if not self.need_iommu(dev, phys, size):
                return phys
            if self.panic_on_overflow:
                kernel_bug(b"dma_map_area overflow")
            self.iommu_full(dev, size)
            return DMA_MAPPING_ERROR
        for i in range(n):
            self.write_entry(index + i, gpte_encode(phys + (i << PAGE_SHIFT)))
        return self.bus_base + (index << PAGE_SHIFT) + (phys & (PAGE_SIZE - 1))

    cdef int unmap_area(self, dma_addr_t addr, size_t size) except -9999 nogil:
        cdef u64 index, n, i
        if addr == DMA_MAPPING_ERROR:
            return self.machine.warn(b"WARNING: gart_unmap_page: DMA_MAPPING_ERROR")
        if not self.bus_base <= addr < self.bus_base + self.size:
            return 0                    # it was mapped direct
        index = (addr - self.bus_base) >> PAGE_SHIFT
        n = iommu_num_pages(addr, size, PAGE_SIZE)
        if index + n > self.pages:
            return kernel_bug(b"gart_unmap_page: writes behind the GATT")
        for i in range(n):
            self.write_entry(index + i, self.unmapped_entry)
        bitmap_clear(self.bitmap, index, n)
        if index >= self.next_bit:
            self.next_bit = index + n
        return 0

    cdef dma_addr_t map_page(self, Device dev, page_t page, u64 offset, size_t size, int dir,
                             unsigned long attrs) except? 0xBADBADBADBADBAD nogil:
        cdef u64 phys = page + offset
        cdef dma_addr_t bus
        if not self.force_iommu and not self.need_iommu(dev, phys, size):
            return phys
        bus = self.map_area(dev, phys, size, 0)
        self.flush_gart()
        return bus

    cdef int unmap_page(self, Device dev, dma_addr_t addr, size_t size, int dir,
                        unsigned long attrs) except -9999 nogil:
        return self.unmap_area(addr, size)

    # -- lists -------------------------------------------------------------------------------------------------

    cdef int map_group(self, Device dev, scatterlist *start, int n, scatterlist *out, u64 pages,
                       bint need) except -9999 nogil:
        """dma_map_cont(): n entries as the one segment out. Their dma_address still is their physical address. -ENOMEM.

        The head's whole offset goes into the address, but its pages are counted, and mapped, from the offset's page
        on: with an offset of a page or more the address points behind its own data.
        """
        cdef scatterlist *sg = start
        cdef u64 index, phys, i, k
        cdef int _k
        if not need:
            out.dma_address = start.dma_address
            out.dma_length = start.length
            return 0
        index = self.alloc_iommu(dev, pages, 0)
        if index == NONE:
            return -ENOMEM
        for _k in range(n):
            phys = sg.dma_address
            if sg == start:
                out.dma_address = self.bus_base + (index << PAGE_SHIFT) + sg.offset
                out.dma_length = sg.length
            else:
                out.dma_length += sg.length
            k = iommu_num_pages(sg.offset, sg.length, PAGE_SIZE)
            for i in range(k):
                self.write_entry(index, gpte_encode(phys + (i << PAGE_SHIFT)))
                index += 1
            sg = sg_next(sg)
        return 0

    cdef int map_sg_alone(self, Device dev, scatterlist *sgl, int nents) except -9999 nogil:
        """dma_map_sg_nonforce(): each entry for itself, direct where the device reaches it. 0: no room even so."""
        cdef scatterlist *sg = sgl
        cdef dma_addr_t addr
        cdef int i
        for i in range(nents):
            addr = sg_phys(sg)
            if self.need_iommu(dev, addr, sg.length):
                addr = self.map_area(dev, addr, sg.length, 0)
                if addr == DMA_MAPPING_ERROR:
                    if i > 0:
                        self.unmap_sg(dev, sgl, i, 0, 0)
                    nents = 0
                    sgl.dma_length = 0
                    break
            sg.dma_address = addr
            sg.dma_length = sg.length
            sg = sg_next(sg)
        self.flush_gart()
        return nents

    cdef int map_sg(self, Device dev, scatterlist *sgl, int nents, int dir, unsigned long attrs) except -9999 nogil:
        """Segments, -EINVAL for an empty list, -ENOMEM."""
        cdef scatterlist *sg = sgl
        cdef scatterlist *prev = NULL
        cdef scatterlist *first = sgl
        cdef scatterlist *target = sgl
        cdef bint need = False, next_need
        cdef int i, start = 0, out = 0, ret
        cdef u64 pages = 0
        cdef unsigned int seg_size = 0, max_seg_size = dma_get_max_seg_size(dev)
        if nents == 0:
            return -EINVAL
        for i in range(nents):
            sg.dma_address = sg_phys(sg)
            if sg.length == 0:
                return kernel_bug(b"kernel BUG at arch/x86/kernel/amd_gart_64.c: s->length == 0")
            next_need = self.force_iommu or self.need_iommu(dev, sg.dma_address, sg.length)
            if i > start and (not self.iommu_merge or not next_need or not need or sg.offset
                              or <unsigned int>(sg.length + seg_size) > max_seg_size
                              or (prev.offset + prev.length) & (PAGE_SIZE - 1)):
                ret = self.map_group(dev, first, i - start, target, pages, need)
                if ret < 0:
                    return self.map_sg_failed(dev, sgl, nents, out, pages)
                out += 1
                seg_size = 0
                pages = 0
                start = i
                first = sg
                target = sg_next(target)
            seg_size += sg.length
            need = next_need
            pages += iommu_num_pages(sg.offset, sg.length, PAGE_SIZE)
            prev = sg
            sg = sg_next(sg)
        ret = self.map_group(dev, first, nents - start, target, pages, need)
        if ret < 0:
            return self.map_sg_failed(dev, sgl, nents, out, pages)
        out += 1
        self.flush_gart()
        if out < nents:
            sg_next(target).dma_length = 0
        return out

    cdef int map_sg_failed(self, Device dev, scatterlist *sgl, int nents, int out, u64 pages) except -9999 nogil:
        """Undo what a list has mapped; try it the dumb way if it was forced or merged."""
        self.flush_gart()
        self.unmap_sg(dev, sgl, out, 0, 0)
        if self.force_iommu or self.iommu_merge:
            out = self.map_sg_alone(dev, sgl, nents)
            if out > 0:
                return out
        if self.panic_on_overflow:
            return kernel_bug(b"dma_map_sg: overflow")
        self.iommu_full(dev, pages << PAGE_SHIFT)
        return -ENOMEM

    cdef int unmap_sg(self, Device dev, scatterlist *sgl, int nents, int dir, unsigned long attrs) except -9999 nogil:
        """Stops at the first entry without a DMA length, or without a length of its own."""
        cdef scatterlist *sg = sgl
        cdef int _i
        for _i in range(nents):
            if not sg.dma_length or not sg.length:
                break
            self.unmap_area(sg.dma_address, sg.dma_length)
            sg = sg_next(sg)
        return 0

    # -- coherent ----------------------------------------------------------------------------------------------
    # dma-direct's memory, whose kernel address is its bus address; only a forced IOMMU maps it once more.

    cdef int alloc(self, Device dev, size_t size, dma_addr_t *dma_handle, u64 *cpu_addr,
                   unsigned long attrs) except -9999 nogil:
        cdef int ret = dev.direct.alloc(dev, size, dma_handle, cpu_addr, attrs)
        if ret or not self.force_iommu or dev.coherent_dma_mask <= 0xffffff:
            return ret
        dma_handle[0] = self.map_area(dev, cpu_addr[0], size, (<u64>1 << get_order(size, PAGE_SHIFT)) - 1)
        self.flush_gart()
        if dma_handle[0] == DMA_MAPPING_ERROR:
            dev.direct.free(dev, size, cpu_addr[0], cpu_addr[0], attrs)
            return -ENOMEM
        return 0

    cdef int free(self, Device dev, size_t size, u64 cpu_addr, dma_addr_t dma_handle,
                  unsigned long attrs) except -9999 nogil:
        self.unmap_area(dma_handle, size)
        return dev.direct.free(dev, size, cpu_addr, cpu_addr, attrs)

    cdef int alloc_pages(self, Device dev, size_t size, dma_addr_t *dma_handle, page_t *page,
                         int dir) except -9999 nogil:
        return dev.direct.alloc_pages(dev, size, dma_handle, page, dir)

    cdef int free_pages(self, Device dev, size_t size, page_t page, dma_addr_t dma_handle, int dir) except -9999 nogil:
        return dev.direct.free_pages(dev, size, page, dma_handle, dir)

    # -- limits ------------------------------------------------------------------------------------------------

    cdef int dma_supported(self, Device dev, u64 mask) except -9999 nogil:
        return dev.direct.dma_supported(dev, mask)

    cdef u64 get_required_mask(self, Device dev) except? 0xBADBADBADBADBAD nogil:
        return dev.direct.get_required_mask(dev)

    # -- what tests look at ------------------------------------------------------------------------------------

    def resources(self):
        return {"entries": bitmap_weight(self.bitmap, self.pages)}

    def flush(self):
        """Flush the GART's TLB, which the next wrap of the search would do."""
        self.need_flush = True
        self.flush_gart()

    def table(self):
        """{page of the IOMMU's part: entry} of all that are neither 0 nor the scratch page's."""
        cdef dict live = {}
        cdef u64 i
        cdef u32 entry
        for i in range(self.pages):
            entry = self.machine.mem.read32(self.gatt + 4 * i, False)
            if entry and entry != self.unmapped_entry:
                live[i] = entry
        return live

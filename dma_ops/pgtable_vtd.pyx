# SPDX-License-Identifier: MIT
"""Intel VT-d second-level tables (drivers/iommu/intel/iommu.c, Linux 6.1).

3, 4 or 5 levels of 512 entries for an address width of 39, 48 or 57 bits. Entry: R bit 0, W bit 1, PS bit 7 (2 MiB at
level 2, 1 GiB at level 3), SNP bit 11, address bits 12 to 51. The root's address and the width are in a context entry.

What Linux does with them, and a naive model does not:
- a write-only mapping is readable too: the first level's PRESENT bit, here R, is in every entry (__domain_mapping);
- an entry that is already set stays as it was, with a WARN, and the call succeeds; a superpage replaces what it covers;
- small pages inside a live superpage are written into that page's memory as if it were a table (pfn_to_dma_pte);
- an unmap of what is not mapped clears, from there on, as much as the empty entry it met spans (intel_iommu_unmap).
"""

from libc.errno cimport EFAULT, EINVAL, ENOMEM

from scatterlist.types cimport dma_addr_t

from .device cimport WALK_MALFORMED, WALK_NOT_PRESENT, WALK_OK, WALK_OUT_OF_RANGE, WALK_PERMISSION, Device
from .errors cimport kernel_bug
from .iommu cimport IOMMU_READ, IOMMU_WRITE
from .iotlb cimport Iotlb
from .machine cimport PHYS_NONE
from .pgtable cimport cached_leaf

cdef enum:
    PTE_READ = 1 << 0
    PTE_WRITE = 1 << 1
    PTE_LARGE = 1 << 7
    PTE_SNP = 1 << 11
    STRIDE = 9
    CONTEXT_PRESENT = 1 << 0
    TABLE = 4096
    MAMV = 9                        # the most pages of one command, as a power of two: 2 MiB (cap_max_amask_val)
    IVA_MASK = 0x3f                 # IVA_REG: the power of two; the address above it

cdef extern from *:
    int ctzl "__builtin_ctzl"(unsigned long) noexcept nogil
    int clzl "__builtin_clzl"(unsigned long) noexcept nogil

cdef u64 DSI_FLUSH = <u64>2 << 60                # IOTLB_REG: the domain, or pages of it
cdef u64 PSI_FLUSH = <u64>3 << 60

cdef u64 PTE_ADDR = 0x000ffffffffff000u
cdef u64 LINUX_ADDR = 0x7ffffffffffff000u       # dma_pte_addr(): all but the page offset and XD


cdef inline bint present(u64 pte) noexcept nogil:
    return (pte & (PTE_READ | PTE_WRITE)) != 0


cdef inline unsigned int offset_bits(int level) noexcept nogil:
    return (level - 1) * STRIDE


cdef inline u64 level_pages(int level) noexcept nogil:
    return <u64>1 << offset_bits(level)


cdef inline unsigned int index_of(u64 pfn, int level) noexcept nogil:
    return (pfn >> offset_bits(level)) & 511


cdef class VtdDomain(PageTable):
    """width: 39, 48 or 57. superpage: 0, 1 (2 MiB) or 2 (and 1 GiB). snoop: enforce_cache_coherency() was asked for."""

    def __cinit__(self, Machine machine not None, unsigned int width=48, *, unsigned int superpage=2, bint snoop=False,
                  unsigned int haw=52):
        if width not in (39, 48, 57):
            raise ValueError(f"VT-d address width is {width}, not 39, 48 or 57")
        if superpage > 2:
            raise ValueError(f"superpage is {superpage}, not 0, 1 or 2")
        self.gaw = width
        self.levels = (width - 30) // STRIDE + 2
        self.superpage = superpage
        self.snoop = snoop
        self.leaf_shift = 21
        self.pgsize_bitmap = (0x1000, 0x201000, 0x40201000)[superpage]
        self.aperture_end = (<u64>1 << width) - 1
        self.force_aperture = True
        self.root = self._first_table(TABLE)
        self.context = machine._alloc_table(16, 16)
        machine.mem.write64(self.context, self.root | CONTEXT_PRESENT, False)
        machine.mem.write64(self.context + 8, (self.levels - 2) | 1 << 8, False)
        self.walker = VtdWalker(machine, self.context, haw)

    cdef bint supported(self, u64 pfn) noexcept nogil:
        return not pfn >> (self.gaw - 12)

    cdef u64 *pfn_to_pte(self, u64 pfn, int *target) except? NULL nogil:
        """The entry of pfn at level target[0], making tables on the way; with target 0 the one where a walk ends,
        whose level is stored. NULL: out of range or out of memory."""
        cdef int level = self.levels
        cdef u64 *pte
        cdef phys_addr_t table = self.root, child
        if not table:
            kernel_bug(b"kernel BUG at drivers/iommu/intel/iommu.c: !domain->pgd")
            return NULL
        if not self.supported(pfn):
            return NULL
        while True:
            pte = self.entry(table + 8 * index_of(pfn, level))
            if target[0] == 0 and (pte[0] & PTE_LARGE or not present(pte[0])):
                break
            if level == target[0]:
                break
            if not present(pte[0]):
                child = self.new_table(TABLE)
                if child == PHYS_NONE:
                    return NULL
                pte[0] = child | PTE_READ | PTE_WRITE
            if level == 1:
                break
            table = pte[0] & LINUX_ADDR
            level -= 1
        if target[0] == 0:
            target[0] = level
        if level == 1:
            self.remember_leaf(pfn << 12, self.entry(table))
        return pte

    cdef int map_pages(self, u64 iova, phys_addr_t paddr, size_t pgsize, size_t pgcount, int prot,
                       size_t *mapped) except -9999 nogil:
        """-EINVAL (size, alignment, no permission), -EFAULT (beyond the width), -ENOMEM (tables; what was written
        stays, and mapped says nothing of it)."""
        cdef u64 attr = 0, pages, pteval, lvl_pages = 0, size = pgsize * pgcount, pfn = iova >> 12, merge, block
        cdef u64 *pte = NULL
        cdef int level = 0, support
        if pgsize != 0x1000 and pgsize != 0x200000 and pgsize != 0x40000000:
            return -EINVAL
        if (iova | paddr) & (pgsize - 1):
            return -EINVAL
        if self.max_addr < iova + size:
            if self.aperture_end + 1 < iova + size:
                self.warn_iova(b"intel_iommu_map: iommu width is not sufficient for the mapped address", iova + size)
                return -EFAULT
            self.max_addr = iova + size
        if not prot & (IOMMU_READ | IOMMU_WRITE):
            return -EINVAL
        if prot & IOMMU_WRITE:
            attr |= PTE_WRITE
        if self.snoop:
            attr |= PTE_SNP
        pteval = paddr | attr | PTE_READ
        pages = size >> 12
        while pages > 0:
            if pte == NULL:
                level = 1
                support = self.superpage
                merge = pfn | pteval >> 12
                block = pages >> STRIDE
                while support and block and not merge & 511:
                    merge >>= STRIDE
                    block >>= STRIDE
                    level += 1
                    support -= 1
                pte = cached_leaf(self, pfn << 12) if level == 1 else NULL
                if pte == NULL:
                    pte = self.pfn_to_pte(pfn, &level)
                if pte == NULL:
                    return -ENOMEM
                lvl_pages = level_pages(level)
                if level > 1:
                    pteval |= PTE_LARGE
                    block = (512 - index_of(pfn, level)) * lvl_pages
                    self.switch_to_superpage(pfn, min(pages & ~(lvl_pages - 1), block), level)
                else:
                    pteval &= ~<u64>PTE_LARGE
            if pte[0] == 0:
                pte[0] = pteval
            else:
                self.warn_iova(b"WARNING: ERROR: DMA PTE already set", pfn << 12)
            pages -= lvl_pages
            pfn += lvl_pages
            pteval += lvl_pages << 12
            pte += 1
            if index_of(pfn, level) == 0 or (level > 1 and pages < lvl_pages):
                pte = NULL
        mapped[0] = size
        return 0

    cdef int switch_to_superpage(self, u64 pfn, u64 pages, int level) except -9999 nogil:
        """Remove the small tables, and the old superpages, where new superpages go."""
        cdef u64 end = pfn + pages, step = level_pages(level)
        cdef u64 *pte = self.pfn_to_pte(pfn, &level)
        while pfn < end:
            if present(pte[0]):
                self.clear_range(pfn, pfn + step - 1)
                self.free_level(self.levels, level + 1, self.root, 0, pfn, pfn + step - 1)
                self.flush_pages(pfn, step)
            pte += 1
            pfn += step
        return 0

    cdef int clear_range(self, u64 pfn, u64 last) except -9999 nogil:
        """dma_pte_clear_range(): zero the leaf entries of [pfn, last]."""
        cdef int level
        cdef u64 *pte
        cdef phys_addr_t table
        while pfn <= last:
            level = self.levels
            table = self.root
            pte = self.entry(table + 8 * index_of(pfn, level))
            while level > 1 and present(pte[0]) and not pte[0] & PTE_LARGE:
                table = pte[0] & LINUX_ADDR
                level -= 1
                pte = self.entry(table + 8 * index_of(pfn, level))
            if level > 1 and not present(pte[0]):
                pfn = (pfn + level_pages(level + 1)) & ~(level_pages(level + 1) - 1)
                continue
            while True:
                pte[0] = 0
                pfn += level_pages(level)
                pte += 1
                if pfn > last or index_of(pfn, level) == 0:
                    break
        return 0

    cdef int free_level(self, int level, int retain, phys_addr_t table, u64 pfn, u64 start,
                        u64 last) except -9999 nogil:
        """dma_pte_free_level(): free the tables below level retain that [start, last] covers whole."""
        cdef u64 first
        cdef u64 *pte
        cdef phys_addr_t child
        pfn = max(start, pfn)
        pte = self.entry(table + 8 * index_of(pfn, level))
        while True:
            if present(pte[0]) and not pte[0] & PTE_LARGE:
                first = pfn & ~(level_pages(level) - 1)
                child = pte[0] & LINUX_ADDR
                if level > 2:
                    self.free_level(level - 1, retain, child, first, start, last)
                if level < retain and start <= first and last >= first + level_pages(level) - 1:
                    pte[0] = 0
                    self.drop_table(child, TABLE)
            pfn += level_pages(level)
            pte += 1
            if index_of(pfn, level) == 0 or pfn > last:
                return 0

    cdef int free_below(self, int level, phys_addr_t table) except -9999 nogil:
        """Free a table of this level and all tables under it."""
        cdef u64 *pte
        cdef int i
        if level > 1:
            pte = self.entry(table)
            for i in range(512):
                if present(pte[i]) and not pte[i] & PTE_LARGE:
                    self.free_below(level - 1, pte[i] & LINUX_ADDR)
        return self.drop_table(table, TABLE)

    cdef int clear_level(self, int level, phys_addr_t table, u64 pfn, u64 start, u64 last) except -9999 nogil:
        """dma_pte_clear_level(): clear [start, last], and free at once the tables that it covers whole."""
        cdef u64 first
        cdef u64 *pte
        pfn = max(start, pfn)
        pte = self.entry(table + 8 * index_of(pfn, level))
        while True:
            first = pfn & ~(level_pages(level) - 1)
            if present(pte[0]):
                if start <= first and last >= first + level_pages(level) - 1:
                    if level > 1 and not pte[0] & PTE_LARGE:
                        self.free_below(level - 1, pte[0] & LINUX_ADDR)
                    pte[0] = 0
                elif level > 1:
                    self.clear_level(level - 1, pte[0] & LINUX_ADDR, first, start, last)
            pfn = first + level_pages(level)
            pte += 1
            if index_of(pfn, level) == 0 or pfn > last:
                return 0

    cdef size_t unmap_pages(self, u64 iova, size_t pgsize, size_t pgcount) except? 0xBADBADBADBADBAD nogil:
        """The bytes cleared: more than was asked for where a larger entry, live or empty, was met first."""
        cdef u64 size = pgsize * pgcount, start = iova >> 12, last
        cdef u64 *pte = cached_leaf(self, iova)
        cdef int level = 0
        if pte != NULL and size and (iova >> 21) == (iova + size - 1) >> 21 and size < 0x200000:
            for last in range((iova + size - 1 >> 12) - start + 1):
                if present(pte[last]):
                    pte[last] = 0
        else:
            if self.pfn_to_pte(start, &level) == NULL:
                kernel_bug(b"kernel BUG at drivers/iommu/intel/iommu.c: !pfn_to_dma_pte()")
            size = max(size, level_pages(level) << 12)
            last = (iova + size - 1) >> 12
            if not self.supported(last) or start > last:
                kernel_bug(b"kernel BUG at drivers/iommu/intel/iommu.c: !domain_pfn_supported()")
            self.clear_level(self.levels, self.root, 0, start, last)
            if start == 0 and last == ((<u64>1 << (self.gaw - 12)) - 1):
                self.drop_table(self.root, TABLE)
                self.root = 0
        if self.max_addr == iova + size:
            self.max_addr = iova
        return size

    cdef void flush_pages(self, u64 pfn, u64 pages) noexcept nogil:
        """iommu_flush_iotlb_psi(): one command for the least power of two of pages that holds the range, or all."""
        cdef u64 mask = 64 - clzl(pages - 1) if pages > 1 else 0, shared
        if pfn & ((<u64>1 << mask) - 1):
            shared = ~(pfn ^ (pfn + pages - 1)) & ~((<u64>1 << mask) - 1)
            mask = ctzl(shared) if shared else 64
        if mask > MAMV:
            (<VtdWalker>self.walker).flush_iotlb(DSI_FLUSH, 0)
        else:
            (<VtdWalker>self.walker).flush_iotlb(PSI_FLUSH, pfn << 12 | mask)

    cdef int iotlb_sync(self, u64 iova, size_t size) except -9999 nogil:
        self.syncs += 1
        if size:
            self.flush_pages(iova >> 12, (size + 4095) >> 12)
        return 0

    cdef int flush_iotlb_all(self) except -9999 nogil:
        (<VtdWalker>self.walker).flush_iotlb(DSI_FLUSH, 0)
        return 0

    cdef phys_addr_t iova_to_phys(self, u64 iova) noexcept nogil:
        cdef u64 pte, table = self.root
        cdef int level = self.levels
        if not table or not self.supported(iova >> 12):
            return 0
        while True:
            pte = self.machine.mem.read64(table + 8 * index_of(iova >> 12, level), False)
            if not present(pte):
                return 0
            if level == 1 or pte & PTE_LARGE:
                return (pte & LINUX_ADDR) + (iova & ((level_pages(level) << 12) - 1))
            table = pte & LINUX_ADDR
            level -= 1

    def table(self):
        """The leaf entries {iova: entry}, read from the table's memory."""
        cdef dict leaves = {}
        if self.root:
            self._collect(self.root, self.levels, 0, leaves)
        return leaves

    def _collect(self, u64 table, int level, u64 iova, dict leaves):
        cdef int i
        cdef u64 pte
        for i in range(512):
            pte = self.machine.mem.read64(table + 8 * i, False)
            if present(pte):
                if level == 1 or pte & PTE_LARGE:
                    leaves[iova + (i * level_pages(level) << 12)] = pte
                else:
                    self._collect(pte & LINUX_ADDR, level - 1, iova + (i * level_pages(level) << 12), leaves)

    def free(self):
        """Give back every table page, as the freeing of the domain does."""
        self.machine.mem.write64(self.context, 0, False)
        self.flush_iotlb_all()
        if self.root:
            self.free_below(self.levels, self.root)
            self.root = 0


cdef class VtdWalker(Walker):
    """The remapping unit of a device whose context entry is at `context`. haw: the host address width."""

    def __cinit__(self, Machine machine not None, u64 context, unsigned int haw=52):
        self.machine = machine
        self.context = context
        self.haw = haw
        self.iotlb = Iotlb(12)

    cdef void flush_iotlb(self, u64 iotlb, u64 iva) noexcept nogil:
        """A write of IVA_REG and IOTLB_REG."""
        cdef u64 size
        if iotlb & PSI_FLUSH == PSI_FLUSH and iva & IVA_MASK <= MAMV:
            size = <u64>4096 << (iva & IVA_MASK)
            self.iotlb.invalidate(iva & ~(size - 1), size)
        else:
            self.iotlb.invalidate_all()

    cdef int translate(self, Device dev, dma_addr_t addr, bint write, phys_addr_t *phys, u64 *run) except -9999 nogil:
        cdef u64 root = self.machine.mem.read64(self.context, False), need = PTE_WRITE if write else PTE_READ
        cdef u64 width = self.machine.mem.read64(self.context + 8, False) & 7
        cdef u64 pte, span
        cdef unsigned int shift = 12 + STRIDE * (<unsigned int>width + 2)
        if not root & CONTEXT_PRESENT:
            return WALK_NOT_PRESENT
        if root & 0xffe or not 1 <= width <= 3:         # any translation type but 00 is not a walk of this table
            return WALK_MALFORMED
        if addr >> shift:
            return WALK_OUT_OF_RANGE
        pte = root
        while shift > 12:
            shift -= STRIDE
            span = (<u64>1 << shift) - 1
            pte = self.machine.mem.read64((pte & PTE_ADDR) + 8 * (addr >> shift & 511), False)
            if not pte & (PTE_READ | PTE_WRITE):
                return WALK_NOT_PRESENT
            if pte & PTE_ADDR & ~((<u64>1 << self.haw) - 1):
                return WALK_MALFORMED
            if not pte & need:
                return WALK_PERMISSION
            if shift == 12:
                break
            if pte & PTE_LARGE:
                if shift > 30 or pte & PTE_ADDR & span:
                    return WALK_MALFORMED
                break
        phys[0] = (pte & PTE_ADDR) | (addr & span)
        run[0] = span + 1 - (addr & span)
        return WALK_OK

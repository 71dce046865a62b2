# SPDX-License-Identifier: MIT
"""AMD IOMMU v1 (host) page tables (drivers/iommu/amd/io_pgtable.c, Linux 6.1).

Up to 6 levels of 512 entries; a domain starts with 3 and grows a new root when an address needs it. Entry: PR bit 0,
next level bits 9 to 11 (0: a page of the level's own size, 7: a page whose size is in the address, as ones below its
lowest zero), address bits 12 to 51, FC bit 60, IR bit 61, IW bit 62. A page of 2^n of its level's pages is written that
many times. The root's address and the number of levels are in the device-table entry.

What Linux does with them, and a naive model does not:
- mapping over what is mapped is no error: the new entry replaces the old one, or a whole table under it;
- unmapping counts an absent 4 KiB entry as unmapped, and stops only where a table is missing; tables stay until the
  domain goes; a large page goes as a whole (iommu_v1_unmap_pages);
- a page larger than the levels reach is written at the top level as if it were of that level's size (alloc_pte).
"""

from libc.errno cimport EINVAL, ENOMEM

from scatterlist.types cimport dma_addr_t

from .device cimport WALK_MALFORMED, WALK_NOT_PRESENT, WALK_OK, WALK_OUT_OF_RANGE, WALK_PERMISSION, Device
from .errors cimport kernel_bug
from .iommu cimport IOMMU_READ, IOMMU_WRITE
from .iotlb cimport Iotlb
from .machine cimport PHYS_NONE
from .pgtable cimport cached_leaf

cdef extern int ctz64 "__builtin_ctzll"(unsigned long long) noexcept nogil      # of zero: undefined
cdef extern int clz64 "__builtin_clzll"(unsigned long long) noexcept nogil

cdef enum:
    TABLE = 4096
    TOP_MODE = 6
    START_MODE = 3              # DEFAULT_PGTABLE_LEVEL
    DTE_SIZE = 32
    DTE_VALID = 1 << 0
    DTE_TRANSLATE = 1 << 1

# INVALIDATE_IOMMU_PAGES, the address: S, more than one page, how many is in the lowest zero above bit 11; PDE, tables
# too. Linux always sets PDE.
cdef u64 INV_SIZE = 1
cdef u64 INV_PDE = 2
cdef u64 INV_ALL = 0x7ffffffffffff000u

cdef u64 PR = 1
cdef u64 FC = <u64>1 << 60
cdef u64 IR = <u64>1 << 61
cdef u64 IW = <u64>1 << 62
cdef u64 ADDR = 0x000ffffffffff000u
cdef u64 RESERVED = 0x07f0000000000000u         # bits 52 to 58


cdef inline unsigned int level_shift(int level) noexcept nogil:
    return 12 + 9 * level


cdef inline u64 reach(int mode) noexcept nogil:
    """The highest address of a table of that many levels."""
    return ((<u64>1 << level_shift(mode)) - 1) if mode < TOP_MODE else ~<u64>0


cdef inline int next_level(u64 pte) noexcept nogil:
    return (pte >> 9) & 7


cdef inline u64 encoded_size(u64 pte) noexcept nogil:
    """The size of a level-7 page: twice the value of the lowest zero in the entry's address."""
    return <u64>2 << ctz64(~(pte | 0xfff))


cdef inline u64 pte_count(u64 pgsize) noexcept nogil:
    return <u64>1 << ((ctz64(pgsize) - 12) % 9)


cdef class AmdV1Domain(PageTable):
    def __cinit__(self, Machine machine not None, int mode=START_MODE):
        if not 1 <= mode <= TOP_MODE:
            raise ValueError(f"AMD page-table mode is {mode}, not 1 to 6")
        self.mode = mode
        self.leaf_shift = 21
        self.pgsize_bitmap = ~<u64>0xfff & ~(<u64>2 << 38)     # 512 GiB pages: an erratum of the hardware
        self.aperture_end = ~<u64>0
        self.force_aperture = True
        self.root = self._first_table(TABLE)
        self.context = machine._alloc_table(DTE_SIZE, DTE_SIZE)
        machine.mem.write64(self.context + 8, 1, False)         # the domain's number
        self.publish_root()
        self.walker = AmdV1Walker(machine, self.context)

    cdef int publish_root(self) except -9999 nogil:
        """Write the device-table entry (set_dte_entry)."""
        self.machine.mem.write64(self.context, self.root | <u64>self.mode << 9 | IR | IW | DTE_VALID | DTE_TRANSLATE,
                                 False)
        return 0

    cdef int grow(self, u64 address) except -9999 nogil:
        """increase_address_space(): one level more, until address is in reach. -ENOMEM."""
        cdef phys_addr_t table
        while address > reach(self.mode):
            table = self.new_table(TABLE)
            if table == PHYS_NONE:
                return -ENOMEM
            self.entry(table)[0] = self.root | <u64>self.mode << 9 | PR | IR | IW
            self.root = table
            self.mode += 1
            self.publish_root()
        return 0

    cdef u64 *alloc_pte(self, u64 address, u64 pgsize) except? NULL nogil:
        """The first entry for a page of pgsize at address, making tables on the way; NULL without memory."""
        cdef int level, i, end = (ctz64(pgsize) - 12) // 9
        cdef u64 size
        cdef u64 *pte
        cdef u64 *first
        cdef phys_addr_t table
        if self.grow(address):
            return NULL
        level = self.mode - 1
        pte = self.entry(self.root + 8 * (address >> level_shift(level) & 511))
        address &= ~(pgsize - 1)
        while level > end:
            if pte[0] & PR and next_level(pte[0]) == 7:         # tear the large page down, all of its entries
                size = pte_count(encoded_size(pte[0]))
                first = pte - (address >> level_shift(level) & (size - 1))
                for i in range(<int>size):
                    first[i] = 0
                self.updated = True
                continue
            if not pte[0] & PR or next_level(pte[0]) == 0:
                table = self.new_table(TABLE)
                if table == PHYS_NONE:
                    return NULL
                pte[0] = table | <u64>level << 9 | PR | IR | IW
            if next_level(pte[0]) != level:
                return NULL
            table = pte[0] & ADDR
            level -= 1
            pte = self.entry(table + 8 * (address >> level_shift(level) & 511))
            if level == 0:
                self.remember_leaf(address, self.entry(table))
        return pte

    cdef u64 *fetch_pte(self, u64 address, u64 *pgsize) except? NULL nogil:
        """The entry of address, or the first of a large page, and the size it maps; NULL where a table is missing."""
        cdef int level = self.mode - 1
        cdef u64 *pte = cached_leaf(self, address)
        cdef phys_addr_t table
        pgsize[0] = TABLE
        if pte == NULL:
            if address > reach(self.mode):
                return NULL
            pte = self.entry(self.root + 8 * (address >> level_shift(level) & 511))
            while level > 0:
                if not pte[0] & PR:
                    return NULL
                if next_level(pte[0]) in (0, 7):
                    break
                if next_level(pte[0]) != level:
                    return NULL
                table = pte[0] & ADDR
                level -= 1
                pte = self.entry(table + 8 * (address >> level_shift(level) & 511))
                if level == 0:
                    self.remember_leaf(address, self.entry(table))
            pgsize[0] = <u64>1 << level_shift(level)
        else:
            level = 0
        if next_level(pte[0]) == 7:
            pgsize[0] = encoded_size(pte[0])
            pte -= address >> level_shift(level) & (pte_count(pgsize[0]) - 1)
        return pte

    cdef int free_level(self, phys_addr_t table, int level) except -9999 nogil:
        """Free a table of this level (1: leaves only) and all tables under it."""
        cdef u64 *pte
        cdef int i
        if level > 1:
            pte = self.entry(table)
            for i in range(512):
                if pte[i] & PR and next_level(pte[i]) not in (0, 7):
                    self.free_level(pte[i] & ADDR, level - 1)
        return self.drop_table(table, TABLE)

    cdef int map_pages(self, u64 iova, phys_addr_t paddr, size_t pgsize, size_t pgcount, int prot,
                       size_t *mapped) except -9999 nogil:
        """-EINVAL (no permission), -ENOMEM (tables)."""
        cdef int ret = self.write_pages(iova, paddr, pgsize, pgcount, prot, mapped)
        if self.updated:
            self.updated = False
            self.flush_iotlb_all()
        return ret

    cdef int write_pages(self, u64 iova, phys_addr_t paddr, size_t pgsize, size_t pgcount, int prot,
                         size_t *mapped) except -9999 nogil:
        cdef u64 attr = PR | FC, value, old, count
        cdef u64 *pte
        cdef u64 i
        if (iova | paddr) & (pgsize - 1):
            return kernel_bug(b"kernel BUG at drivers/iommu/amd/io_pgtable.c: !IS_ALIGNED()")
        if not prot & (IOMMU_READ | IOMMU_WRITE):
            return -EINVAL
        if prot & IOMMU_READ:
            attr |= IR
        if prot & IOMMU_WRITE:
            attr |= IW
        count = pte_count(pgsize)
        while pgcount > 0:
            pte = cached_leaf(self, iova) if pgsize < 0x200000 else NULL
            if pte == NULL:
                pte = self.alloc_pte(iova, pgsize)
            if pte == NULL:
                return -ENOMEM
            for i in range(count):
                old = pte[i]
                pte[i] = 0
                if old & PR and 1 <= next_level(old) <= TOP_MODE:
                    self.free_level(old & ADDR, next_level(old))
                    self.updated = True
            value = paddr
            if count > 1:
                value = (paddr | (pgsize - 1)) & ~(<u64>pgsize >> 1) & ADDR | <u64>7 << 9
            for i in range(count):
                pte[i] = value | attr
            iova += pgsize
            paddr += pgsize
            pgcount -= 1
            mapped[0] += pgsize
        return 0

    cdef size_t unmap_pages(self, u64 iova, size_t pgsize, size_t pgcount) except? 0xBADBADBADBADBAD nogil:
        cdef u64 done = 0, size = pgsize * pgcount, step = 0, i
        cdef u64 *pte
        while done < size:
            pte = self.fetch_pte(iova, &step)
            if pte == NULL:
                return done
            for i in range(pte_count(step)):
                if pte[i]:
                    pte[i] = 0
            iova = (iova & ~(step - 1)) + step
            done += step
        return done

    cdef int iotlb_sync(self, u64 iova, size_t size) except -9999 nogil:
        """amd_iommu_iotlb_sync(): the least power of two that holds the range (build_inv_address)."""
        cdef u64 bit
        self.syncs += 1
        if size == 0:
            return 0
        if size <= 4096:
            (<AmdV1Walker>self.walker).inv_iommu_pages(iova | INV_PDE)
            return 0
        bit = 63 - clz64(iova ^ (iova + size - 1))
        iova = INV_ALL if bit > 51 else (iova | ((<u64>1 << bit) - 1)) & ~<u64>0xfff
        (<AmdV1Walker>self.walker).inv_iommu_pages(iova | INV_SIZE | INV_PDE)
        return 0

    cdef int flush_iotlb_all(self) except -9999 nogil:
        (<AmdV1Walker>self.walker).inv_iommu_pages(INV_ALL | INV_SIZE | INV_PDE)
        return 0

    cdef phys_addr_t iova_to_phys(self, u64 iova) noexcept nogil:
        cdef int level = self.mode - 1
        cdef u64 pte, size, table = self.root
        if not table or iova > reach(self.mode):
            return 0
        while True:
            size = <u64>1 << level_shift(level)
            pte = self.machine.mem.read64(table + 8 * (iova >> level_shift(level) & 511), False)
            if not pte & PR:
                return 0
            if next_level(pte) == 7:
                size = encoded_size(pte)
            if next_level(pte) in (0, 7) or level == 0:
                return (pte & ADDR & ~(size - 1)) | (iova & (size - 1))
            if next_level(pte) != level:
                return 0
            table = pte & ADDR
            level -= 1

    def table(self):
        """The leaf entries {iova: entry}, read from the table's memory; a repeated entry once for each time."""
        cdef dict leaves = {}
        if self.root:
            self._collect(self.root, self.mode - 1, 0, leaves)
        return leaves

    def _collect(self, u64 table, int level, u64 iova, dict leaves):
        cdef int i
        cdef u64 pte
        for i in range(512):
            pte = self.machine.mem.read64(table + 8 * i, False)
            if pte & PR:
                if level == 0 or next_level(pte) in (0, 7):
                    leaves[iova + (<u64>i << level_shift(level))] = pte
                else:
                    self._collect(pte & ADDR, level - 1, iova + (<u64>i << level_shift(level)), leaves)

    def free(self):
        """Give back every table page, as the freeing of the domain does."""
        self.machine.mem.write64(self.context, 0, False)
        self.flush_iotlb_all()
        if self.root:
            self.free_level(self.root, self.mode)
            self.root = 0


cdef class AmdV1Walker(Walker):
    """The IOMMU of a device whose device-table entry is at `context`. It can skip levels, which Linux never does."""

    def __cinit__(self, Machine machine not None, u64 context):
        self.machine = machine
        self.context = context
        self.iotlb = Iotlb(12)

    cdef void inv_iommu_pages(self, u64 address) noexcept nogil:
        """The command INVALIDATE_IOMMU_PAGES, of the walker's own domain."""
        cdef u64 size = 4096
        if address & INV_SIZE:
            while address & size:
                size <<= 1
            size <<= 1
        if size == 0 or size >> 63:
            self.iotlb.invalidate_all()
        else:
            self.iotlb.invalidate(address & ~(size - 1), size)

    cdef int translate(self, Device dev, dma_addr_t addr, bint write, phys_addr_t *phys, u64 *run) except -9999 nogil:
        cdef u64 pte = self.machine.mem.read64(self.context, False), need = IW if write else IR
        cdef u64 size, skipped
        cdef int level = next_level(pte), down
        if not pte & DTE_VALID or not pte & DTE_TRANSLATE:
            return WALK_NOT_PRESENT
        if level == 7 or level == 0:
            return WALK_MALFORMED
        if not pte & need:
            return WALK_PERMISSION
        if level < TOP_MODE and addr >> level_shift(level):
            return WALK_OUT_OF_RANGE
        while True:
            level -= 1
            pte = self.machine.mem.read64((pte & ADDR) + 8 * (addr >> level_shift(level) & 511), False)
            if not pte & PR:
                return WALK_NOT_PRESENT
            if pte & RESERVED:
                return WALK_MALFORMED
            if not pte & need:
                return WALK_PERMISSION
            down = next_level(pte)
            if down == 0:
                size = <u64>1 << level_shift(level)
                break
            if down == 7:
                size = encoded_size(pte)
                if not <u64>1 << level_shift(level) < size < <u64>1 << level_shift(level + 1):
                    return WALK_MALFORMED
                break
            if down > level:
                return WALK_MALFORMED
            skipped = (<u64>1 << level_shift(level)) - (<u64>1 << level_shift(down))
            if addr & skipped:
                return WALK_NOT_PRESENT
            level = down
        if down == 0 and pte & ADDR & (size - 1):
            return WALK_MALFORMED
        phys[0] = (pte & ADDR & ~(size - 1)) | (addr & (size - 1))
        run[0] = size - (addr & (size - 1))
        return WALK_OK

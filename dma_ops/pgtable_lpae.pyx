# SPDX-License-Identifier: MIT
"""Arm LPAE stage-1 tables (drivers/iommu/io-pgtable-arm.c, Linux 6.1), as SMMUs and Renesas' IPMMU read them.

Up to 4 levels of a granule's size (4, 16 or 64 KiB); level 3 holds pages (type 3), levels 1 and 2 may hold blocks
(type 1). Leaf: ATTRINDX bits 2 to 4 (0 non-cacheable, 1 cacheable, 2 device), AP[1] bit 6 (unprivileged), AP[2] bit 7
(read-only), SH bits 8 and 9, AF bit 10, nG bit 11, address bits 12 to 47 (with 64 KiB, bits 48 to 51 are in 12 to 15),
XN bits 53 and 54. The root's address and the geometry are in an SMMUv3 context descriptor; one of AArch32 (AA64 clear)
has 32-bit iovas and 40-bit addresses, which is also what the IPMMU has.

What Linux does with them, and a naive model does not:
- there is no write-only: a mapping without READ is readable;
- an address beyond the output size is refused (-ERANGE), mapping over a leaf too (-EEXIST and a WARN); a block over a
  table frees the table;
- a part of a block is unmapped by splitting it; one call stops at the end of its table, and the caller goes on.
"""

from libc.errno cimport EEXIST, EINVAL, ENOMEM, ERANGE

from scatterlist.types cimport dma_addr_t

from .device cimport WALK_MALFORMED, WALK_NOT_PRESENT, WALK_OK, WALK_OUT_OF_RANGE, WALK_PERMISSION, Device
from .iommu cimport IOMMU_CACHE, IOMMU_MMIO, IOMMU_NOEXEC, IOMMU_PRIV, IOMMU_READ, IOMMU_WRITE
from .iotlb cimport Iotlb
from .machine cimport PHYS_NONE
from .pgtable cimport cached_leaf

cdef extern int ctzl "__builtin_ctzl"(unsigned long) noexcept nogil

cdef enum:
    LAST_LEVEL = 3
    TYPE_MASK = 3
    TYPE_BLOCK = 1
    TYPE_TABLE = 3              # and a page, at the last level
    ATTR_DEVICE = 2 << 2
    ATTR_CACHE = 1 << 2
    ATTR_MASK = 7 << 2
    AP_UNPRIV = 1 << 6
    AP_RDONLY = 1 << 7
    SH_OUTER = 2 << 8
    SH_INNER = 3 << 8
    AF = 1 << 10
    NOT_GLOBAL = 1 << 11
    CD_SIZE = 64

cdef u64 ADDR = 0x0000fffffffff000u
cdef u64 XN = <u64>3 << 53
cdef u64 SW_SYNC = <u64>1 << 55                 # software's: "this table entry has been written back"
cdef u64 LEAF_ATTRS = (<u64>0x3ff << 2) | (<u64>6 << 52)
cdef u64 APTABLE_PRIV = <u64>1 << 61
cdef u64 APTABLE_RDONLY = <u64>1 << 62
cdef u64 CD_VALID = <u64>1 << 31
cdef u64 CD_AA64 = <u64>1 << 41
cdef u64 CD_REST = 0x40003500u | (<u64>7 << 45) | (<u64>1 << 48)        # cacheable walk, EPD1; R, A, ASET; ASID 1
cdef u64 MAIR = 0xf404ff44

_GRANULES = {4096: (0, 0x40201000), 65536: (1, 0x20010000), 16384: (2, 0x02004000)}     # TG0, page sizes
cdef unsigned int[7] OUTPUT_BITS = [32, 36, 40, 42, 44, 48, 52]         # by IPS


cdef inline bint is_leaf(u64 pte, int level) noexcept nogil:
    return (pte & TYPE_MASK) == (TYPE_TABLE if level == LAST_LEVEL else TYPE_BLOCK)


cdef class LpaeDomain(PageTable):
    """ias, oas: bits of an iova and of a physical address. aarch32: the 32-bit format. coherent_walk: the tables need
    no cache maintenance. flush_all: an IPMMU, whose one command is to forget everything; else an SMMUv3 with range
    commands."""

    def __cinit__(self, Machine machine not None, unsigned int ias=48, unsigned int oas=48, *, size_t granule=4096,
                  bint aarch32=False, bint coherent_walk=True, bint flush_all=False):
        cdef unsigned int va_bits, levels, limit = 52 if granule == 65536 else 48
        if granule not in _GRANULES:
            raise ValueError(f"granule is {granule}, not 4096, 16384 or 65536")
        if oas not in list(OUTPUT_BITS):
            raise ValueError(f"oas is {oas}, not one of {list(OUTPUT_BITS)}")
        if aarch32 and (ias > 32 or oas > 40 or granule != 4096):
            raise ValueError("the 32-bit format has a 4096-byte granule, at most 32 bits of iova and 40 of address")
        tg0, self.pgsize_bitmap = _GRANULES[granule]
        self.page_shift = (12, 16, 14)[tg0]
        if granule == 65536 and oas > 48:
            self.pgsize_bitmap |= <u64>1 << 42
        if not self.page_shift < ias <= 52:
            raise ValueError(f"ias is {ias}, not {self.page_shift + 1} to 52")
        self.ias = min(ias, limit)
        self.oas = min(oas, limit)
        self.coherent_walk = coherent_walk
        self.flush_all = flush_all
        self.stride = self.page_shift - 3
        va_bits = self.ias - self.page_shift
        levels = (va_bits + self.stride - 1) // self.stride
        self.start_level = LAST_LEVEL + 1 - levels
        self.root_bits = va_bits - self.stride * (levels - 1)
        self.leaf_shift = 21
        self.aperture_end = (<u64>1 << self.ias) - 1
        self.force_aperture = True
        self.root = self._first_table(max(4096, <u64>8 << self.root_bits))
        if self.root >> self.oas:
            raise ValueError(f"table memory at {self.root:#x} is beyond {self.oas} bits: give the Machine a table_base")
        self.context = machine._alloc_table(CD_SIZE, CD_SIZE)
        cd = (64 - 32 * aarch32 - self.ias) | tg0 << 6 | list(OUTPUT_BITS).index(self.oas) << 32
        machine.mem.write64(self.context, cd | CD_VALID | CD_REST | (0 if aarch32 else CD_AA64), False)
        machine.mem.write64(self.context + 8, self.root, False)
        machine.mem.write64(self.context + 24, MAIR, False)
        self.walker = LpaeWalker(machine, self.context, self.page_shift)

    # -- geometry ----------------------------------------------------------------------------------------------

    cdef unsigned int shift(self, int level) noexcept nogil:
        """An entry of this level spans 1 << shift bytes."""
        return (LAST_LEVEL + 1 - level) * self.stride + 3

    cdef u64 index(self, u64 iova, int level) noexcept nogil:
        cdef unsigned int bits = self.root_bits if level == self.start_level else self.stride
        return iova >> self.shift(level) & ((<u64>1 << bits) - 1)

    cdef u64 entries_left(self, u64 index, u64 count) noexcept nogil:
        """How many of count entries lie in the table from index on."""
        cdef u64 left = (<u64>1 << self.stride) - (index & ((<u64>1 << self.stride) - 1))
        return min(count, left)

    cdef u64 address_bits(self, phys_addr_t paddr) noexcept nogil:
        return (paddr | paddr >> 36) & ADDR

    cdef phys_addr_t address_of(self, u64 pte) noexcept nogil:
        cdef u64 paddr = pte & ADDR
        if self.page_shift < 16:
            return paddr
        return (paddr | paddr << 36) & (ADDR << 4)

    cdef u64 prot_bits(self, int prot) noexcept nogil:
        cdef u64 pte = NOT_GLOBAL | AF
        if prot & IOMMU_READ and not prot & IOMMU_WRITE:
            pte |= AP_RDONLY
        if not prot & IOMMU_PRIV:
            pte |= AP_UNPRIV
        if prot & IOMMU_MMIO:
            pte |= ATTR_DEVICE
        elif prot & IOMMU_CACHE:
            pte |= ATTR_CACHE
        pte |= SH_INNER if prot & IOMMU_CACHE else SH_OUTER
        if prot & IOMMU_NOEXEC:
            pte |= XN
        return pte

    # -- mapping -----------------------------------------------------------------------------------------------

    cdef int install(self, u64 *pte, phys_addr_t table) noexcept nogil:
        pte[0] = self.address_bits(table) | TYPE_TABLE
        if not self.coherent_walk:
            pte[0] |= SW_SYNC
        return 0

    cdef int write_leaves(self, phys_addr_t at, phys_addr_t paddr, u64 prot, int level, u64 n) except -9999 nogil:
        """n entries of one table from the one at `at` on."""
        cdef u64 step = <u64>1 << self.shift(level)
        cdef u64 *pte
        prot |= TYPE_TABLE if level == LAST_LEVEL else TYPE_BLOCK
        while n:
            pte = self.entry(at)
            while n:
                pte[0] = prot | self.address_bits(paddr)
                paddr += step
                pte += 1
                at += 8
                n -= 1
                if not at & 4095:
                    break
        return 0

    cdef int map_pages(self, u64 iova, phys_addr_t paddr, size_t pgsize, size_t pgcount, int prot,
                       size_t *mapped) except -9999 nogil:
        """-EINVAL (size, no permission), -ERANGE (beyond ias or oas), -EEXIST (WARN), -ENOMEM (tables)."""
        cdef int level = self.start_level
        cdef phys_addr_t table = self.root, child
        cdef u64 *pte = NULL
        cdef u64 i, n, k, attrs
        if pgsize == 0 or pgsize & self.pgsize_bitmap != pgsize:
            self.warn_iova(b"WARNING: arm_lpae_map_pages: no such page size", iova)
            return -EINVAL
        if iova >> self.ias or paddr >> self.oas:
            self.warn_iova(b"WARNING: arm_lpae_map_pages: address out of range", iova)
            return -ERANGE
        if not prot & (IOMMU_READ | IOMMU_WRITE):
            return -EINVAL
        attrs = self.prot_bits(prot)
        if pgsize == 4096:
            pte = cached_leaf(self, iova)
            if pte != NULL:
                n = self.entries_left(iova >> 12 & 511, pgcount)
                for k in range(n):
                    if is_leaf(pte[k], LAST_LEVEL):
                        self.warn_iova(b"WARNING: arm_lpae_init_pte: already mapped", iova + (k << 12))
                        return -EEXIST
                attrs |= TYPE_TABLE
                for k in range(n):
                    pte[k] = attrs | self.address_bits(paddr + (k << 12))
                mapped[0] += n << 12
                return 0
        while pgsize != <u64>1 << self.shift(level):
            if level >= LAST_LEVEL:
                self.warn_iova(b"WARNING: __arm_lpae_map: no level has this page size", iova)
                return -EINVAL
            pte = self.entry(table + 8 * self.index(iova, level))
            if pte[0] == 0:
                child = self.new_table(<u64>8 << self.stride)
                if child == PHYS_NONE:
                    return -ENOMEM
                self.install(pte, child)
            elif is_leaf(pte[0], level):
                self.warn_iova(b"WARNING: __arm_lpae_map: already mapped by a block", iova)
                return -EEXIST
            table = self.address_of(pte[0])
            level += 1
        i = self.index(iova, level)
        n = self.entries_left(i, pgcount)
        for k in range(n):
            pte = self.entry(table + 8 * (i + k))
            if is_leaf(pte[0], level):
                self.warn_iova(b"WARNING: arm_lpae_init_pte: already mapped", iova + k * pgsize)
                return -EEXIST
            if (pte[0] & TYPE_MASK) == TYPE_TABLE:
                self.clear(iova + k * pgsize, table, level, 1)
        self.write_leaves(table + 8 * i, paddr, attrs, level, n)
        if level == LAST_LEVEL and self.stride == 9:
            self.remember_leaf(iova, self.entry(table))
        mapped[0] += n * pgsize
        return 0

    # -- unmapping ---------------------------------------------------------------------------------------------

    cdef int free_level(self, phys_addr_t table, int level) except -9999 nogil:
        """Free a table of this level and all tables under it."""
        cdef u64 size = <u64>8 << self.stride, i, pte
        if level == self.start_level:
            size = max(<u64>4096, <u64>8 << self.root_bits)
        if level < LAST_LEVEL:
            for i in range((size if level > self.start_level else <u64>8 << self.root_bits) >> 3):
                pte = self.machine.mem.read64(table + 8 * i, False)
                if pte and not is_leaf(pte, level):
                    self.free_level(self.address_of(pte), level + 1)
        return self.drop_table(table, size)

    cdef size_t clear(self, u64 iova, phys_addr_t table, int level, u64 count) except? 0xBADBADBADBADBAD nogil:
        """Clear up to count entries of a table of this level; the bytes cleared before its end or an empty entry."""
        cdef u64 i = self.index(iova, level), n = self.entries_left(i, count), k, old
        cdef u64 *pte
        for k in range(n):
            pte = self.entry(table + 8 * (i + k))
            old = pte[0]
            if not old:
                self.warn_iova(b"WARNING: __arm_lpae_unmap: not mapped", iova + (k << self.shift(level)))
                return k << self.shift(level)
            pte[0] = 0
            if not is_leaf(old, level):
                self.flush_range(iova + (k << self.shift(level)), <u64>1 << self.shift(level))
                self.free_level(self.address_of(old), level + 1)
        return n << self.shift(level)

    cdef size_t split(self, u64 *block, u64 iova, u64 pgsize, u64 pgcount, int level) except? 0xBADBADBADBADBAD nogil:
        """Replace a block by a table of the given level without what is unmapped; 0 if there is no memory for it."""
        cdef u64 old = block[0], size = <u64>1 << self.shift(level), n = <u64>1 << self.stride, first = 0, gone = 0
        cdef phys_addr_t table = self.new_table(n << 3), paddr = self.address_of(old)
        if table == PHYS_NONE:
            return 0
        if pgsize == size:
            first = self.index(iova, level)
            gone = self.entries_left(first, pgcount)
        self.write_leaves(table, paddr, old & LEAF_ATTRS, level, first)
        self.write_leaves(table + 8 * (first + gone), paddr + (first + gone) * size, old & LEAF_ATTRS, level,
                          n - first - gone)
        self.install(block, table)
        if gone:
            return gone * pgsize
        return self.unmap_from(table, level, iova, pgsize, pgcount)

    cdef size_t unmap_from(self, phys_addr_t table, int level, u64 iova, u64 pgsize,
                           u64 pgcount) except? 0xBADBADBADBADBAD nogil:
        cdef u64 *pte
        while level <= LAST_LEVEL:
            pte = self.entry(table + 8 * self.index(iova, level))
            if pte[0] == 0:
                break
            if pgsize == <u64>1 << self.shift(level):
                return self.clear(iova, table, level, pgcount)
            if is_leaf(pte[0], level):
                return self.split(pte, iova, pgsize, pgcount, level + 1)
            table = self.address_of(pte[0])
            level += 1
        self.warn_iova(b"WARNING: __arm_lpae_unmap: not mapped", iova)
        return 0

    cdef size_t unmap_pages(self, u64 iova, size_t pgsize, size_t pgcount) except? 0xBADBADBADBADBAD nogil:
        """The bytes unmapped, up to the end of the table; 0 and a WARN where nothing is mapped."""
        cdef u64 *pte
        cdef u64 k, n
        if pgsize == 0 or pgsize & self.pgsize_bitmap != pgsize or pgcount == 0 or iova >> self.ias:
            self.warn_iova(b"WARNING: arm_lpae_unmap_pages: no such page size or address", iova)
            return 0
        pte = cached_leaf(self, iova) if pgsize == 4096 else NULL
        if pte == NULL:
            return self.unmap_from(self.root, self.start_level, iova, pgsize, pgcount)
        n = self.entries_left(iova >> 12 & 511, pgcount)
        for k in range(n):
            if pte[k] == 0:
                self.warn_iova(b"WARNING: __arm_lpae_unmap: not mapped", iova + (k << 12))
                return k << 12
            pte[k] = 0
        return n << 12

    # -- the TLB -----------------------------------------------------------------------------------------------

    cdef void flush_range(self, u64 iova, u64 size) noexcept nogil:
        """__arm_smmu_tlb_inv_range(): a command per 5 bits of the number of pages, from the lowest on."""
        cdef u64 pages = size >> self.page_shift, num
        cdef unsigned int scale
        if self.flush_all:
            (<LpaeWalker>self.walker).tlbi_all()
            return
        while pages:
            scale = ctzl(pages)
            num = pages >> scale & 31
            (<LpaeWalker>self.walker).tlbi_range(iova, num - 1, scale, (self.page_shift - 10) // 2)
            iova += num << scale + self.page_shift
            pages -= num << scale

    cdef int iotlb_sync(self, u64 iova, size_t size) except -9999 nogil:
        self.syncs += 1
        self.flush_range(iova, size)
        return 0

    cdef int flush_iotlb_all(self) except -9999 nogil:
        (<LpaeWalker>self.walker).tlbi_all()
        return 0

    cdef phys_addr_t iova_to_phys(self, u64 iova) noexcept nogil:
        cdef int level = self.start_level
        cdef phys_addr_t table = self.root
        cdef u64 pte
        while level <= LAST_LEVEL:
            pte = self.machine.mem.read64(table + 8 * self.index(iova, level), False)
            if not pte:
                return 0
            if is_leaf(pte, level):
                return self.address_of(pte) | (iova & ((<u64>1 << self.shift(level)) - 1))
            table = self.address_of(pte)
            level += 1
        return 0

    def table(self):
        """The leaf entries {iova: entry}, read from the table's memory."""
        return {iova: entry for iova, (entry, _) in self._leaves().items()}

    def _leaves(self):
        """{iova: (entry, bytes that it maps)}."""
        cdef dict leaves = {}
        if self.root:
            self._collect(self.root, self.start_level, 0, leaves)
        return leaves

    def _collect(self, u64 table, int level, u64 iova, dict leaves):
        cdef u64 pte, i
        for i in range(<u64>1 << (self.root_bits if level == self.start_level else self.stride)):
            pte = self.machine.mem.read64(table + 8 * i, False)
            if is_leaf(pte, level):
                leaves[iova + (i << self.shift(level))] = (pte, <u64>1 << self.shift(level))
            elif pte and level < LAST_LEVEL:
                self._collect(self.address_of(pte), level + 1, iova + (i << self.shift(level)), leaves)

    def pages(self):
        """{iova: (physical address, IOMMU_* protection)} of every 4 KiB that the table maps, read from its memory."""
        cdef u64 pte, iova, offset
        cdef dict found = {}
        cdef int prot
        for iova, (pte, size) in self._leaves().items():
            prot = IOMMU_READ | (0 if pte & AP_RDONLY else IOMMU_WRITE) | (0 if pte & AP_UNPRIV else IOMMU_PRIV)
            prot |= {ATTR_CACHE: IOMMU_CACHE, ATTR_DEVICE: IOMMU_MMIO}.get(pte & ATTR_MASK, 0)
            prot |= IOMMU_NOEXEC if pte & XN else 0
            for offset in range(0, size, 4096):
                found[iova + offset] = (self.address_of(pte) + offset, prot)
        return found

    def free(self):
        """Give back every table page, as the freeing of the domain does."""
        self.machine.mem.write64(self.context, 0, False)
        self.flush_iotlb_all()
        if self.root:
            self.free_level(self.root, self.start_level)
            self.root = 0


cdef class LpaeWalker(Walker):
    """The SMMU of a device whose context descriptor is at `context`."""

    def __cinit__(self, Machine machine not None, u64 context, unsigned int granule=12):
        self.machine = machine
        self.context = context
        self.iotlb = Iotlb(granule)

    cdef void tlbi_range(self, u64 address, unsigned int num, unsigned int scale, unsigned int tg) noexcept nogil:
        """CMD_TLBI_NH_VA with a range: (num + 1) << scale granules of 1 << 2 tg + 10 bytes."""
        self.iotlb.invalidate(address, (<u64>num + 1) << scale + 2 * tg + 10)

    cdef void tlbi_all(self) noexcept nogil:
        """CMD_TLBI_NH_ASID; the FLUSH bit of the IPMMU's IMCTR."""
        self.iotlb.invalidate_all()

    cdef int translate(self, Device dev, dma_addr_t addr, bint write, phys_addr_t *phys, u64 *run) except -9999 nogil:
        cdef u64 cd = self.machine.mem.read64(self.context, False)
        cdef u64 table = self.machine.mem.read64(self.context + 8, False) & 0x000ffffffffffff0u
        cdef unsigned int bits, page_shift, stride, shift
        cdef unsigned int oas = OUTPUT_BITS[cd >> 32 & 7] if cd >> 32 & 7 <= 6 else 0
        cdef u64 pte, out, span
        cdef bint denied = False
        cdef int level
        if not cd & CD_VALID:
            return WALK_NOT_PRESENT
        page_shift = 14 if (cd >> 6 & 3) == 2 else 12 + 4 * (cd >> 6 & 3)
        bits = (64 if cd & CD_AA64 else 32) - (cd & 63)
        if page_shift > 16 or bits > 52 or bits <= page_shift or not oas:
            return WALK_MALFORMED
        if addr >> bits:
            return WALK_OUT_OF_RANGE
        stride = page_shift - 3
        level = 4 - <int>((bits - page_shift + stride - 1) // stride)
        shift = page_shift + (3 - level) * stride
        while True:
            if table >> oas:
                return WALK_MALFORMED
            pte = self.machine.mem.read64(table + 8 * ((addr & ((<u64>1 << bits) - 1)) >> shift), False)
            if not pte & 1:
                return WALK_NOT_PRESENT
            out = pte & ADDR & ~((<u64>1 << page_shift) - 1)
            if page_shift == 16:
                out |= (pte >> 12 & 15) << 48
            elif pte >> 48 & 3:
                return WALK_MALFORMED
            if out >> oas:
                return WALK_MALFORMED
            if level == 3 or not pte & 2:
                break
            if pte & APTABLE_PRIV and not self.privileged or pte & APTABLE_RDONLY and write:
                denied = True
            table = out
            bits = shift
            shift -= stride
            level += 1
        span = (<u64>1 << shift) - 1
        if level == 3 and not pte & 2 or level == 0 or level == 1 and page_shift == 14 or out & span or not pte & AF:
            return WALK_MALFORMED
        if denied or not pte & AP_UNPRIV and not self.privileged or pte & AP_RDONLY and write:
            return WALK_PERMISSION
        phys[0] = out | (addr & span)
        run[0] = span + 1 - (addr & span)
        return WALK_OK

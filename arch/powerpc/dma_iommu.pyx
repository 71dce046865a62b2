# SPDX-License-Identifier: MIT
"""dma_iommu_ops: powerpc's PCI, VIO and platform devices behind TCEs (arch/powerpc/kernel/dma-iommu.c, Linux 6.1)."""

from libc.errno cimport EINVAL, ENOMEM

from dma_ops.device cimport (
    DMA_BIDIRECTIONAL,
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
    Walker,
)
from dma_ops.machine cimport PHYS_NONE, Machine
from dma_ops.mapping cimport dma_common_alloc_pages, dma_common_free_pages
from scatterlist.core cimport scatterlist, sg_next, sg_phys
from scatterlist.types cimport dma_addr_t, page_t, phys_addr_t

from .tce cimport PASS_THROUGH, tce_format

cdef enum:
    TABLE_WINDOW = 0                        # the bridge's first window: the table of dma_iommu_ops
    BYPASS_WINDOW = 1
    TVE0_SHIFT = 28                         # PHB3: 256 MiB TCEs

cdef enum:
    DDW, IODA, PHB3, DART, CELL

cdef dict RULES = {"ddw": DDW, "ioda": IODA, "phb3": PHB3, "dart": DART, "cell": CELL}

cdef u64 ALL_ONES = ~<u64>0


cdef inline unsigned int order_base_2(u64 n) noexcept nogil:
    """The smallest order with n <= 1 << order."""
    cdef unsigned int order = 0
    while order < 63 and (<u64>1 << order) < n:
        order += 1
    return order


cdef class DirectWindow:
    """How a platform lets a device reach memory past the table, at dma = phys + base.

    rule: who is let through. "ddw" (pseries): a 64-bit mask; the window is a second table, made at the first request,
    whose entries of 1 << page_shift bytes map all RAM; with pmem=True persistent memory lies above it, so that
    bus_dma_limit ends the window and only buffers below it go direct. If instead is an IommuTable, the hypervisor's
    window was too small to map RAM one to one: that table replaces the first one, and nothing goes direct. "ioda"
    (powernv): a mask that reaches base + RAM. "phb3": as ioda; a device that reaches 4 GiB + RAM gets window 0
    rewritten to map RAM at 4 GiB. "dart" (U4 PCIe): 40 bits. "cell" (fixed mapping): a 64-bit mask.
    memory_max: what RAM may grow to, in bytes (0: the end of RAM).
    """

    def __init__(self, str rule, u64 base, *, unsigned int page_shift=24, bint pmem=False, u64 memory_max=0,
                 IommuTable instead=None):
        if rule not in RULES:
            raise ValueError(f"no direct window is called {rule}: {', '.join(RULES)}")
        if not 12 <= page_shift <= 34:
            raise ValueError(f"I/O pages of 1 << {page_shift} bytes")
        self.rule = rule
        self.rule_nr = RULES[rule]
        self.base = base
        self.page_shift = page_shift
        self.pmem = pmem
        self.memory_max = memory_max
        self.instead = instead


cdef class DmaIommuOps(DmaMapOps):
    """powerpc's devices behind a table of TCEs, with a direct window for those whose mask reaches it.

    Own to it: a bitmap in up to four pools chosen by CPU, and a large pool for more than 15 I/O pages; hints that jump
    to the next block of 16. I/O pages of 4 KiB to 16 GiB against CPU pages of 4 or 64 KiB. Each entry of a list is
    allocated alone and joined afterwards if its neighbour's pages touch, so that a segment may cross the segment
    boundary. A mask is never refused (but by it_offset): what it cannot reach fails at map time, with -EIO for lists,
    where retrying would help. dma_set_mask opens and leaves the direct window: mappings made on one side and unmapped
    on the other are logged and leak. A required mask includes dma_offset for good once the window is open.
    One object is one bridge: its table, its windows and the devices behind it (attach).
    """

    def __cinit__(self, IommuTable tbl=None, DirectWindow direct_window=None, **kwargs):
        self.filled = (OP_ALLOC | OP_FREE | OP_MAP_PAGE | OP_UNMAP_PAGE | OP_MAP_SG | OP_UNMAP_SG | OP_DMA_SUPPORTED
                       | OP_GET_REQUIRED_MASK | OP_MMAP | OP_GET_SGTABLE | OP_ALLOC_PAGES | OP_FREE_PAGES)
        if tbl is None and direct_window is not None:
            raise ValueError("a direct window needs a table beside it")
        self.tbl = tbl
        self.direct_window = direct_window
        if tbl is None:
            self.walker = Walker()              # a bridge that translates nothing
        else:
            self.walker = self.bridge = TceWalker(tbl.machine)
            self.set_table(TABLE_WINDOW, tbl)
            self.tables = [tbl]

    cdef int set_table(self, int number, IommuTable tbl):
        return self.bridge.set_window(number, tbl.it_offset << tbl.it_page_shift, tbl.it_size << tbl.it_page_shift,
                                      tbl.it_page_shift, tbl.it_base, tbl.format)

    def attach(self, Device dev not None):
        """Put a device behind this bridge; the platform's dma_dev_setup. The device."""
        cdef u64 end
        dev.dma_ops = self
        if self.direct_window is not None and self.direct_window.rule_nr != DDW and dev.is_pci:
            dev.dma_offset = self.direct_window.base
            end = <u64>1 << order_base_2(dev.machine.end_of_ram())
            if self.direct_window.rule_nr == DART:
                end = self.direct_window.base           # an address bit, not a window
            self.bridge.set_window(BYPASS_WINDOW, self.direct_window.base, end, 0, PASS_THROUGH, NULL)
            self.enabled = True
        return dev

    def resources(self):
        return {"entries": sum(tbl.pages_used for tbl in self.tables or ())}

    def table(self):
        return {index: entry for tbl in self.tables or () for index, entry in tbl.entries().items()}

    # -- the direct window -------------------------------------------------------------------------------------

    cdef int open_ddw(self, Device dev) except -9999:
        """enable_ddw(): a window of TCEs over all RAM, both directions. 0 or -errno."""
        cdef DirectWindow d = self.direct_window
        cdef Machine m = dev.machine
        cdef const tce_format *format = self.tbl.format
        cdef u64 tce, size = <u64>1 << order_base_2(d.memory_max or m.end_of_ram())
        cdef phys_addr_t table
        cdef int i
        if self.enabled:
            return 0
        table = m.alloc_table((size >> d.page_shift or 1) * 8, 4096)
        if table == PHYS_NONE:
            return -ENOMEM
        for i in range(m.nr_ram):
            tce = m.ram[i].start >> d.page_shift
            while tce << d.page_shift < m.ram[i].end and tce << d.page_shift < size:
                m.mem.write64(table + tce * 8, (tce << d.page_shift) | format.prot[DMA_BIDIRECTIONAL], True)
                tce += 1
        self.bridge.set_window(BYPASS_WINDOW, d.base, size, d.page_shift, table, format)
        self.enabled = True
        return 0

    cdef int open_tve0(self, Device dev) except -9999:
        """pnv_pci_ioda_dma_64bit_bypass(): window 0 is rewritten to map RAM at 4 GiB, and with it goes the table that
        dma_iommu_ops still writes (arch/powerpc/platforms/powernv/pci-ioda.c)."""
        cdef Machine m = dev.machine
        cdef const tce_format *format = self.tbl.format
        cdef u64 addr = 0, end = self.direct_window.memory_max or m.end_of_ram()
        cdef u64 size = <u64>1 << order_base_2(end + (<u64>1 << 32))
        cdef phys_addr_t table
        table = m.alloc_table((size >> TVE0_SHIFT) * 8, 4096)
        if table == PHYS_NONE:
            return -ENOMEM
        while addr < end:
            m.mem.write64(table + ((addr + (<u64>1 << 32)) >> TVE0_SHIFT) * 8, addr | format.prot[DMA_BIDIRECTIONAL],
                          True)
            addr += <u64>1 << TVE0_SHIFT
        self.bridge.set_window(TABLE_WINDOW, 0, size, TVE0_SHIFT, table, format)
        return 0

    cdef int bypass_supported(self, Device dev, u64 mask) except -9999 with gil:
        """The platform's iommu_bypass_supported(); it opens the window and sets dma_offset."""
        cdef DirectWindow d = self.direct_window
        cdef u64 end
        if d is None:
            return False
        end = d.memory_max or dev.machine.end_of_ram()
        if d.rule_nr == DDW:
            if mask != ALL_ONES:
                return False
            if d.instead is not None:
                if self.tbl is not d.instead:
                    self.tbl = d.instead
                    self.tables.append(d.instead)
                    self.set_table(BYPASS_WINDOW, d.instead)
                dev.dma_offset = d.base
                return False
            if self.open_ddw(dev):
                return False
            dev.dma_offset = d.base
            if d.pmem:
                dev.bus_dma_limit = d.base + (<u64>1 << order_base_2(end))
            return True
        if d.rule_nr == DART:
            return mask >= (<u64>1 << 40) - 1
        if d.rule_nr == CELL:
            return mask == ALL_ONES
        if mask >= d.base + dev.machine.end_of_ram() - 1:
            return True
        if d.rule_nr == PHB3 and mask >> 32 and mask > end + (<u64>1 << 32) and self.open_tve0(dev) == 0:
            dev.dma_offset = <u64>1 << 32
            return True
        return False

    cdef bint can_map_direct(self, Device dev, phys_addr_t phys) noexcept nogil:
        return dev.bus_dma_limit >= phys + dev.dma_offset

    cdef bint arch_map_page_direct(self, Device dev, phys_addr_t end) noexcept nogil:
        return dev.bus_dma_limit and self.can_map_direct(dev, end)

    cdef bint arch_unmap_page_direct(self, Device dev, dma_addr_t addr) noexcept nogil:
        return dev.bus_dma_limit and addr >= dev.dma_offset

    cdef bint arch_map_sg_direct(self, Device dev, scatterlist *sg, int nents) noexcept nogil:
        """All or none. The offset is counted twice, so a list may go through the table for its last page
        (arch/powerpc/kernel/dma-iommu.c, arch_dma_map_sg_direct)."""
        if not dev.bus_dma_limit:
            return False
        for _ in range(nents):
            if not self.can_map_direct(dev, sg_phys(sg) + sg.offset + sg.length):
                return False
            sg = sg_next(sg)
        return True

    cdef bint arch_unmap_sg_direct(self, Device dev, scatterlist *sg, int nents) noexcept nogil:
        if not dev.bus_dma_limit:
            return False
        for _ in range(nents):
            if sg.dma_address + sg.length < dev.dma_offset:
                return False
            sg = sg_next(sg)
        return True

    # -- the table ---------------------------------------------------------------------------------------------

    cdef u64 mask_of(self, Device dev) noexcept nogil:
        return dev.dma_mask if dev.dma_mask else 0xffffffff

    cdef dma_addr_t map_page(self, Device dev, page_t page, u64 offset, size_t size, int dir,
                             unsigned long attrs) except? 0xBADBADBADBADBAD nogil:
        if self.tbl is None:
            return DMA_MAPPING_ERROR
        return self.tbl.map_page(dev, page, offset, size, self.mask_of(dev), dir, attrs)

    cdef int unmap_page(self, Device dev, dma_addr_t addr, size_t size, int dir,
                        unsigned long attrs) except -9999 nogil:
        return self.tbl.unmap_page(addr, size) if self.tbl is not None else 0

    cdef int map_sg(self, Device dev, scatterlist *sgl, int nents, int dir, unsigned long attrs) except -9999 nogil:
        if self.tbl is None:
            return -EINVAL
        return self.tbl.map_sg(dev, sgl, nents, self.mask_of(dev), dir, attrs)

    cdef int unmap_sg(self, Device dev, scatterlist *sgl, int nents, int dir, unsigned long attrs) except -9999 nogil:
        return self.tbl.unmap_sg(sgl, nents) if self.tbl is not None else 0

    cdef int alloc(self, Device dev, size_t size, dma_addr_t *dma_handle, u64 *cpu_addr,
                   unsigned long attrs) except -9999 nogil:
        if self.tbl is None:
            return -ENOMEM
        return self.tbl.alloc_coherent(dev, size, dma_handle, cpu_addr, dev.coherent_dma_mask)

    cdef int free(self, Device dev, size_t size, u64 cpu_addr, dma_addr_t dma_handle,
                  unsigned long attrs) except -9999 nogil:
        return self.tbl.free_coherent(size, cpu_addr, dma_handle) if self.tbl is not None else 0

    cdef int alloc_pages(self, Device dev, size_t size, dma_addr_t *dma_handle, page_t *page,
                         int dir) except -9999 nogil:
        return dma_common_alloc_pages(self, dev, size, dma_handle, page, dir)

    cdef int free_pages(self, Device dev, size_t size, page_t page, dma_addr_t dma_handle, int dir) except -9999 nogil:
        return dma_common_free_pages(self, dev, size, page, dma_handle, dir)

    # -- masks -------------------------------------------------------------------------------------------------

    cdef int dma_supported(self, Device dev, u64 mask) except -9999 nogil:
        """1 or 0. A side effect decides where mappings go from now on: dma_ops_bypass."""
        if dev.is_pci and self.bypass_supported(dev, mask):
            dev.dma_ops_bypass = dev.bus_dma_limit == 0
            return 1
        if self.tbl is None or self.tbl.it_offset > mask >> self.tbl.it_page_shift:
            return 0
        dev.dma_ops_bypass = False
        return 1

    cdef u64 get_required_mask(self, Device dev) except? 0xBADBADBADBADBAD nogil:
        """A PCI device is told the mask of direct mapping even if that is not to be had; asking may open the window."""
        cdef u64 mask, end
        cdef int bits = 0
        if dev.is_pci:
            mask = dev.direct.get_required_mask(dev)
            if self.dma_supported(dev, mask):
                return mask
        if self.tbl is None:
            return 0
        end = self.tbl.it_offset + self.tbl.it_size
        while end:
            end >>= 1
            bits += 1
        mask = <u64>1 << (bits + self.tbl.it_page_shift - 1)
        return mask + (mask - 1)

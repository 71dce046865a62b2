# SPDX-License-Identifier: MIT
"""struct device as the DMA layer sees it, struct dma_map_ops, and the hardware's side of a mapping."""

from libc.stdlib cimport calloc
from libc.stdlib cimport free as c_free

from .errors cimport kernel_bug

from .errors import DmaFault

DMA_MAPPING_ERROR = ~<u64>0

_REASONS = {WALK_NOT_PRESENT: "not-present", WALK_PERMISSION: "permission", WALK_OUT_OF_RANGE: "out-of-range",
            WALK_MALFORMED: "malformed"}

OPS = {
    "alloc": OP_ALLOC, "free": OP_FREE, "alloc_pages": OP_ALLOC_PAGES, "free_pages": OP_FREE_PAGES,
    "alloc_noncontiguous": OP_ALLOC_NONCONTIGUOUS, "free_noncontiguous": OP_FREE_NONCONTIGUOUS,
    "mmap": OP_MMAP, "get_sgtable": OP_GET_SGTABLE, "map_page": OP_MAP_PAGE, "unmap_page": OP_UNMAP_PAGE,
    "map_sg": OP_MAP_SG, "unmap_sg": OP_UNMAP_SG, "map_resource": OP_MAP_RESOURCE,
    "unmap_resource": OP_UNMAP_RESOURCE, "sync_single_for_cpu": OP_SYNC_SINGLE_FOR_CPU,
    "sync_single_for_device": OP_SYNC_SINGLE_FOR_DEVICE, "sync_sg_for_cpu": OP_SYNC_SG_FOR_CPU,
    "sync_sg_for_device": OP_SYNC_SG_FOR_DEVICE, "cache_sync": OP_CACHE_SYNC, "dma_supported": OP_DMA_SUPPORTED,
    "get_required_mask": OP_GET_REQUIRED_MASK, "max_mapping_size": OP_MAX_MAPPING_SIZE,
    "opt_mapping_size": OP_OPT_MAPPING_SIZE, "get_merge_boundary": OP_GET_MERGE_BOUNDARY,
}


cdef class Walker:
    """The hardware: decodes the translation table in memory, and nothing else."""

    cdef int translate(self, Device dev, dma_addr_t addr, bint write, phys_addr_t *phys, u64 *run) except -9999 nogil:
        """WALK_OK with the physical address of addr and how many bytes from it on follow one another, or WALK_*."""
        return WALK_NOT_PRESENT

    cdef int reach(self, Device dev, dma_addr_t addr, u64 want, bint write, phys_addr_t *phys,
                   u64 *run) except -9999 nogil:
        """translate() as an access of want bytes does it: by what the hardware remembers, which then grows."""
        cdef phys_addr_t at = 0
        cdef u64 done = 0, n = 0
        cdef int ret
        if self.iotlb is None:
            return self.translate(dev, addr, write, phys, run)
        while done < want:
            if not self.iotlb.find(addr + done, write, &at, &n):
                ret = self.translate(dev, addr + done, write, &at, &n)
                if ret:
                    if done:
                        break
                    return ret
                n = n or 1                      # the last byte of the address space
                self.iotlb.fill(addr + done, at, n, want - done, write)
            if done == 0:
                phys[0] = at
            elif at != phys[0] + done:
                break
            done = done + n if n < want - done else want
        run[0] = done
        return WALK_OK

    def lookup(self, Device dev not None, u64 addr, bint write=False):
        """(physical address, length of the run) of a bus address by the table as it is now, whatever the hardware
        remembers. Raises DmaFault."""
        cdef phys_addr_t phys = 0
        cdef u64 run = 0
        cdef int ret
        if dev.machine is None or dev.machine.nr_ram == 0:
            raise ValueError("the device was made without __init__, so it is on no machine")
        ret = self.translate(dev, addr, write, &phys, &run)
        if ret:
            raise DmaFault(addr, _REASONS[ret], write)
        return phys, run

    def prefetch(self, Device dev not None, u64 addr, u64 size=1, bint write=False):
        """Let the device translate ahead (an ATS request, a prefetch hint): what it is told, it remembers.

        (physical address, length of the run). Raises DmaFault.
        """
        cdef phys_addr_t phys = 0
        cdef u64 run = 0
        cdef int ret
        if dev.machine is None or dev.machine.nr_ram == 0:
            raise ValueError("the device was made without __init__, so it is on no machine")
        if size == 0:
            raise ValueError("a prefetch of no bytes")
        ret = self.reach(dev, addr, size, write, &phys, &run)
        if ret:
            raise DmaFault(addr, _REASONS[ret], write)
        return phys, run


cdef class IoTlbMemBase:
    """struct io_tlb_mem, whose fields dma_ops.swiotlb declares."""


cdef class Device:
    """struct device: masks, limits and the ops table of one device on one machine.

    pci: a PCI function gets the dma_parms that the PCI core sets (64 KiB segments, 4 GiB boundary). dma_parms=False:
    a device whose bus gives it none, so the setters of the limits have no effect. dma_ranges: (cpu_start, dma_start,
    size) rows of dev->dma_range_map.
    """

    def __init__(self, str name, Machine machine not None, *, bint pci=True, bint dma_parms=True,
                 DmaMapOps dma_ops=None, u64 mask=0xffffffff, bint coherent=True, u64 bus_dma_limit=0, dma_ranges=()):
        cdef int i
        self.name = name
        self.machine = machine
        self.dma_ops = dma_ops
        self.is_pci = pci
        self.has_dma_mask = True
        self.dma_mask = self.coherent_dma_mask = mask & machine.dma_addr_mask
        self.bus_dma_limit = bus_dma_limit
        self.has_dma_parms = dma_parms
        if pci and dma_parms:
            self.max_segment_size = 65536
            self.segment_boundary_mask = 0xffffffff
        self.dma_coherent = coherent
        rows = list(dma_ranges)
        if rows:
            self.ranges = <bus_dma_region *>calloc(len(rows), sizeof(bus_dma_region))
            if self.ranges == NULL:
                raise MemoryError("no memory for the dma_range_map")
            for i, (cpu_start, dma_start, size) in enumerate(rows):
                self.ranges[i].cpu_start = cpu_start
                self.ranges[i].dma_start = dma_start
                self.ranges[i].size = size
            self.nr_ranges = len(rows)
        from .direct import DmaDirect
        self.direct = DmaDirect()

    def __dealloc__(self):
        c_free(self.ranges)

    def __repr__(self):
        table = type(self.dma_ops).__name__ if self.dma_ops is not None else "dma-direct"
        return f"<Device {self.name} on {self.machine.name if self.machine is not None else None}: {table}>"

    @property
    def dma_ranges(self):
        return [(self.ranges[i].cpu_start, self.ranges[i].dma_start, self.ranges[i].size)
                for i in range(self.nr_ranges)]

    cdef dma_addr_t phys_to_dma(self, phys_addr_t phys) noexcept nogil:
        """DMA_MAPPING_ERROR outside every range of a dma_range_map (include/linux/dma-direct.h)."""
        cdef int i
        if self.nr_ranges == 0:
            return phys + self.dma_offset
        for i in range(self.nr_ranges):
            if phys >= self.ranges[i].cpu_start and phys - self.ranges[i].cpu_start < self.ranges[i].size:
                return self.ranges[i].dma_start + (phys - self.ranges[i].cpu_start)
        return DMA_MAPPING_ERROR

    cdef phys_addr_t dma_to_phys(self, dma_addr_t dma) noexcept nogil:
        cdef int i
        if self.nr_ranges == 0:
            return dma - self.dma_offset
        for i in range(self.nr_ranges):
            if dma >= self.ranges[i].dma_start and dma - self.ranges[i].dma_start < self.ranges[i].size:
                return self.ranges[i].cpu_start + (dma - self.ranges[i].dma_start)
        return ~<u64>0

    cdef u64 dma_limit(self) noexcept nogil:
        """The highest address the device may be given for streaming DMA: min_not_zero(mask, bus_dma_limit)."""
        return min_not_zero(self.dma_mask, self.bus_dma_limit)

    cdef bint all_ram_mapped(self) noexcept nogil:
        """Does the dma_range_map, if there is one, cover all RAM?"""
        cdef u64 addr, covered
        cdef int i, k
        if self.nr_ranges == 0:
            return True
        for i in range(self.machine.nr_ram):
            addr = self.machine.ram[i].start
            while addr < self.machine.ram[i].end:
                covered = 0
                for k in range(self.nr_ranges):
                    if self.ranges[k].cpu_start <= addr and addr - self.ranges[k].cpu_start < self.ranges[k].size:
                        covered = self.ranges[k].cpu_start + self.ranges[k].size
                        break
                if covered == 0:
                    return False
                addr = covered
        return True

    def resources(self):
        """What is allocated for the device now, by kind: its backend's, and slots of its bounce pool, which it may
        share with others. Equal before and after whatever must not leak."""
        ops = self.dma_ops if self.dma_ops is not None else self.direct
        if ops is None or (ops.filled and ops.walker is None):
            raise ValueError(f"device {self.name}: it, or its backend, was made without __init__")
        counts = dict(ops.resources())
        if self.io_tlb_mem is not None:
            counts["swiotlb slots"] = self.io_tlb_mem.used
        if self.coherent_pool is not None:
            counts["coherent pages"] = self.coherent_pool.used
        return counts

    # -- what the device itself does ---------------------------------------------------------------------------

    def _reach(self, u64 addr, size_t n, bint write):
        """Where an access of n bytes by the device at a bus address ends: (physical address, length of the run)."""
        cdef DmaMapOps ops
        if self.coherent_pool is not None:
            own = self.coherent_pool.claim(addr)
            if own is not None:
                return own
        if self.pci is not None:
            peer = self.pci.claim(addr)         # a switch or bridge below the host routes it to a peer's BAR
            if peer is not None:
                return peer
        ops = self.dma_ops if self.dma_ops is not None else self.direct
        if ops is None or ops.walker is None:
            raise ValueError(f"device {self.name}: no hardware translates for it")
        phys, run = ops.walker.prefetch(self, addr, n, write)
        return phys, run or 1               # the last byte of the address space

    def dma_read(self, u64 addr, size_t n):
        """Let the device read n bytes at a bus address, through the hardware only. Raises DmaFault."""
        cdef list parts = []
        while n:
            phys, run = self._reach(addr, n, False)
            step = min(n, run)
            if self.dma_coherent:
                self.machine.snoop(phys, step)
            parts.append(self.machine.mem.peek(phys, step))
            addr += step
            n -= step
        return b"".join(parts)

    def dma_write(self, u64 addr, data):
        """Let the device write bytes at a bus address, through the hardware only. Raises DmaFault; what came before
        the byte that failed is written."""
        cdef bytes raw = bytes(data)
        cdef size_t i = 0
        while i < len(raw):
            phys, run = self._reach(addr + i, len(raw) - i, True)
            step = min(len(raw) - i, run)
            if self.dma_coherent:
                self.machine.snoop(phys, step)
            self.machine.mem.poke(phys, raw[i:i + step])
            i += step


cdef class DmaMapOps:
    """struct dma_map_ops of Linux 6.1: a backend is a subclass that fills some of the members (see OPS).

    The base fills none. Calling an absent member is what a NULL call is in Linux: KernelBug.
    """

    @property
    def ops(self):
        """The names of the members that are filled."""
        return tuple(name for name, bit in OPS.items() if self.filled & bit)

    def resources(self):
        """What is allocated now, by kind ({"entries": 12}): equal before and after whatever must not leak."""
        return {}

    def flush(self):
        """Finish what the backend does lazily: flush queues, delayed frees, the hardware's caches."""

    def table(self):
        """The live entries of the translation table, {index: entry}, read from where the hardware reads them."""
        return {}

    cdef int alloc(self, Device dev, size_t size, dma_addr_t *dma_handle, u64 *cpu_addr,
                   unsigned long attrs) except -9999 nogil:
        return kernel_bug(b"call of NULL dma_map_ops.alloc")

    cdef int free(self, Device dev, size_t size, u64 cpu_addr, dma_addr_t dma_handle,
                  unsigned long attrs) except -9999 nogil:
        return kernel_bug(b"call of NULL dma_map_ops.free")

    cdef int alloc_pages(self, Device dev, size_t size, dma_addr_t *dma_handle, page_t *page,
                         int dir) except -9999 nogil:
        return kernel_bug(b"call of NULL dma_map_ops.alloc_pages")

    cdef int free_pages(self, Device dev, size_t size, page_t page, dma_addr_t dma_handle, int dir) except -9999 nogil:
        return kernel_bug(b"call of NULL dma_map_ops.free_pages")

    cdef int alloc_noncontiguous(self, Device dev, size_t size, sg_table *sgt, int dir,
                                 unsigned long attrs) except -9999 nogil:
        return kernel_bug(b"call of NULL dma_map_ops.alloc_noncontiguous")

    cdef int free_noncontiguous(self, Device dev, size_t size, sg_table *sgt, int dir) except -9999 nogil:
        return kernel_bug(b"call of NULL dma_map_ops.free_noncontiguous")

    cdef dma_addr_t map_page(self, Device dev, page_t page, u64 offset, size_t size, int dir,
                             unsigned long attrs) except? 0xBADBADBADBADBAD nogil:
        kernel_bug(b"call of NULL dma_map_ops.map_page")
        return DMA_MAPPING_ERROR

    cdef int unmap_page(self, Device dev, dma_addr_t addr, size_t size, int dir,
                        unsigned long attrs) except -9999 nogil:
        return kernel_bug(b"call of NULL dma_map_ops.unmap_page")

    cdef int map_sg(self, Device dev, scatterlist *sgl, int nents, int dir, unsigned long attrs) except -9999 nogil:
        return kernel_bug(b"call of NULL dma_map_ops.map_sg")

    cdef int unmap_sg(self, Device dev, scatterlist *sgl, int nents, int dir, unsigned long attrs) except -9999 nogil:
        return kernel_bug(b"call of NULL dma_map_ops.unmap_sg")

    cdef dma_addr_t map_resource(self, Device dev, phys_addr_t phys, size_t size, int dir,
                                 unsigned long attrs) except? 0xBADBADBADBADBAD nogil:
        kernel_bug(b"call of NULL dma_map_ops.map_resource")
        return DMA_MAPPING_ERROR

    cdef int unmap_resource(self, Device dev, dma_addr_t addr, size_t size, int dir,
                            unsigned long attrs) except -9999 nogil:
        return kernel_bug(b"call of NULL dma_map_ops.unmap_resource")

    cdef int sync_single_for_cpu(self, Device dev, dma_addr_t addr, size_t size, int dir) except -9999 nogil:
        return kernel_bug(b"call of NULL dma_map_ops.sync_single_for_cpu")

    cdef int sync_single_for_device(self, Device dev, dma_addr_t addr, size_t size, int dir) except -9999 nogil:
        return kernel_bug(b"call of NULL dma_map_ops.sync_single_for_device")

    cdef int sync_sg_for_cpu(self, Device dev, scatterlist *sgl, int nents, int dir) except -9999 nogil:
        return kernel_bug(b"call of NULL dma_map_ops.sync_sg_for_cpu")

    cdef int sync_sg_for_device(self, Device dev, scatterlist *sgl, int nents, int dir) except -9999 nogil:
        return kernel_bug(b"call of NULL dma_map_ops.sync_sg_for_device")

    cdef int dma_supported(self, Device dev, u64 mask) except -9999 nogil:
        return kernel_bug(b"call of NULL dma_map_ops.dma_supported")

    cdef u64 get_required_mask(self, Device dev) except? 0xBADBADBADBADBAD nogil:
        kernel_bug(b"call of NULL dma_map_ops.get_required_mask")
        return 0

    cdef size_t max_mapping_size(self, Device dev) except? 0xBADBADBADBADBAD nogil:
        kernel_bug(b"call of NULL dma_map_ops.max_mapping_size")
        return 0

    cdef size_t opt_mapping_size(self, Device dev) except? 0xBADBADBADBADBAD nogil:
        kernel_bug(b"call of NULL dma_map_ops.opt_mapping_size")
        return 0

    cdef u64 get_merge_boundary(self, Device dev) except? 0xBADBADBADBADBAD nogil:
        kernel_bug(b"call of NULL dma_map_ops.get_merge_boundary")
        return 0

    cdef bint arch_map_page_direct(self, Device dev, phys_addr_t end) noexcept nogil:
        return False

    cdef bint arch_unmap_page_direct(self, Device dev, dma_addr_t addr) noexcept nogil:
        return False

    cdef bint arch_map_sg_direct(self, Device dev, scatterlist *sgl, int nents) noexcept nogil:
        return False

    cdef bint arch_unmap_sg_direct(self, Device dev, scatterlist *sgl, int nents) noexcept nogil:
        return False

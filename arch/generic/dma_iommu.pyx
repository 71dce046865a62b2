# SPDX-License-Identifier: MIT
"""iommu_dma_ops: the DMA API over any IOMMU domain (drivers/iommu/dma-iommu.c, Linux 6.1; 6.12 where it differs).

A whole list gets one IOVA range, laid out so that no entry crosses the device's boundary; then whatever meets at a
granule is merged, physically adjacent or not. PCI devices are tried below 4 GiB first, whatever their mask.
Bus-address P2P entries stay out of the range and split the merging; those through the host bridge are mapped and
merged like RAM.

Linux's faults, kept:
- an entry longer than max_seg makes an unsigned difference wrap, and every aligned follower merges (__finalise_sg);
- a zero-length entry behind others pads up to the boundary (iommu_dma_map_sg), and one in front makes unmap give
  nothing back (iommu_dma_unmap_sg);
- a failed map of a list with stale dma fields corrupts offset and length behind the failing entry (__invalidate_sg);
- an untrusted client's P2P pages are mapped or bounced without asking for the route (iommu_dma_map_sg_swiotlb);
- cache maintenance does not spare P2P entries (iommu_dma_sync_sg_for_*).
The newer half of the file (6.16 and later) is dma_iommu_iova.pyx.
"""

from libc.errno cimport EINVAL, EIO, ENOMEM, EREMOTEIO

from arch.generic.dma_iommu_iova cimport dev_is_untrusted, dev_use_swiotlb, dma_get_mask, dma_info_to_prot
from dma_ops.device cimport (
    DMA_ATTR_ALLOC_SINGLE_PAGES,
    DMA_ATTR_FORCE_CONTIGUOUS,
    DMA_ATTR_MMIO,
    DMA_ATTR_SKIP_CPU_SYNC,
    DMA_BIDIRECTIONAL,
    DMA_F_PCI_P2PDMA_SUPPORTED,
    DMA_MAPPING_ERROR,
    OP_ALLOC,
    OP_ALLOC_NONCONTIGUOUS,
    OP_ALLOC_PAGES,
    OP_FREE,
    OP_FREE_NONCONTIGUOUS,
    OP_FREE_PAGES,
    OP_GET_MERGE_BOUNDARY,
    OP_GET_SGTABLE,
    OP_MAP_PAGE,
    OP_MAP_RESOURCE,
    OP_MAP_SG,
    OP_MAX_MAPPING_SIZE,
    OP_MMAP,
    OP_OPT_MAPPING_SIZE,
    OP_SYNC_SG_FOR_CPU,
    OP_SYNC_SG_FOR_DEVICE,
    OP_SYNC_SINGLE_FOR_CPU,
    OP_SYNC_SINGLE_FOR_DEVICE,
    OP_UNMAP_PAGE,
    OP_UNMAP_RESOURCE,
    OP_UNMAP_SG,
    dma_get_max_seg_size,
    dma_get_seg_boundary,
)
from dma_ops.direct cimport kmalloc_needs_bounce
from dma_ops.errors cimport kernel_bug
from dma_ops.gather cimport free_page_blocks, gather_pages, joined, sg_pages
from dma_ops.iommu cimport IOMMU_CACHE, IommuDomain, iommu_map_sg
from dma_ops.iova cimport IOVA_RANGE_CACHE_MAX_SIZE, iova_live_pages
from dma_ops.machine cimport PHYS_NONE, Machine, is_pci_p2pdma_page
from dma_ops.mapping cimport dma_common_alloc_pages, dma_common_free_pages, get_order
from dma_ops.p2pdma cimport (
    PCI_P2PDMA_MAP_BUS_ADDR,
    PCI_P2PDMA_MAP_THRU_HOST_BRIDGE,
    pci_p2pdma_map_segment,
    pci_p2pdma_map_state,
)
from dma_ops.swiotlb cimport (
    is_swiotlb_buffer,
    swiotlb_max_mapping_size,
    swiotlb_sync_single_for_cpu,
    swiotlb_sync_single_for_device,
    swiotlb_tbl_unmap_single,
)
from scatterlist.core cimport (
    SG_DMA_SWIOTLB,
    sg_alloc_table,
    sg_dma_mark_bus_address,
    sg_dma_unmark_bus_address,
    sg_free_table,
    sg_is_dma_bus_address,
    sg_next,
    sg_page,
    sg_phys,
    sg_set_page,
    sg_table,
)
from scatterlist.types cimport dma_addr_t, page_t, phys_addr_t, s64, u64


cdef bint sg_needs_bounce(Device dev, scatterlist *sg, int nents, int dir) noexcept nogil:
    """Is the device untrusted, or one entry (6.12) a small buffer that shares a cache line?"""
    if dev_is_untrusted(dev):
        return True
    if dev.machine.bounce_unaligned_kmalloc:
        for _ in range(nents):
            if kmalloc_needs_bounce(dev, sg.length, dir):
                return True
            sg = sg_next(sg)
    return False


cdef class IommuDmaOps(IommuIovaOps):
    """The table of one IOMMU domain, shared by the devices of its group. Facts of the domain: see IommuDmaCookie."""

    def __cinit__(self, IommuDomain domain not None, Device dev not None, **facts):
        self.flags = DMA_F_PCI_P2PDMA_SUPPORTED
        self.filled |= (
            OP_ALLOC | OP_FREE | OP_ALLOC_PAGES | OP_FREE_PAGES | OP_ALLOC_NONCONTIGUOUS | OP_FREE_NONCONTIGUOUS
            | OP_MMAP | OP_GET_SGTABLE | OP_MAP_PAGE | OP_UNMAP_PAGE | OP_MAP_SG | OP_UNMAP_SG
            | OP_MAP_RESOURCE | OP_UNMAP_RESOURCE | OP_SYNC_SINGLE_FOR_CPU | OP_SYNC_SINGLE_FOR_DEVICE
            | OP_SYNC_SG_FOR_CPU | OP_SYNC_SG_FOR_DEVICE
            | OP_GET_MERGE_BOUNDARY | OP_OPT_MAPPING_SIZE | OP_MAX_MAPPING_SIZE
        )
        self.attach(dev)

    def attach(self, Device dev not None, **limits):
        """Let another device of the group use this domain; base and limit as for the first. Raises DmaError(EFAULT)
        if its range begins elsewhere."""
        self.cookie.attach(dev, **limits)
        dev.dma_ops = self

    # -- single ------------------------------------------------------------------------------------------------

    cdef dma_addr_t map_page(self, Device dev, page_t page, u64 offset, size_t size, int dir,
                             unsigned long attrs) except? 0xBADBADBADBADBAD nogil:
        cdef phys_addr_t phys = page + offset
        cdef int prot = dma_info_to_prot(dir, dev.dma_coherent, attrs & ~<unsigned long>DMA_ATTR_MMIO)
        cdef dma_addr_t iova
        if self.kernel >= 617:
            return self.map_phys(dev, phys, size, dir, attrs)
        if (phys | size) & self.mask and dev_use_swiotlb(dev, size, dir):
            phys = self.bounce(dev, phys, size, dir, attrs)
            if phys == DMA_MAPPING_ERROR:
                return DMA_MAPPING_ERROR
        if not dev.dma_coherent and not attrs & DMA_ATTR_SKIP_CPU_SYNC:
            dev.machine.sync_for_device(phys, size, dir)
        iova = self.cookie.map_phys(dev, phys, size, prot, dma_get_mask(dev))
        if iova == DMA_MAPPING_ERROR and is_swiotlb_buffer(dev, phys):
            swiotlb_tbl_unmap_single(dev, phys, size, dir, attrs)
        return iova

    cdef int unmap_page(self, Device dev, dma_addr_t addr, size_t size, int dir,
                        unsigned long attrs) except -9999 nogil:
        cdef phys_addr_t phys
        if self.kernel >= 617:
            return self.unmap_phys(dev, addr, size, dir, attrs)
        phys = self.domain.iova_to_phys(addr)
        if phys == 0:
            return dev.machine.warn(b"WARNING: iommu_dma_unmap_page: !phys")
        if not attrs & DMA_ATTR_SKIP_CPU_SYNC and not dev.dma_coherent:
            dev.machine.sync_for_cpu(phys, size, dir)
        self.cookie.unmap_iova(dev, addr, size)
        if is_swiotlb_buffer(dev, phys):
            swiotlb_tbl_unmap_single(dev, phys, size, dir, attrs)
        return 0

    cdef dma_addr_t map_resource(self, Device dev, phys_addr_t phys, size_t size, int dir,
                                 unsigned long attrs) except? 0xBADBADBADBADBAD nogil:
        cdef int prot = dma_info_to_prot(dir, False, attrs | DMA_ATTR_MMIO)
        if self.kernel >= 617:
            return self.map_phys(dev, phys, size, dir, attrs | DMA_ATTR_MMIO)
        return self.cookie.map_phys(dev, phys, size, prot, dma_get_mask(dev))

    cdef int unmap_resource(self, Device dev, dma_addr_t addr, size_t size, int dir,
                            unsigned long attrs) except -9999 nogil:
        return self.cookie.unmap_iova(dev, addr, size)

    # -- lists -------------------------------------------------------------------------------------------------

    cdef int map_sg(self, Device dev, scatterlist *sgl, int nents, int dir, unsigned long attrs) except -9999 nogil:
        """Segments, or -EINVAL, -EREMOTEIO (a P2P page that the device cannot reach), -ENOMEM; -EIO if untrusted."""
        cdef scatterlist *s = sgl
        cdef scatterlist *prev = NULL
        cdef unsigned long known = attrs if self.kernel >= 617 else attrs & ~<unsigned long>DMA_ATTR_MMIO
        cdef int prot = dma_info_to_prot(dir, dev.dma_coherent, known)
        cdef pci_p2pdma_map_state state
        cdef u64 iova, iova_len = 0, pad, boundary = dma_get_seg_boundary(dev)
        cdef u64 offset, length
        cdef s64 ret = 0
        cdef int map
        if sg_needs_bounce(dev, sgl, nents, dir):
            return self.map_sg_bounced(dev, sgl, nents, dir, attrs)
        if not attrs & DMA_ATTR_SKIP_CPU_SYNC:
            self.sync_sg_for_device(dev, sgl, nents, dir)
        state.pgmap = 0
        for _ in range(nents):
            # granules in offset and length; what they cut off waits in the dma fields for finalise_sg
            pad = (boundary - iova_len + 1) & boundary
            if is_pci_p2pdma_page(dev.machine, sg_page(s)):
                map = pci_p2pdma_map_segment(&state, dev, s)
                if map == PCI_P2PDMA_MAP_BUS_ADDR:
                    s = sg_next(s)
                    continue
                if map != PCI_P2PDMA_MAP_THRU_HOST_BRIDGE:
                    ret = -EREMOTEIO
                    break
            offset = s.offset & self.mask
            s.dma_address = offset
            s.dma_length = s.length
            s.offset -= <unsigned int>offset
            length = (s.length + offset + self.mask) & ~self.mask
            if 612 <= self.kernel < 617 and length >> 32:
                ret = -EINVAL                       # there -EOVERFLOW, which no caller sees
                break
            s.length = <unsigned int>length
            if pad and pad < length - 1:            # a length of 0 wraps: it pads, too
                if prev == NULL:
                    # the boundary is no 2^n - 1
                    return kernel_bug(b"BUG: kernel NULL pointer dereference in iommu_dma_map_sg")
                if 612 <= self.kernel < 617 and (prev.length + pad) >> 32:
                    ret = -EINVAL
                    break
                prev.length += <unsigned int>pad
                iova_len += pad
            iova_len += length
            prev = s
            s = sg_next(s)
        if ret == 0:
            if iova_len == 0:
                return finalise_sg(dev, sgl, nents, 0)
            iova = self.cookie.alloc_iova(dev, iova_len, dma_get_mask(dev))
            if iova == 0:
                ret = -ENOMEM
            else:
                ret = iommu_map_sg(self.domain, iova, sgl, nents, prot)
                if ret >= 0 and <u64>ret >= iova_len:
                    return finalise_sg(dev, sgl, nents, iova)
                self.cookie.free_iova(iova, iova_len, False)
        invalidate_sg(sgl, nents)
        return <int>ret if ret == -ENOMEM or ret == -EREMOTEIO else -EINVAL

    cdef int unmap_sg(self, Device dev, scatterlist *sgl, int nents, int dir, unsigned long attrs) except -9999 nogil:
        cdef scatterlist *s = sgl
        cdef dma_addr_t start = 0, end = 0
        cdef bint first = True
        if self.sg_bounced(dev, sgl):
            return self.unmap_sg_bounced(dev, sgl, nents, dir, attrs)
        if not attrs & DMA_ATTR_SKIP_CPU_SYNC:
            self.sync_sg_for_cpu(dev, sgl, nents, dir)
        for _ in range(nents):
            if sg_is_dma_bus_address(s):
                sg_dma_unmark_bus_address(s)
            elif s.dma_length == 0:
                break
            else:
                if first:
                    start = s.dma_address
                    first = False
                end = s.dma_address + s.dma_length
            s = sg_next(s)
        return self.cookie.unmap_iova(dev, start, end - start) if end else 0

    cdef bint sg_bounced(self, Device dev, scatterlist *sg) noexcept nogil:
        """Did map_sg take the bounce path for this list? 6.1 asks the device, 6.12 the mark on entry 0."""
        return dev_is_untrusted(dev) if self.kernel < 612 else (sg.dma_flags & SG_DMA_SWIOTLB) != 0

    cdef int map_sg_bounced(self, Device dev, scatterlist *sg, int nents, int dir,
                            unsigned long attrs) except -9999 nogil:
        cdef scatterlist *s = sg
        cdef int i
        if self.kernel >= 612:
            sg.dma_flags |= SG_DMA_SWIOTLB
        for i in range(nents):
            s.dma_address = self.map_page(dev, sg_page(s), s.offset, s.length, dir, attrs)
            if s.dma_address == DMA_MAPPING_ERROR:
                self.unmap_sg_bounced(dev, sg, i, dir, attrs | DMA_ATTR_SKIP_CPU_SYNC)
                return -EIO
            s.dma_length = s.length
            s = sg_next(s)
        return nents

    cdef int unmap_sg_bounced(self, Device dev, scatterlist *sg, int nents, int dir,
                              unsigned long attrs) except -9999 nogil:
        for _ in range(nents):
            self.unmap_page(dev, sg.dma_address, sg.dma_length, dir, attrs)
            sg = sg_next(sg)
        return 0

    # -- sync --------------------------------------------------------------------------------------------------

    cdef int sync_single_for_cpu(self, Device dev, dma_addr_t addr, size_t size, int dir) except -9999 nogil:
        cdef phys_addr_t phys
        if dev.dma_coherent and not dev_is_untrusted(dev):
            return 0
        phys = self.domain.iova_to_phys(addr)
        if not dev.dma_coherent:
            dev.machine.sync_for_cpu(phys, size, dir)
        return swiotlb_sync_single_for_cpu(dev, phys, size, dir) if is_swiotlb_buffer(dev, phys) else 0

    cdef int sync_single_for_device(self, Device dev, dma_addr_t addr, size_t size, int dir) except -9999 nogil:
        cdef phys_addr_t phys
        if dev.dma_coherent and not dev_is_untrusted(dev):
            return 0
        phys = self.domain.iova_to_phys(addr)
        if is_swiotlb_buffer(dev, phys):
            swiotlb_sync_single_for_device(dev, phys, size, dir)
        return dev.machine.sync_for_device(phys, size, dir) if not dev.dma_coherent else 0

    cdef int sync_sg_for_cpu(self, Device dev, scatterlist *sgl, int nents, int dir) except -9999 nogil:
        cdef bint bounced = self.sg_bounced(dev, sgl)
        if dev.dma_coherent and not bounced:
            return 0
        for _ in range(nents):
            if bounced:
                self.sync_single_for_cpu(dev, sgl.dma_address, sgl.length, dir)
            else:
                dev.machine.sync_for_cpu(sg_phys(sgl), sgl.length, dir)
            sgl = sg_next(sgl)
        return 0

    cdef int sync_sg_for_device(self, Device dev, scatterlist *sgl, int nents, int dir) except -9999 nogil:
        cdef bint bounced = self.sg_bounced(dev, sgl)
        if dev.dma_coherent and not bounced:
            return 0
        for _ in range(nents):
            if bounced:
                self.sync_single_for_device(dev, sgl.dma_address, sgl.length, dir)
            else:
                dev.machine.sync_for_device(sg_phys(sgl), sgl.length, dir)
            sgl = sg_next(sgl)
        return 0

    # -- coherent ----------------------------------------------------------------------------------------------

    cdef int alloc(self, Device dev, size_t size, dma_addr_t *dma_handle, u64 *cpu_addr,
                   unsigned long attrs) except -9999 nogil:
        """As with GFP_KERNEL: gathered pages behind one kernel address, or one block with FORCE_CONTIGUOUS."""
        with gil:
            if attrs & DMA_ATTR_FORCE_CONTIGUOUS:
                got = self._alloc_contiguous(dev, size, attrs)
            else:
                got = self._alloc_remap(dev, size, attrs)
            if got is None:
                return -ENOMEM
            dma_handle[0], cpu_addr[0] = got
        return 0

    def _alloc_contiguous(self, Device dev, size_t size, unsigned long attrs):
        cdef Machine machine = dev.machine
        cdef int prot = dma_info_to_prot(DMA_BIDIRECTIONAL, dev.dma_coherent, attrs)
        cdef unsigned int order = get_order(size, machine.page_shift)
        cdef phys_addr_t page = machine.alloc_pages(order, PHYS_NONE)
        cdef dma_addr_t handle
        if page == PHYS_NONE:
            return None
        handle = self.cookie.map_phys(dev, page, size, prot, dev.coherent_dma_mask)
        if handle == DMA_MAPPING_ERROR:
            machine.free_pages(page, order)
            return None
        if dev.dma_coherent:
            return handle, page
        machine.set_uncached(page, size, True)
        return handle, machine.vmap(range(page, page + (machine.page_size << order), machine.page_size))

    def _alloc_remap(self, Device dev, size_t size, unsigned long attrs):
        cdef sg_table sgt
        cdef int ret = self.alloc_noncontiguous(dev, size, &sgt, DMA_BIDIRECTIONAL, attrs)
        cdef dma_addr_t handle
        if ret:
            return None
        handle = sgt.sgl.dma_address
        pages = sg_pages(dev.machine, &sgt)
        sg_free_table(&sgt, dev.machine.page_size // sizeof(scatterlist))
        return handle, dev.machine.vmap(pages)

    cdef int free(self, Device dev, size_t size, u64 cpu_addr, dma_addr_t dma_handle,
                  unsigned long attrs) except -9999 nogil:
        self.cookie.unmap_iova(dev, dma_handle, size)
        with gil:
            if dev.machine.vmap_pages(cpu_addr) is None:
                dev.machine.free_pages(cpu_addr, get_order(size, dev.machine.page_shift))
            else:
                free_page_blocks(dev.machine, dev.machine.vunmap(cpu_addr))
        return 0

    cdef int alloc_pages(self, Device dev, size_t size, dma_addr_t *dma_handle, page_t *page,
                         int dir) except -9999 nogil:
        return dma_common_alloc_pages(self, dev, size, dma_handle, page, dir)

    cdef int free_pages(self, Device dev, size_t size, page_t page, dma_addr_t dma_handle, int dir) except -9999 nogil:
        return dma_common_free_pages(self, dev, size, page, dma_handle, dir)

    cdef int alloc_noncontiguous(self, Device dev, size_t size, sg_table *sgt, int dir,
                                 unsigned long attrs) except -9999 nogil:
        """sgt: the pages, with the whole range as the one mapped segment of entry 0. 0 or -ENOMEM."""
        with gil:
            return self._alloc_noncontiguous(dev, size, <u64>sgt, attrs)

    def _alloc_noncontiguous(self, Device dev, u64 size, u64 table, unsigned long attrs):
        cdef sg_table *sgt = <sg_table *>table
        cdef scatterlist *s
        cdef Machine machine = dev.machine
        cdef int prot = dma_info_to_prot(DMA_BIDIRECTIONAL, dev.dma_coherent, attrs)
        cdef unsigned int max_ents = machine.page_size // sizeof(scatterlist)
        cdef u64 sizes = self.domain.pgsize_bitmap & 0xffffffff, smallest = sizes & (~sizes + 1), iova = 0
        if smallest < machine.page_size:
            smallest = machine.page_size
            sizes |= smallest
        else:
            size = (size + smallest - 1) & ~(smallest - 1)
        if attrs & DMA_ATTR_ALLOC_SINGLE_PAGES:
            sizes = smallest
        pages = gather_pages(machine, (size + machine.page_size - 1) >> machine.page_shift, sizes >> machine.page_shift)
        if pages is None:
            return -ENOMEM
        size = (size + self.mask) & ~self.mask
        iova = self.cookie.alloc_iova(dev, size, dev.coherent_dma_mask)
        if iova:
            rows = joined(pages, machine.page_size, size)
            if sg_alloc_table(sgt, len(rows), max_ents) == 0:
                s = sgt.sgl
                for page, length in rows:
                    sg_set_page(s, page, length, 0)
                    if not prot & IOMMU_CACHE:
                        machine.set_uncached(page, length, True)
                    s = sg_next(s)
                if iommu_map_sg(self.domain, iova, sgt.sgl, sgt.orig_nents, prot) >= <s64>size:
                    sgt.sgl.dma_address = iova
                    sgt.sgl.dma_length = size
                    return 0
                sg_free_table(sgt, max_ents)
            self.cookie.free_iova(iova, size, False)
        free_page_blocks(machine, pages)
        return -ENOMEM

    cdef int free_noncontiguous(self, Device dev, size_t size, sg_table *sgt, int dir) except -9999 nogil:
        """The entries of sgt stay its owner's."""
        self.cookie.unmap_iova(dev, sgt.sgl.dma_address, size)
        with gil:
            free_page_blocks(dev.machine, sg_pages(dev.machine, sgt))
        return 0

    # -- limits, and what tests look at ------------------------------------------------------------------------

    cdef size_t max_mapping_size(self, Device dev) except? 0xBADBADBADBADBAD nogil:
        return swiotlb_max_mapping_size(dev) if dev_is_untrusted(dev) else dev.machine.ulong_mask

    cdef size_t opt_mapping_size(self, Device dev) except? 0xBADBADBADBADBAD nogil:
        return dev.machine.page_size << (IOVA_RANGE_CACHE_MAX_SIZE - 1)

    cdef u64 get_merge_boundary(self, Device dev) except? 0xBADBADBADBADBAD nogil:
        return self.mask

    def resources(self):
        """iova: granules given out, those that wait for a flush included; reserved and cached ones are not."""
        return {"iova": iova_live_pages(&self.cookie.space.d)}

    def flush(self):
        """Let the flush queue's timer fire."""
        self.cookie.flush()

    def tick(self, u64 ms):
        """Let time pass: the flush queue's timer, the depot's trimming (6.7 and later)."""
        self.cookie.tick(ms)

    def table(self):
        return self.domain.table()


cdef int finalise_sg(Device dev, scatterlist *sg, int nents, dma_addr_t dma_addr) noexcept nogil:
    """Lay the segments out from dma_addr on, restoring each entry's own offset and length; how many segments."""
    cdef scatterlist *s = sg
    cdef scatterlist *cur = sg
    cdef u64 boundary = dma_get_seg_boundary(dev)
    cdef unsigned int cur_len = 0, max_len = dma_get_max_seg_size(dev)
    cdef unsigned int offset, length, padded
    cdef dma_addr_t stashed
    cdef int i, count = 0
    for i in range(nents):
        stashed = s.dma_address
        offset = <unsigned int>stashed
        length = s.dma_length
        padded = s.length
        s.dma_address = DMA_MAPPING_ERROR
        s.dma_length = 0
        if sg_is_dma_bus_address(s):
            if i > 0:
                cur = sg_next(cur)
            sg_dma_unmark_bus_address(s)
            cur.dma_address = stashed
            cur.dma_length = length
            sg_dma_mark_bus_address(cur)
            count += 1
            cur_len = 0
            s = sg_next(s)
            continue
        s.offset += offset
        s.length = length
        # unsigned: beyond max_len the difference wraps and nothing is too long any more
        if cur_len and offset == 0 and dma_addr & boundary and max_len - cur_len >= length:
            cur_len += length
        else:
            if i > 0:
                cur = sg_next(cur)
            cur_len = length
            count += 1
            cur.dma_address = dma_addr + offset
        cur.dma_length = cur_len
        dma_addr += padded
        if length + offset < padded:
            cur_len = 0
        s = sg_next(s)
    return count


cdef void invalidate_sg(scatterlist *sg, int nents) noexcept nogil:
    """Undo the preparation; entries that it did not reach are taken for prepared, whatever their dma fields hold."""
    for _ in range(nents):
        if sg_is_dma_bus_address(sg):
            sg_dma_unmark_bus_address(sg)
        else:
            if sg.dma_address != DMA_MAPPING_ERROR:
                sg.offset += <unsigned int>sg.dma_address
            if sg.dma_length:
                sg.length = sg.dma_length
        sg.dma_address = DMA_MAPPING_ERROR
        sg.dma_length = 0
        sg = sg_next(sg)

# SPDX-License-Identifier: MIT
"""virtio-iommu: mappings are requests, and the table is the hypervisor's (drivers/iommu/virtio-iommu.c, 6.1).

There is no entry format: a MAP request names a range, a physical address and flags, and the device keeps them. Any
page size that is a multiple of 4 KiB will do. An unmap takes whole requests only: it stops where it would split one.
"""

from libc.errno cimport EINVAL, ENOMEM
from libc.stdlib cimport free, malloc

from scatterlist.types cimport dma_addr_t

from .device cimport WALK_NOT_PRESENT, WALK_OK, WALK_PERMISSION, Device
from .iommu cimport IOMMU_MMIO, IOMMU_READ, IOMMU_WRITE
from .machine cimport Machine
from .rbtree cimport rb_erase, rb_insert

cdef enum:
    VIRTIO_IOMMU_MAP_F_READ = 1 << 0
    VIRTIO_IOMMU_MAP_F_WRITE = 1 << 1
    VIRTIO_IOMMU_MAP_F_MMIO = 1 << 2


cdef viommu_mapping *find_mapping(rb_node *root, u64 iova) noexcept nogil:
    """The mapping that iova lies in, or NULL."""
    while root != NULL:
        if iova < (<viommu_mapping *>root).start:
            root = root.child[0]
        elif iova > (<viommu_mapping *>root).end:
            root = root.child[1]
        else:
            return <viommu_mapping *>root
    return NULL


cdef viommu_mapping *first_mapping(rb_node *root, u64 first, u64 last) noexcept nogil:
    """The lowest mapping that overlaps [first, last], or NULL."""
    cdef viommu_mapping *found = NULL
    while root != NULL:
        if (<viommu_mapping *>root).end < first:
            root = root.child[1]
        else:
            found = <viommu_mapping *>root
            root = root.child[0]
    return found if found != NULL and found.start <= last else NULL


cdef class VirtioWalker(Walker):
    """The device: it knows the requests and nothing else."""

    def __dealloc__(self):
        cdef rb_node *n
        while self.mappings != NULL:
            n = self.mappings
            rb_erase(&self.mappings, n)
            free(n)

    cdef int translate(self, Device dev, dma_addr_t addr, bint write, phys_addr_t *phys, u64 *run) except -9999 nogil:
        cdef viommu_mapping *m = find_mapping(self.mappings, addr)
        if m == NULL:
            return WALK_NOT_PRESENT
        if not m.flags & (VIRTIO_IOMMU_MAP_F_WRITE if write else VIRTIO_IOMMU_MAP_F_READ):
            return WALK_PERMISSION
        phys[0] = m.paddr + (addr - m.start)
        run[0] = m.end - addr + 1
        return WALK_OK


cdef class VirtioDomain(IommuDomain):
    """page_mask: the page sizes that the device offers."""

    def __cinit__(self, *args, **facts):
        self.device = VirtioWalker()
        self.walker = self.device

    def __init__(self, Machine machine not None, u64 page_mask=~<u64>0xfff):
        self.machine = machine
        self.pgsize_bitmap = page_mask
        self.aperture_end = ~<u64>0
        self.force_aperture = True

    cdef int map_pages(self, u64 iova, phys_addr_t paddr, size_t pgsize, size_t pgcount, int prot,
                       size_t *mapped) except -9999 nogil:
        """-EINVAL for a range that overlaps one that is mapped, -ENOMEM."""
        cdef u64 size = pgsize * pgcount
        cdef rb_node *parent = NULL
        cdef rb_node *at = self.device.mappings
        cdef viommu_mapping *m
        cdef int side = 0
        while at != NULL:
            m = <viommu_mapping *>at
            if iova <= m.end and iova + size - 1 >= m.start:
                return -EINVAL
            parent = at
            side = iova > m.end
            at = at.child[side]
        if self.machine.should_fail(b"table"):
            return -ENOMEM
        m = <viommu_mapping *>malloc(sizeof(viommu_mapping))
        if m == NULL:
            return -ENOMEM
        m.start = iova
        m.end = iova + size - 1
        m.paddr = paddr
        m.flags = ((VIRTIO_IOMMU_MAP_F_READ if prot & IOMMU_READ else 0)
                   | (VIRTIO_IOMMU_MAP_F_WRITE if prot & IOMMU_WRITE else 0)
                   | (VIRTIO_IOMMU_MAP_F_MMIO if prot & IOMMU_MMIO else 0))
        rb_insert(&self.device.mappings, parent, side, &m.node)
        mapped[0] += size
        return 0

    cdef size_t unmap_pages(self, u64 iova, size_t pgsize, size_t pgcount) except? 0xBADBADBADBADBAD nogil:
        """What the mappings that begin in the range span, or 0 if that is less than the range: they are gone all the
        same."""
        cdef u64 size = pgsize * pgcount, done = 0
        cdef viommu_mapping *m
        while True:
            m = first_mapping(self.device.mappings, iova, iova + size - 1)
            if m == NULL or m.start < iova:
                break
            done += m.end - m.start + 1
            rb_erase(&self.device.mappings, &m.node)
            free(m)
        return 0 if done < size else done

    cdef phys_addr_t iova_to_phys(self, u64 iova) noexcept nogil:
        cdef viommu_mapping *m = find_mapping(self.device.mappings, iova)
        return 0 if m == NULL else m.paddr + (iova - m.start)

    def table(self):
        """{first iova: (last, physical address, VIRTIO_IOMMU_MAP_F_*)} of every request."""
        cdef viommu_mapping *m
        cdef list stack = []
        out = {}
        if self.device.mappings != NULL:
            stack.append(<size_t>self.device.mappings)
        while stack:
            m = <viommu_mapping *><size_t>stack.pop()
            out[m.start] = m.end, m.paddr, m.flags
            for side in range(2):
                if m.node.child[side] != NULL:
                    stack.append(<size_t>m.node.child[side])
        return dict(sorted(out.items()))

# SPDX-License-Identifier: MIT
"""Which real backends a kind of saboteur is planted in: one machine of each that has what the rule looks at.

Who is left out has nothing there that could be broken, or a fault of Linux's own for which the rule fails already.
"""


def without(group: tuple[str, ...], *backends: str) -> tuple[str, ...]:
    return tuple(target for target in group if target.split("/")[0] not in backends)


#: every backend that maps RAM at all
MAPS = (
    "alpha_pci_ops/tsunami-6g", "ccio_ops/c360-64", "dma_direct/x86_64-force", "dma_iommu_ops/pseries",
    "gart_dma_ops/opteron-force", "ibmebus_dma_ops/ibmebus-64k", "iommu_dma_ops/intel", "iommu_ops/rcar-h2",
    "iounit_dma_ops/sparcserver1000", "jazz_dma_ops/pica61", "ps3_ioc0_dma_ops/ps3-sound",
    "ps3_sb_dma_ops/ps3-dynamic", "s390_pci_dma_ops/zpci", "sba_dma_ops/zx1-16k", "sba_ops/c3000-32",
    "sbus_iommu_dma_gflush_ops/ss20", "sbus_iommu_dma_pflush_ops/ss5", "sun4u_dma_ops/psycho",
    "sun4v_dma_ops/t2000", "vdpasim_dma_ops/sim", "vduse_dev_dma_ops/vduse", "vio_dma_mapping_ops/vio-4k",
    "xen_grant_dma_ops/hvm", "xen_swiotlb_dma_ops/pv-high",
)
VDPA = ("vdpasim_dma_ops", "vduse_dev_dma_ops")
PS3 = ("ps3_ioc0_dma_ops", "ps3_sb_dma_ops")

#: a page that stays mapped is counted: ibmebus hands out virtual addresses, and has nothing to release
COUNTED = without(MAPS, "ibmebus_dma_ops")
#: the size given to unmap matters: jazz frees by its own chain, the PS3 by its own chunks
SIZED = without(COUNTED, "jazz_dma_ops", *PS3, "vdpasim_dma_ops")
#: an entry released too early is counted at once: jazz and the IO-UNIT do not count by mapping
NEIGHBOURS = without(COUNTED, "iounit_dma_ops", "jazz_dma_ops")
#: map_sg is there (on the PS3 it is a BUG), and right (for sba see its known faults)
LISTS = without(MAPS, *PS3, "sba_dma_ops", *VDPA)
COUNTED_LISTS = (*without(LISTS, "ibmebus_dma_ops"), "sba_dma_ops/zx1-16k")
#: CONFIG_NEED_SG_DMA_LENGTH: jazz's machines have no dma_length
LONG = without(LISTS, "jazz_dma_ops")
#: lists merge, on this machine
MERGING = (
    "alpha_pci_ops/tsunami-6g", "ccio_ops/c360-64", "gart_dma_ops/opteron-force", "iommu_dma_ops/intel",
    "iommu_ops/rcar-h2", "s390_pci_dma_ops/zpci", "sba_ops/c3000-32", "sun4u_dma_ops/psycho", "sun4v_dma_ops/t2000",
    "vio_dma_mapping_ops/vio-4k",
)
#: max_seg is looked at when they do
LIMITED = without(MERGING, "vio_dma_mapping_ops", "iommu_dma_ops", "s390_pci_dma_ops")
#: the boundary is looked at, and kept
BOUNDED = ("iommu_dma_ops/intel", "iommu_dma_ops/amd", "iommu_dma_ops/smmuv3",
           "iommu_dma_ops/virtio")
#: the mask decides about each address, and is kept
MASKED = ("alpha_pci_ops/tsunami-6g", "dma_direct/x86_64-bounce", "dma_direct/x86_64", "dma_iommu_ops/pseries",
          "vio_dma_mapping_ops/vio-4k", "iommu_dma_ops/intel", "iommu_dma_ops/smmuv3")
#: a map of a list can fail without the kernel dying
FAILING = without(LISTS, "ccio_ops", "ibmebus_dma_ops", "iounit_dma_ops", "sba_ops")
#: and leaves nothing then
UNWINDING = without(FAILING, "dma_iommu_ops", "jazz_dma_ops", "s390_pci_dma_ops", "sbus_iommu_dma_gflush_ops",
                    "sbus_iommu_dma_pflush_ops", "vio_dma_mapping_ops")
#: entries have permission bits
PERMISSIONS = (
    "dma_iommu_ops/pseries", "iommu_dma_ops/intel", "iommu_dma_ops/amd", "iommu_dma_ops/smmuv3",
    "iommu_dma_ops/virtio", "iommu_ops/rcar-h2", "s390_pci_dma_ops/zpci", "sun4u_dma_ops/psycho",
    "sun4v_dma_ops/t2000", "vio_dma_mapping_ops/vio-4k",
)
#: there is a table in memory
TABLES = without(MAPS, "dma_direct", "ibmebus_dma_ops", "xen_swiotlb_dma_ops")
#: and no access gets through once its entry is gone
STRICT = (
    "alpha_pci_ops/tsunami-6g", "ccio_ops/c360-64", "iommu_dma_ops/intel", "iommu_dma_ops/amd",
    "iommu_dma_ops/smmuv3", "iommu_ops/rcar-h2", "jazz_dma_ops/pica61",
    "s390_pci_dma_ops/zpci", "sba_ops/c3000-32", "sbus_iommu_dma_gflush_ops/ss20", "sbus_iommu_dma_pflush_ops/ss5",
    "sun4v_dma_ops/t2000", "vio_dma_mapping_ops/vio-4k",
)
#: coherent memory is right
FREED = without(MAPS, "ibmebus_dma_ops", "iounit_dma_ops", "sbus_iommu_dma_gflush_ops", "sbus_iommu_dma_pflush_ops")
#: it is zeroed, and both sides see it
ZEROED = without(MAPS, "ibmebus_dma_ops")
#: it is given back by its size
FREED_BY_SIZE = without(FREED, "dma_direct", "jazz_dma_ops", *PS3, "xen_swiotlb_dma_ops")
#: its bus address is aligned
ALIGNED = ("ccio_ops/c360-64", "dma_direct/x86_64-force", "dma_iommu_ops/pseries", "gart_dma_ops/opteron-force",
           "ps3_sb_dma_ops/ps3-dynamic", "vduse_dev_dma_ops/vduse",
           "vio_dma_mapping_ops/vio-4k", "xen_swiotlb_dma_ops/pv-high")
#: and below the coherent mask
COHERENT_MASKED = ("dma_direct/x86_64-force", "dma_iommu_ops/pseries", "iommu_dma_ops/intel", "sba_dma_ops/zx1-16k",
                   "xen_swiotlb_dma_ops/pv-high")
#: dma_get_merge_boundary() is what the lists show
HONEST_BOUNDARY = ("ibmebus_dma_ops/ibmebus-64k", "iommu_dma_ops/intel",
                   "iommu_dma_ops/smmuv3", "iounit_dma_ops/sparcserver1000", "jazz_dma_ops/pica61",
                   "sbus_iommu_dma_gflush_ops/ss20", "sbus_iommu_dma_pflush_ops/ss5")
BOUNCING = ("dma_direct/x86_64-force", "dma_direct/arm64-restricted", "iommu_dma_ops/intel-untrusted")
#: the CPU has a cache that the device does not see
CACHED = ("dma_direct/arm64-noncoherent", "dma_direct/arm", "dma_direct/mips", "dma_direct/parisc",
          "iommu_dma_ops/smmuv3-noncoherent", "iommu_ops/rcar-h2", "jazz_dma_ops/pica61",
          "xen_swiotlb_dma_ops/arm64-noncoherent")
#: and fetches ahead, so that a sync for the CPU has something to do
PREFETCHING = ("dma_direct/arm64-noncoherent", "dma_direct/arm", "iommu_dma_ops/smmuv3-noncoherent",
               "iommu_ops/rcar-h2", "xen_swiotlb_dma_ops/arm64-noncoherent")
FOR_CPU = (*BOUNCING, *PREFETCHING)
FOR_DEVICE = (*BOUNCING, *CACHED)
#: P2P memory is looked at
IOMMUS = ("iommu_dma_ops/intel", "iommu_dma_ops/amd", "iommu_dma_ops/virtio", "iommu_dma_ops/smmuv3")
P2P = ("dma_direct/x86_64", *IOMMUS)
#: a single map fails where an allocation does, and the rule about it is kept
ERRORS = without(MAPS, "alpha_pci_ops", "ccio_ops", "ibmebus_dma_ops", *PS3, "sba_dma_ops", "sba_ops", *VDPA)
#: what is released by page is gone at once: the IO-UNIT's entries stay, ia64's sba collects them first
SIZED_AT_ONCE = without(SIZED, "iounit_dma_ops", "sba_dma_ops")
#: nothing can be mapped
DUMMY = ("dma_dummy_ops/arm64-4k", "dma_dummy_ops/arm64-64k")
#: an allocator of its own looks at the boundary, whatever merging makes of that
ALLOCATORS = (*without(MERGING, "alpha_pci_ops", "iommu_ops", "vio_dma_mapping_ops"), "dma_iommu_ops/pseries")
#: of coherent memory the size given back counts, and the counters see it
REFUSING = without(FREED, "dma_direct", "jazz_dma_ops", "sba_dma_ops", "sun4u_dma_ops")
#: the hardware remembers translations until the kernel tells it not to
FLUSHED = (
    "alpha_pci_ops/tsunami-6g", "ccio_ops/c360-64", "gart_dma_ops/opteron-force", "iommu_dma_ops/intel",
    "iommu_dma_ops/amd", "iommu_dma_ops/smmuv3", "iommu_ops/rcar-h2", "jazz_dma_ops/pica61", "s390_pci_dma_ops/zpci",
    "sba_dma_ops/zx1-16k", "sba_ops/c3000-32", "sbus_iommu_dma_gflush_ops/ss20", "sbus_iommu_dma_pflush_ops/ss5",
    "sun4u_dma_ops/psycho",
)
#: and is told page by page how much
FLUSHED_BY_RANGE = (
    "iommu_dma_ops/intel", "iommu_dma_ops/amd", "iommu_dma_ops/smmuv3", "s390_pci_dma_ops/zpci-strict",
    "sba_dma_ops/zx1-16k", "sba_ops/c3000-32",
)

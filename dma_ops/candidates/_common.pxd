# SPDX-License-Identifier: MIT
"""What C code may rely on, and what kind of memory a physical range is."""

from libc.errno cimport EINVAL, ENXIO, EREMOTEIO

from scatterlist.core cimport SgTable, scatterlist
from scatterlist.types cimport phys_addr_t, u32, u64

from dma_ops.device cimport Device, DmaMapOps
from dma_ops.machine cimport pgmap_range
from dma_ops.mapping cimport dma_map_direct, dma_pci_p2pdma_supported
from dma_ops.p2pdma cimport (
    PCI_P2PDMA_MAP_BUS_ADDR,
    PCI_P2PDMA_MAP_NOT_SUPPORTED,
    PCI_P2PDMA_MAP_THRU_HOST_BRIDGE,
    pci_p2pdma_map_type,
)

cdef enum memory_kind:
    MEM_RAM
    MEM_BUS                     # P2P memory below the same switch: its bus address is all there is
    MEM_BRIDGE                  # P2P memory through the host bridge: mapped as RAM is
    MEM_NO_PAGE                 # what no struct page stands for

cdef struct provider_cache:     # as struct pci_p2pdma_map_state: zeroed before the loop, one per device
    u32 pgmap
    int map
    u64 bus_off

cdef inline int check_device(Device dev) except -1:
    if dev.machine is None or dev.machine.nr_ram == 0 or dev.direct is None:
        raise ValueError("the device was made without __init__, so it is on no machine")
    if dev.dma_ops is not None and dev.dma_ops.filled and dev.dma_ops.walker is None:
        raise ValueError(f"{dev.name}: its {type(dev.dma_ops).__name__} was made without __init__")
    return 0

cdef inline scatterlist *entries_of(Device dev, SgTable sgt) except NULL:
    check_device(dev)
    if sgt.sgt.sgl == NULL:
        raise ValueError(f"{dev.name}: the table has no entries")
    if sgt.page_shift != dev.machine.page_shift:
        raise ValueError(f"{dev.name}: the table is for pages of {1 << sgt.page_shift} bytes, but machine "
                         f"{dev.machine.name} has {dev.machine.page_size}")
    return sgt.sgt.sgl

cdef inline int memory_kind_of(provider_cache *cache, Device dev, phys_addr_t start, u64 size) except -9999 nogil:
    """A memory_kind; -EINVAL for a range of two kinds, -ENXIO for P2P memory and a backend without the capability,
    -EREMOTEIO for a peer that the device cannot reach."""
    cdef pgmap_range *pgmap = dev.machine.find_pgmap(start) if dev.machine.nr_pgmaps else NULL
    cdef bint ram
    if pgmap == NULL:
        ram = dev.machine.is_ram(start)
        if ram != dev.machine.is_ram(start + size - 1):
            return -EINVAL
        if dev.machine.nr_pgmaps and dev.machine.find_pgmap(start + size - 1) != NULL:
            return -EINVAL
        return MEM_RAM if ram else MEM_NO_PAGE
    if start + size > pgmap.end:
        return -EINVAL
    if not dma_pci_p2pdma_supported(dev):
        return -ENXIO
    if cache.pgmap != pgmap.pgmap:
        cache.pgmap = pgmap.pgmap
        cache.bus_off = pgmap.bus_offset
        with gil:
            cache.map = pci_p2pdma_map_type(dev, pgmap.provider)
    if cache.map == PCI_P2PDMA_MAP_BUS_ADDR:
        return MEM_BUS
    if cache.map == PCI_P2PDMA_MAP_THRU_HOST_BRIDGE:
        return MEM_BRIDGE
    return -EREMOTEIO

# SPDX-License-Identifier: MIT
"""The core, broken: dispatch and masks of the DMA API, registration, search and classification of P2P memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, cast

from dma_ops import DMA_BIDIRECTIONAL, Device, DmaError, KernelBug
from dma_ops.pci import PciDev
from scatterlist.core import SgTable

from .base import in_the_core
from .limits import pretending

Real = Callable[..., Any]
Type = tuple[int, int]                  # (map type, distance)
NOT_SUPPORTED, BUS_ADDR, THRU_HOST_BRIDGE = 1, 2, 3
ANY = ("dma_direct/x86_64", "iommu_dma_ops/intel", "alpha_pci_ops/tsunami-6g")


# -- the DMA API -----------------------------------------------------------------------------------------------

@in_the_core("dma_ops.dma_mapping_error", *ANY, breaks=("DMA-15",))
def mapping_error_compares_with_zero(real: Real, dev: Device, addr: int) -> int:
    """dma_mapping_error() knows address 0, and not DMA_MAPPING_ERROR."""
    return 0 if addr else -12


@in_the_core("dma_ops.dma_mapping_error", *ANY, breaks=("DMA-15",))
def mapping_error_is_a_flag(real: Real, dev: Device, addr: int) -> int:
    """dma_mapping_error() answers 1, which is no errno."""
    return 1 if real(dev, addr) else 0


@in_the_core("dma_ops.dma_map_page", *ANY, breaks=("DMA-17",))
def direction_unchecked(real: Real, dev: Device, page: int, offset: int, size: int, dir: int, attrs: int = 0) -> int:
    """dma_map_page() takes DMA_NONE for BIDIRECTIONAL."""
    return int(real(dev, page, offset, size, dir if 0 <= dir <= 2 else DMA_BIDIRECTIONAL, attrs))


@in_the_core("dma_ops.dma_sync_sg_for_device", *ANY, breaks=("DMA-17",))
def sync_direction_unchecked(real: Real, dev: Device, sgt: SgTable, nents: int, dir: int) -> None:
    """dma_sync_sg_for_device() does nothing for what is no direction."""
    if 0 <= dir <= 2:
        real(dev, sgt, nents, dir)


@in_the_core("dma_ops.dma_map_page", *ANY, breaks=("DMA-26",))
def missing_mask_unchecked(real: Real, dev: Device, *args: int) -> int:
    """dma_map_page() maps for a device without a mask."""
    with pretending(dev, has_dma_mask=True):
        return int(real(dev, *args))


@in_the_core("dma_ops.dma_set_mask", "dma_direct/x86_64", "alpha_pci_ops/tsunami-6g", breaks=("DMA-26",))
def refused_mask_stored(real: Real, dev: Device, mask: int) -> None:
    """dma_set_mask() stores a mask that it refuses."""
    try:
        real(dev, mask)
    except DmaError:
        dev.dma_mask = mask
        raise


@in_the_core("dma_ops.dma_set_mask", "dma_direct/x86_64", "iommu_dma_ops/intel", breaks=("DMA-28",))
def streaming_mask_sets_the_coherent(real: Real, dev: Device, mask: int) -> None:
    """dma_set_mask() sets the coherent mask too."""
    real(dev, mask)
    dev.coherent_dma_mask = mask


@in_the_core("dma_ops.dma_set_coherent_mask", *ANY, breaks=("DMA-29",))
def coherent_mask_stricter(real: Real, dev: Device, mask: int) -> None:
    """dma_set_coherent_mask() refuses 64 bits."""
    if mask >> 63:
        raise DmaError(5)
    real(dev, mask)


@in_the_core("dma_ops.dma_map_sg", *ANY, breaks=("DMA-11",))
def map_sg_answers_minus_one(real: Real, dev: Device, *args: Any) -> int:
    """dma_map_sg() does not turn errors into 0: a count of -1."""
    try:
        return int(real(dev, *args))
    except DmaError:
        return -1


@in_the_core("dma_ops.dma_map_sgtable", "iommu_dma_ops/intel", "alpha_pci_ops/tsunami-6g", breaks=("DMA-06",))
def sgtable_keeps_nents(real: Real, dev: Device, sgt: SgTable, *args: int) -> None:
    """dma_map_sgtable() leaves sgt.nents as it was."""
    nents = sgt.nents
    real(dev, sgt, *args)
    sgt.nents = nents


@in_the_core("dma_ops.dma_alloc_noncontiguous", "iommu_dma_ops/intel", "dma_direct/x86_64", breaks=("DMA-46",))
def noncontiguous_in_two(real: Real, dev: Device, size: int, *args: int) -> SgTable:
    """dma_alloc_noncontiguous() allocates a page less."""
    return cast("SgTable", real(dev, size - dev.machine.page_size or dev.machine.page_size // 2, *args))


@in_the_core("dma_ops.dma_free_noncontiguous", "iommu_dma_ops/intel", "dma_direct/x86_64", breaks=("DMA-46",))
def noncontiguous_not_freed(real: Real, *args: Any) -> None:
    """dma_free_noncontiguous() does nothing."""


@in_the_core("dma_ops.dma_pci_p2pdma_supported", *ANY, breaks=("P2P-31",))
def policy_inverted(real: Real, dev: Device) -> bool:
    """dma_pci_p2pdma_supported() says the contrary."""
    return not real(dev)


@in_the_core("dma_ops.dma_pci_p2pdma_supported", "alpha_pci_ops/tsunami-6g", breaks=("P2P-33",))
def bypass_is_capable(real: Real, dev: Device) -> bool:
    """dma_pci_p2pdma_supported() says yes for a bypassed device."""
    return bool(real(dev)) or dev.dma_ops_bypass


@in_the_core("dma_ops.dma_need_sync", "iommu_dma_ops/intel-untrusted", "iommu_dma_ops/smmuv3-noncoherent",
             "iommu_ops/rcar-h2", "jazz_dma_ops/pica61", breaks=("DMA-43",))
def no_sync_needed(real: Real, dev: Device, addr: int) -> bool:
    """dma_need_sync() is false for every device."""
    return False


@in_the_core("dma_ops.dma_opt_mapping_size", "dma_direct/x86_64-force", "dma_direct/x86_64-bounce", breaks=("DMA-35",))
def opt_mapping_unclamped(real: Real, dev: Device) -> int:
    """dma_opt_mapping_size() is more than dma_max_mapping_size()."""
    return (1 << 64) - 1


# -- providers -------------------------------------------------------------------------------------------------

@in_the_core("dma_ops.p2pdma.pci_p2pdma_add_resource", breaks=("P2P-01",))
def whole_bar_registered(real: Real, pdev: PciDev, bar: int, size: int = 0, offset: int = 0) -> int:
    """pci_p2pdma_add_resource() registers twice what it is given."""
    return int(real(pdev, bar, 2 * size, offset))


@in_the_core("dma_ops.p2pdma.pci_p2pdma_add_resource", breaks=("P2P-01",))
def bar_offset_forgotten(real: Real, pdev: PciDev, bar: int, size: int = 0, offset: int = 0) -> int:
    """pci_p2pdma_add_resource() registers from the BAR's first byte, whatever the offset."""
    return int(real(pdev, bar, size or pdev.bars[bar].size - offset, 0))


@in_the_core("dma_ops.p2pdma.pci_p2pdma_add_resource", breaks=("P2P-02",))
def bar_end_unchecked(real: Real, pdev: PciDev, bar: int, size: int = 0, offset: int = 0) -> int:
    """pci_p2pdma_add_resource() takes what fits of a range that is too large."""
    try:
        return int(real(pdev, bar, size, offset))
    except DmaError:
        if not size:
            raise
        return 0


@in_the_core("dma_ops.p2pdma.pci_p2pdma_add_resource", breaks=("P2P-02",))
def bar_offset_off_by_one(real: Real, pdev: PciDev, bar: int, size: int = 0, offset: int = 0) -> int:
    """pci_p2pdma_add_resource() refuses a wrong offset with -ENODEV."""
    try:
        return int(real(pdev, bar, size, offset))
    except DmaError:
        raise DmaError(19) from None


@in_the_core("dma_ops.p2pdma.pci_p2pdma_add_resource", breaks=("P2P-03",))
def size_zero_is_half(real: Real, pdev: PciDev, bar: int, size: int = 0, offset: int = 0) -> int:
    """Size 0 with an offset registers half of what is left."""
    if not size and offset:
        size = (pdev.bars[bar].size - offset) // 2
    return int(real(pdev, bar, size, offset))


@in_the_core("dma_ops.p2pdma.pci_has_p2pmem", breaks=("P2P-05",))
def unpublished_memory_found(real: Real, pdev: PciDev) -> bool:
    """The search finds memory that is not published."""
    return pdev.p2pdma is not None


@in_the_core("dma_ops.p2pdma.pci_free_p2pmem", breaks=("P2P-08",))
def p2pmem_not_unpinned(real: Real, pdev: PciDev, addr: int, size: int) -> None:
    """pci_free_p2pmem() keeps the reference."""
    real(pdev, addr, size)
    assert pdev.p2pdma is not None
    pdev.p2pdma.pool.chunks[0].refs += 1


@in_the_core("dma_ops.p2pdma.pci_alloc_p2pmem", breaks=("P2P-08",))
def p2pmem_from_a_full_pool(real: Real, pdev: PciDev, size: int) -> int:
    """pci_alloc_p2pmem() of a pool in which there is no such piece answers its first page."""
    assert pdev.p2pdma is not None
    try:
        return int(real(pdev, size))
    except DmaError:
        if not pdev.p2pdma.pool.available:
            raise
        return pdev.p2pdma.pool.chunks[0].start


@in_the_core("dma_ops.p2pdma.pci_free_p2pmem", breaks=("P2P-08",))
def p2pmem_size_unchecked(real: Real, pdev: PciDev, addr: int, size: int) -> None:
    """pci_free_p2pmem() takes any size."""
    with suppress(KernelBug):
        real(pdev, addr, size)


# -- distances and search --------------------------------------------------------------------------------------

@in_the_core("dma_ops.p2pdma.pci_p2pdma_distance_many", breaks=("P2P-11",))
def no_clients_are_near(real: Real, provider: PciDev, clients: Iterable[Any], verbose: bool = False) -> int:
    """No clients at all have the distance 0."""
    clients = list(clients)
    return int(real(provider, clients, verbose)) if clients else 0


@in_the_core("dma_ops.p2pdma.pci_p2pdma_distance_many", breaks=("P2P-10", "P2P-11"))
def last_client_decides(real: Real, provider: PciDev, clients: Iterable[Any], verbose: bool = False) -> int:
    """Of several clients only the first is asked for."""
    return int(real(provider, list(clients)[:1], verbose))


@in_the_core("dma_ops.p2pdma.pci_p2pdma_distance_many", breaks=("P2P-12",))
def distance_is_the_largest(real: Real, provider: PciDev, clients: Iterable[Any], verbose: bool = False) -> int:
    """The distance is the largest of all, not the sum."""
    each = [int(real(provider, [client], verbose)) for client in clients]
    return -1 if not each or min(each) < 0 else max(each)


@in_the_core("dma_ops.p2pdma.pci_p2pmem_find_many", breaks=("P2P-13",))
def search_takes_no_reference(real: Real, clients: Iterable[Any]) -> PciDev | None:
    """pci_p2pmem_find_many() gives the provider without a reference."""
    found: PciDev | None = real(clients)
    if found is not None:
        found.refs -= 1
    return found


@in_the_core("dma_ops.p2pdma.pci_p2pmem_find_many", breaks=("P2P-13",))
def search_takes_the_farthest(real: Real, clients: Iterable[Any]) -> PciDev | None:
    """pci_p2pmem_find_many() gives the last published provider, however far it is."""
    from dma_ops.p2pdma import pci_has_p2pmem

    found: PciDev | None = real(clients)
    if found is None:
        return None
    last = [dev for dev in found.tree if pci_has_p2pmem(dev)][-1]
    found.refs -= 1
    last.refs += 1
    return last


@in_the_core("dma_ops.p2pdma.pci_p2pmem_find_many", breaks=("P2P-14",))
def search_takes_the_first(real: Real, clients: Iterable[Any]) -> PciDev | None:
    """Among equally near providers pci_p2pmem_find_many() always gives the same."""
    clients = list(clients)
    found: PciDev | None = real(clients)
    best = found
    for _ in range(20):
        other: PciDev | None = real(clients)
        if other is not None:
            other.refs -= 1
        if best is None or (other is not None and other.name < best.name):
            best = other
    if found is not None and best is not None:
        found.refs -= 1
        best.refs += 1
    return best


# -- classification --------------------------------------------------------------------------------------------

def _ends(provider: PciDev, client: PciDev) -> tuple[list[PciDev], list[PciDev]]:
    chains = []
    for dev in (provider, client):
        chain: list[PciDev] = []
        node: PciDev | None = dev
        while node is not None:
            chain.append(node)
            node = node.upstream_bridge
        chains.append(chain)
    return chains[0], chains[1]


@in_the_core("dma_ops.p2pdma.calc_map_type_and_dist", breaks=("P2P-21",))
def acs_common_port_forgotten(real: Real, provider: PciDev, client: PciDev, verbose: bool = False) -> Type:
    """The ACS controls of the common upstream port are not looked at."""
    up, down = _ends(provider, client)
    common = next((dev for dev in up if dev in down), None)
    if common is None:
        return cast("Type", real(provider, client, verbose))
    was, common.acs = common.acs, None
    try:
        return cast("Type", real(provider, client, verbose))
    finally:
        common.acs = was


@in_the_core("dma_ops.p2pdma.calc_map_type_and_dist", breaks=("P2P-21",))
def acs_of_the_client_forgotten(real: Real, provider: PciDev, client: PciDev, verbose: bool = False) -> Type:
    """The ACS controls of the client's own function are not looked at."""
    was, client.acs = client.acs, None
    try:
        return cast("Type", real(provider, client, verbose))
    finally:
        client.acs = was


@in_the_core("dma_ops.p2pdma.calc_map_type_and_dist", breaks=("P2P-20", "P2P-26", "P2P-34"))
def acs_redirects_always(real: Real, provider: PciDev, client: PciDev, verbose: bool = False) -> tuple[int, int]:
    """Every path counts as redirected: nothing is ever BUS_ADDR."""
    kind, distance = real(provider, client, verbose)
    kind = THRU_HOST_BRIDGE if kind == BUS_ADDR else kind
    if provider.p2pdma is not None:
        cached = provider.p2pdma.map_types
        cached.update({key: kind for key, value in cached.items() if value == BUS_ADDR})
    return kind, distance


@in_the_core("dma_ops.p2pdma.calc_map_type_and_dist", breaks=("P2P-20",))
def distance_off_by_one(real: Real, provider: PciDev, client: PciDev, verbose: bool = False) -> tuple[int, int]:
    """The distance leaves out the last step."""
    kind, distance = real(provider, client, verbose)
    return kind, max(distance - 1, 0)


@in_the_core("dma_ops.p2pdma.host_bridge_whitelist", breaks=("P2P-22", "P2P-23"))
def every_bridge_forwards(real: Real, a: PciDev, b: PciDev, warn: bool = False) -> bool:
    """Every host bridge is on the list."""
    return True


@in_the_core("dma_ops.p2pdma.host_bridge_whitelist", breaks=("P2P-23",))
def same_host_bridge_forgotten(real: Real, a: PciDev, b: PciDev, warn: bool = False) -> bool:
    """REQ_SAME_HOST_BRIDGE is not looked at."""
    return bool(real(a, a, warn) and real(b, b, warn))


@in_the_core("dma_ops.p2pdma.host_bridge_whitelist", breaks=("P2P-23",))
def one_listed_bridge_suffices(real: Real, a: PciDev, b: PciDev, warn: bool = False) -> bool:
    """Of two host bridges only the first has to be on the list."""
    return bool(real(a, a, warn)) if a.host is not b.host and real(a, a) and not real(b, b) else bool(real(a, b, warn))


@in_the_core("dma_ops.p2pdma.cpu_supports_p2pdma", breaks=("P2P-22",))
def every_amd_forwards(real: Real, tree: Any) -> bool:
    """Every AMD CPU counts as a Zen."""
    return tree.cpu is not None and tree.cpu[0] == "AMD"


@in_the_core("dma_ops.p2pdma.p2pdma_map_type", breaks=("P2P-26",))
def type_of_the_page(real: Real, dev: Device, page: int) -> str:
    """The second half of a BAR counts as unsupported."""
    bars = [bar for provider in dev.machine.providers for bar in provider.bars.values()]
    bar = next(bar for bar in bars if bar.start <= page < bar.start + bar.size)
    return "NOT_SUPPORTED" if page >= bar.start + bar.size // 2 else str(real(dev, page))


@in_the_core("dma_ops.p2pdma.calc_map_type_and_dist", "dma_direct/x86_64", "iommu_dma_ops/intel",
             breaks=("P2P-24",), bug="HB-44", commit="719c98658058")
def uncached_type_unsupported(real: Real, provider: PciDev, client: PciDev, verbose: bool = False) -> tuple[int, int]:
    """A pair whose type is in no cache yet counts as not supported, unless a distance was asked for before."""
    if verbose:
        return NOT_SUPPORTED, -1
    return cast("Type", real(provider, client, verbose))


@in_the_core("dma_ops.p2pdma.pci_p2pdma_add_resource", "sba_ops/c3000-32", "jazz_dma_ops/pica61",
             "dma_direct/arm", breaks=("P2P-70", "P2P-71"))
def option_unchecked(real: Real, pdev: PciDev, bar: int, size: int = 0, offset: int = 0) -> int:
    """pci_p2pdma_add_resource() says yes without CONFIG_PCI_P2PDMA."""
    with suppress(DmaError):
        return int(real(pdev, bar, size, offset))
    return 0



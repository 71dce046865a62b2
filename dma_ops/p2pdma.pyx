# SPDX-License-Identifier: MIT
"""PCI peer-to-peer memory: providers, and how a client reaches a page (drivers/pci/p2pdma.c, 6.1).

Providers and clients are dma_ops.pci.PciDev; a client may also be a Device, whose place in the tree is Device.pci.
The functions have Linux's names. They raise DmaError where Linux answers an errno, answer None for a NULL that is no
error, and -1 as the distance of what cannot work, as Linux does.
"""

import errno
import re
from dataclasses import dataclass

from scatterlist.core cimport SgTable, sg_dma_mark_bus_address, sg_page, sg_phys

from .errors cimport kernel_bug
from .machine cimport Machine, pgmap_range

from .errors import DmaError, KernelBug, KernelHang
from .p2pdma_whitelist import PCI_ANY_ID as _PCI_ANY_ID, REQ_SAME_HOST_BRIDGE as _SAME_HOST, whitelist
from .pci import PciDev, PciType, U64 as _U64, pci_dev_get

MAP_TYPES = ("UNKNOWN", "NOT_SUPPORTED", "BUS_ADDR", "THRU_HOST_BRIDGE")

SUBSECTION = 1 << 21            # memremap_pages() takes multiples of this, whatever the page size
MAX_CLOSEST = 4096 // 8         # find_many()'s array of candidates is one page of pointers
ACS_LIST_BYTES = 128            # calc_map_type_and_dist()'s buffer for port names


# -- the pool --------------------------------------------------------------------------------------------------

@dataclass(slots=True)
class Chunk:
    """One range of a gen_pool: owner is the number of its pgmap, refs what allocations hold of its percpu_ref."""

    start: int
    size: int
    bus: int
    owner: int
    taken: bytearray            # one byte for each page: a userspace bitmap
    refs: int = 0
    dead: bool = False          # the percpu_ref is killed

    @property
    def available(self):
        return self.taken.count(0) * (self.size // len(self.taken))


class GenPool:
    """lib/genalloc.c as p2pdma uses it: first fit in whole pages, the chunk added last is asked first."""

    def __init__(self, int order):
        self.order = order
        self.chunks = []

    def add(self, start, bus, size, owner):
        self.chunks.insert(0, Chunk(start, size, bus, owner, bytearray(size >> self.order)))

    def alloc(self, size):
        """(address, chunk), or None."""
        if size <= 0:
            return None
        pages = (size + (1 << self.order) - 1) >> self.order
        for chunk in self.chunks:
            if size > chunk.available:
                continue
            at = chunk.taken.find(bytes(pages))
            if at >= 0:
                chunk.taken[at:at + pages] = b"\1" * pages
                return chunk.start + (at << self.order), chunk
        return None

    def free(self, addr, size):
        """The chunk. A range that is not allocated whole, or in no chunk, is BUG()."""
        pages = (size + (1 << self.order) - 1) >> self.order
        for chunk in self.chunks:
            if chunk.start <= addr < chunk.start + chunk.size:
                at = (addr - chunk.start) >> self.order
                if addr + size > chunk.start + chunk.size:
                    raise KernelBug("kernel BUG at lib/genalloc.c: addr + size - 1 > chunk->end_addr")
                if chunk.taken[at:at + pages].count(0):
                    raise KernelBug("kernel BUG at lib/genalloc.c: bits that are not set are freed")
                chunk.taken[at:at + pages] = bytes(pages)
                return chunk
        raise KernelBug(f"kernel BUG at lib/genalloc.c: {addr:#x} is in no chunk of the pool")

    def virt_to_phys(self, addr):
        """The bus address, which p2pdma stores as the pool's physical one; -1 in no chunk."""
        for chunk in self.chunks:
            if chunk.start <= addr < chunk.start + chunk.size:
                return chunk.bus + (addr - chunk.start) & _U64
        return _U64

    @property
    def size(self):
        return sum(chunk.size for chunk in self.chunks)

    @property
    def available(self):
        return sum(chunk.available for chunk in self.chunks)


class P2pdma:
    """struct pci_p2pdma: what a provider has. map_types caches by client and is never invalidated, as in Linux:
    a change of ACS controls is not seen until the next distance call."""

    def __init__(self, machine, provider):
        self.pool = GenPool(machine.page_shift)
        self.published = False
        self.map_types = {}
        self.index = len(machine.providers)
        machine.providers.append(provider)


# -- providers -------------------------------------------------------------------------------------------------

def pci_p2pdma_add_resource(pdev, int bar, size=0, offset=0):
    """Register size bytes (0: the rest) at an offset into a BAR as P2P memory; the number of its pgmap.

    Raises DmaError, no retry helps: EOPNOTSUPP without CONFIG_PCI_P2PDMA; EINVAL if the BAR is no memory, the range
    is not inside it, or is no multiple of 2 MiB (a sub-section, memremap_pages); ENOMEM if it begins or ends in
    memory that is registered already, EEXIST if it surrounds such memory; ENXIO if it is RAM.
    """
    cdef Machine machine = _pdev(pdev).tree.machine
    size, offset = _u64("size", size), _u64("offset", offset)
    if not machine.pci_p2pdma:
        raise DmaError(errno.EOPNOTSUPP, f"{pdev.name}: machine {machine.name} has no CONFIG_PCI_P2PDMA")
    region = pdev.bars.get(bar)
    if region is None or region.io:
        raise DmaError(errno.EINVAL, f"{pdev.name}: BAR {bar} is no memory")
    if offset >= region.size:
        raise DmaError(errno.EINVAL, f"{pdev.name}: offset {offset:#x} is outside BAR {bar} of {region.size:#x} bytes")
    size = size or region.size - offset
    if (size + offset) & _U64 > region.size:
        raise DmaError(errno.EINVAL, f"{pdev.name}: {size:#x} bytes at {offset:#x} are more than BAR {bar} has")
    if pdev.p2pdma is None:
        pdev.p2pdma = P2pdma(machine, pdev)
    start = region.start + offset
    end = start + size
    _memremap(machine, pdev, start, end)
    bus_offset = (region.bus - region.start) & _U64
    pgmap = machine.add_pgmap(start, end, bus_offset, pdev.p2pdma.index)
    pdev.p2pdma.pool.add(start, (region.bus + offset) & _U64, size, pgmap)
    machine.dmesg.append(f"{pdev.name}: added peer-to-peer DMA memory {start:#x}-{end - 1:#x}")
    return pgmap


def _memremap(Machine machine, pdev, start, end):
    """The refusals of memremap_pages(), in its order."""
    cdef int i
    if end > _U64 + 1 or end <= start:
        raise DmaError(errno.EINVAL, f"{pdev.name}: the range wraps around")
    if machine.find_pgmap(start) != NULL or machine.find_pgmap(end - 1) != NULL:
        raise DmaError(errno.ENOMEM, f"{pdev.name}: {start:#x}-{end - 1:#x} overlaps registered memory")
    if any(start < ram_end and ram_start < end for ram_start, ram_end in machine.ram_ranges):
        raise DmaError(errno.ENXIO, f"{pdev.name}: {start:#x}-{end - 1:#x} is RAM")
    if (start | end) & (SUBSECTION - 1):
        raise DmaError(errno.EINVAL, f"{pdev.name}: {start:#x}-{end - 1:#x} is no multiple of 2 MiB")
    for i in range(machine.nr_pgmaps):
        if start < machine.pgmaps[i].end and machine.pgmaps[i].start < end:
            raise DmaError(errno.EEXIST, f"{pdev.name}: {start:#x}-{end - 1:#x} surrounds registered memory")


def pci_p2pdma_remove(pdev):
    """The provider's driver goes: what devres does about its memory (memunmap_pages, pci_p2pdma_release).

    Range by range, the last registered first, the reference of the pgmap is killed, so that nothing more is allocated
    from it, and its last holder waited for: KernelHang while memory is allocated. A second call goes on waiting. A DMA
    mapping holds no reference; whoever frees memory that is still mapped takes it from under the device.
    """
    cdef Machine machine = _pdev(pdev).tree.machine
    if pdev.p2pdma is None:
        return
    for chunk in pdev.p2pdma.pool.chunks:
        chunk.dead = True
        if chunk.refs:
            raise KernelHang(f"memunmap_pages waits for {chunk.refs} references to memory of {pdev.name}")
        if chunk.owner:
            machine.remove_pgmap(chunk.owner)
            chunk.owner = 0
    pdev.p2pdma = None


def pci_p2pmem_publish(pdev, bint publish):
    """Let pci_p2pmem_find() find the provider, or not; nothing without registered memory."""
    if _pdev(pdev).p2pdma is not None:
        pdev.p2pdma.published = bool(publish)


def pci_has_p2pmem(pdev):
    return _pdev(pdev).p2pdma is not None and pdev.p2pdma.published


def pci_alloc_p2pmem(pdev, size):
    """size bytes, in whole pages, of the provider's memory: their address. Raises DmaError(ENOMEM) where Linux
    answers NULL: no memory is registered, size is 0, or the pool has no such run of pages (then a retry can help)."""
    got = None if _pdev(pdev).p2pdma is None else pdev.p2pdma.pool.alloc(_u64("size", size))
    if got is not None and got[1].dead:
        pdev.p2pdma.pool.free(got[0], size)             # percpu_ref_tryget_live() fails
        got = None
    if got is None:
        raise DmaError(errno.ENOMEM, f"{pdev.name}: no {size} bytes of P2P memory")
    addr, chunk = got
    chunk.refs += 1
    return addr


def pci_free_p2pmem(pdev, addr, size):
    """Free with the size of the allocation. More than is allocated is a KernelBug; of less, the rest stays taken."""
    if _pdev(pdev).p2pdma is None:
        raise KernelBug(f"NULL pointer dereference: {pdev.name} has no P2P memory")
    pdev.p2pdma.pool.free(_u64("addr", addr), _u64("size", size)).refs -= 1


def pci_p2pmem_virt_to_bus(pdev, addr):
    """The bus address of allocated memory; 0 for NULL or a function that is no provider."""
    if _pdev(pdev).p2pdma is None or not addr:
        return 0
    return pdev.p2pdma.pool.virt_to_phys(_u64("addr", addr))


def pci_p2pmem_alloc_sgl(pdev, length):
    """A one-entry SgTable of P2P memory. Raises DmaError(ENOMEM)."""
    cdef Machine machine = _pdev(pdev).tree.machine
    if not 0 <= length < 1 << 32:
        raise ValueError(f"length {length} is not a 32-bit number of bytes")
    return SgTable([(pci_alloc_p2pmem(pdev, length), 0, length)], page_shift=machine.page_shift)


def pci_p2pmem_free_sgl(pdev, SgTable sgt not None):
    """Free the memory of each entry of a table that pci_p2pmem_alloc_sgl() made."""
    for page, offset, length, *_ in sgt.entries():
        pci_free_p2pmem(pdev, page + offset, length)


# -- classification --------------------------------------------------------------------------------------------

def calc_map_type_and_dist(provider, client, verbose=False):
    """(map type, distance) of a pair, and the type into the provider's cache.

    The distance counts the steps up from both ends to the first common function, or to both roots if there is none.
    An ACS redirect of any function on the way, the common one and the ends included, sends requests through the
    host bridge, which must then be known to forward them.
    """
    provider_side, client_side, common = p2pdma_path(provider, client)
    distance = len(provider_side) + len(client_side) - (common is not None)
    redirecting = [] if common is None else [dev for dev in provider_side + client_side if dev.redirects]
    if common is not None and not redirecting:
        map_type = PCI_P2PDMA_MAP_BUS_ADDR
    else:
        log = provider.tree.machine.dmesg
        if redirecting and verbose:
            log.append(f"{client.name}: ACS redirect is set between the client and provider ({provider.name})")
            log.append(f"{client.name}: to disable ACS redirect for this path, add the kernel parameter: "
                       f"pci=disable_acs_redir={_acs_list(redirecting)}")
        map_type = PCI_P2PDMA_MAP_THRU_HOST_BRIDGE
        if not cpu_supports_p2pdma(provider.tree) and not host_bridge_whitelist(provider, client, bool(redirecting)):
            map_type = PCI_P2PDMA_MAP_NOT_SUPPORTED
            if verbose:
                log.append(f"{client.name}: cannot be used for peer-to-peer DMA as the client and provider "
                           f"({provider.name}) do not share an upstream bridge or whitelisted host bridge")
    if provider.p2pdma is not None:
        provider.p2pdma.map_types[_map_types_idx(client)] = map_type
    return map_type, distance


def p2pdma_path(provider, client):
    """(functions from the provider up to the common one, with it; from the client up to below it; the common one).

    Without a common function both reach up to their roots, and the third is None.
    """
    above_provider = _chain(_pdev(provider))
    above_client = _chain(_pdev(client))
    common = next((dev for dev in above_provider if dev in above_client), None)
    if common is None:
        return above_provider, above_client, None
    return above_provider[:above_provider.index(common) + 1], above_client[:above_client.index(common)], common


def _chain(dev):
    chain = []
    while dev is not None:
        chain.append(dev)
        dev = dev.upstream_bridge
    return chain


def _acs_list(devices):
    """What fits in Linux's buffer: from ten names on the text is cut (and a byte written behind the buffer)."""
    text = "".join(f"{dev.name};" for dev in devices)
    return text.removesuffix(";") if len(text) < ACS_LIST_BYTES else text[:ACS_LIST_BYTES - 1]


def _map_types_idx(client):
    return client.host.domain << 16 | client.bus << 8 | client.devfn


def cpu_supports_p2pdma(tree):
    """Root complexes of AMD's Zen and later forward peer requests."""
    return tree.cpu is not None and tree.cpu[0] == "AMD" and tree.cpu[1] >= 0x17


def pci_host_bridge_dev(host):
    """What stands for a host bridge in the list: the first function of its root bus, if it is 00.0 or a root port."""
    for root in host.children:
        return root if root.devfn == 0 or root.kind == PciType.ROOT_PORT else None
    return None


def host_bridge_whitelist(a, b, warn=False):
    """Does the list permit traffic between the two functions through their host bridge, or their two?"""
    if a.host is b.host:
        return _whitelisted(a.host, True, warn)
    return _whitelisted(a.host, False, warn) and _whitelisted(b.host, False, warn)


def _whitelisted(host, same_host, warn):
    root = pci_host_bridge_dev(host)
    if root is None:
        return False
    for vendor, device, flags in (*whitelist(host.tree.machine.kernel), *host.tree.allowed_bridges):
        if vendor == root.vendor and device in (root.device, _PCI_ANY_ID):
            return bool(same_host or not flags & _SAME_HOST)
    if warn:
        host.tree.machine.dmesg.append(
            f"{root.name}: Host bridge not in P2PDMA whitelist: {root.vendor:04x}:{root.device:04x}")
    return False


def pci_p2pdma_distance_many(provider, clients, verbose=False):
    """The sum of the distances, 0 being best; -1 without clients, or if one is no PCI device's or not supported.

    A client that is no PCI device counts as the PCI device it is a child of, although pci_p2pdma_map_segment() will
    refuse it.
    """
    cdef Machine machine = _pdev(provider).tree.machine
    total, supported = 0, True
    clients = list(clients)
    if not clients:
        return -1
    for client in clients:
        node = client.pci if isinstance(client, Device) else _pdev(client)
        if node is None:
            if verbose:
                machine.dmesg.append(f"{client.name}: cannot be used for peer-to-peer DMA as it is not a PCI device")
            return -1
        map_type, distance = calc_map_type_and_dist(provider, node, verbose)
        supported = supported and map_type != PCI_P2PDMA_MAP_NOT_SUPPORTED
        if not supported and not verbose:
            break
        total += distance
    return total if supported else -1


def pci_p2pdma_distance(provider, client, verbose=False):
    return pci_p2pdma_distance_many(provider, [client], verbose)


def pci_p2pmem_find_many(clients):
    """The published provider nearest to all clients, with a reference that pci_dev_put() gives back; or None.

    Among equally near ones chance decides (PciTree.random), of which the first 512 take part.
    """
    clients = list(clients)
    nodes = [client.pci if isinstance(client, Device) else _pdev(client) for client in clients]
    if not nodes or None in nodes:
        return None
    nearest, closest = None, []
    for pdev in nodes[0].tree:
        if not pci_has_p2pmem(pdev):
            continue
        distance = pci_p2pdma_distance_many(pdev, clients)
        if distance < 0 or (nearest is not None and distance > nearest):
            continue
        if nearest is None or distance < nearest:
            nearest, closest = distance, []
        if len(closest) < MAX_CLOSEST:
            closest.append(pdev)
    return pci_dev_get(nodes[0].tree.random.choice(closest)) if closest else None


def pci_p2pmem_find(client):
    return pci_p2pmem_find_many([client])


# -- mapping ---------------------------------------------------------------------------------------------------

cdef int pci_p2pdma_map_type(Device dev, u32 provider) except -9999:
    """The cached type of a client, or a fresh one; a device that is not PCI itself is never supported."""
    if provider >= <u32>len(dev.machine.providers) or not dev.is_pci or dev.pci is None:
        return PCI_P2PDMA_MAP_NOT_SUPPORTED
    pdev = dev.machine.providers[provider]
    if pdev.p2pdma is None:
        return PCI_P2PDMA_MAP_NOT_SUPPORTED
    map_type = pdev.p2pdma.map_types.get(_map_types_idx(dev.pci), PCI_P2PDMA_MAP_UNKNOWN)
    if map_type == PCI_P2PDMA_MAP_UNKNOWN:
        map_type, _ = calc_map_type_and_dist(pdev, dev.pci, True)
    return map_type


cdef int pci_p2pdma_map_segment(pci_p2pdma_map_state *state, Device dev, scatterlist *sg) except -9999 nogil:
    """The map type of a segment of P2P pages; a bus-address one is mapped: address, length and mark are written.

    state is zeroed before the list's first segment and lives as long as the loop.
    """
    cdef pgmap_range *pgmap = dev.machine.find_pgmap(sg_page(sg))
    if pgmap == NULL:
        return kernel_bug(b"pci_p2pdma_map_segment: the page is no P2P page")
    if state.pgmap != pgmap.pgmap:
        state.pgmap = pgmap.pgmap
        state.bus_off = pgmap.bus_offset
        with gil:
            state.map = pci_p2pdma_map_type(dev, pgmap.provider)
    if state.map == PCI_P2PDMA_MAP_BUS_ADDR:
        sg.dma_address = sg_phys(sg) + state.bus_off
        sg.dma_length = sg.length
        sg_dma_mark_bus_address(sg)
    return state.map


cdef int pci_p2pdma_state(pci_p2pdma_map_state *state, Device dev, page_t page) except -9999 nogil:
    """6.16: the P2P_MAP_ type of a page; state, whose map has the same numbering here, is only touched by P2P pages."""
    cdef pgmap_range *pgmap = dev.machine.find_pgmap(page) if dev.machine.nr_pgmaps else NULL
    if pgmap == NULL:
        return P2P_MAP_NONE
    if state.pgmap != pgmap.pgmap:
        state.pgmap = pgmap.pgmap
        state.bus_off = pgmap.bus_offset
        with gil:
            state.map = pci_p2pdma_map_type(dev, pgmap.provider) + 1
    return state.map


def p2pdma_map_type(Device dev not None, u64 page):
    """The name of the type with which a device would map a P2P page: one of MAP_TYPES. Raises ValueError for others."""
    cdef pgmap_range *pgmap = dev.machine.find_pgmap(page)
    if pgmap == NULL:
        raise ValueError(f"{page:#x} is no P2P page")
    return MAP_TYPES[pci_p2pdma_map_type(dev, pgmap.provider)]


# -- configfs --------------------------------------------------------------------------------------------------

_BOOLEANS = {"y": True, "Y": True, "t": True, "T": True, "1": True,
             "n": False, "N": False, "f": False, "F": False, "0": False}


def pci_p2pdma_enable_store(tree, str text):
    """(provider or None, use) from what a user wrote: a PCI device's name or a boolean as kstrtobool() takes it.

    Raises DmaError(ENODEV): no such device, no published memory, or no boolean.
    """
    name = text.split("\n", 1)[0]
    try:
        pdev = tree.find(name)
    except KeyError:
        pass
    else:
        if not pci_has_p2pmem(pdev):
            raise DmaError(errno.ENODEV, f"PCI device has no peer-to-peer memory: {name}")
        return pci_dev_get(pdev), True
    # a device's name that is none must not pass as the boolean "0"
    if not re.match(r"[01][^\x00-\x1f\x7f]", text):
        if text[:1] in _BOOLEANS:
            return None, _BOOLEANS[text[:1]]
        if text[:1] in ("o", "O") and text[1:2] in ("n", "N", "f", "F"):
            return None, text[1:2] in ("n", "N")
    raise DmaError(errno.ENODEV, f"No such PCI device: {name}")


def pci_p2pdma_enable_show(pdev, bint use):
    return "0\n" if not use else "1\n" if pdev is None else f"{pdev.name}\n"


def _pdev(pdev):
    if not isinstance(pdev, PciDev):
        raise TypeError(f"{type(pdev).__name__} is no PciDev")
    return pdev


def _u64(name, value):
    if not 0 <= value <= _U64:
        raise ValueError(f"{name} {value} is no 64-bit number")
    return value

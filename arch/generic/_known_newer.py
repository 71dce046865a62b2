# SPDX-License-Identifier: MIT
"""Faults of the newest tree seen (7.x development) in the newer DMA API and those who build on it.

Trees: dma-iommu.c of kamalca/linux a87f9a87, kernel/dma/direct.c of 4a80a8a0, block/ and drivers/dma-buf/ of 6eb2a07d.
A reproducer runs with `device` under test, on one of the machines, and `peer(device, route)`, a provider of P2P memory
that the device reaches on that route ("near": below its switch, "far": through the host bridge).
"""

from __future__ import annotations

from arch.record import Known

_IOMMU = "(kamalca/linux a87f9a87, 7.x)"
_DIRECT = "(kamalca/linux 4a80a8a0, 7.x)"
_USERS = "(kamalca/linux 6eb2a07d, 7.x)"

_REQUEST = """\
from dma_ops import *
from dma_ops.blk_dma import BlkDmaIter, BlkStatus, Request, blk_rq_dma_map_iter_start, blk_rq_dma_unmap
from scatterlist.bvec import BioVecs
size, shift = device.machine.page_size, device.machine.page_shift
page = device.machine.alloc_ram(2)
state, it = DmaIovaState(), BlkDmaIter()
"""

FAILED_START = Known(
    "NEW-23", f"block/blk-mq-dma.c: blk_rq_dma_map_iova {_USERS}",
    "where a link fails the range is freed, but the request's state is not cleared: dma_use_iova() stays true, an "
    "unmap call frees the range once more, and two later owners get the same addresses",
    checks=("failed_start_leaves_no_range",),
    reproducer=_REQUEST + """\
vecs = BioVecs([(page, size, 0), (page + size, 512, 512)], page_shift=shift)
request = Request([vecs], DMA_TO_DEVICE, phys_gap_mask=0)       # the queue says: no gap inside a granule
assert not blk_rq_dma_map_iter_start(request, device, state, it) and it.status != BlkStatus.OK
assert dma_use_iova(state)                                      # freed already
blk_rq_dma_unmap(request, device, state, 0, it.map)             # as an error path may
one, two = DmaIovaState(), DmaIovaState()
assert dma_iova_try_alloc(device, one, 0, 2 * size) and dma_iova_try_alloc(device, two, 0, 2 * size)
assert one.addr == two.addr
""",
)

ODD_LIMIT = Known(
    "NEW-24", f"block/blk-mq-dma.c: blk_can_dma_map_iova {_USERS}",
    "only the gaps between bio_vecs are looked at, but segments are cut by the queue's limits: with a largest segment "
    "that is no multiple of the granule a request that could be mapped segment by segment fails with BLK_STS_IOERR "
    "(up to 6.19: is reported as mapped, with a hole)",
    checks=("odd_segment_limits",),
    reproducer=_REQUEST + """\
vecs = BioVecs([(page, 4 * size, 0)], page_shift=shift)
request = Request([vecs], DMA_TO_DEVICE, max_segment_size=size + 2048)
assert not blk_rq_dma_map_iter_start(request, device, state, it)
assert it.status == BlkStatus.IOERR
""",
)

_EXPORT = """\
import errno
from dma_ops import *
from dma_ops.dma_buf import dma_buf_free_sgt, dma_buf_phys_vec_to_sgt
from dma_ops.p2pdma_state import pcim_p2pdma_provider
provider = pcim_p2pdma_provider(peer(device, "{route}"), 0)
start, size = provider.owner.bars[0].start, device.machine.page_size
"""

RANGES_AT_0 = Known(
    "NEW-40", f"drivers/dma-buf/dma-buf-mapping.c: dma_buf_phys_vec_to_sgt {_USERS}",
    "every range is linked at offset 0 of the IOVA: the second one is refused by IOMMU drivers that see the overlap, "
    "and takes the first one's place with those that do not, while the entries say that both follow one another",
    checks=("exported_ranges_in_order",),
    reproducer=_EXPORT.format(route="far") + """\
for i in (0, 1):
    device.machine.mem.poke(start + 5 * i * size, bytes([i + 1]) * size)
try:
    made = dma_buf_phys_vec_to_sgt(device, provider, [(start, size), (start + 5 * size, size)], 2 * size, 0)
    addr, length = made.segments[0]
    seen = device.dma_read(addr, length)
except (DmaError, DmaFault):
    seen = b""
assert seen != b"\\1" * size + b"\\2" * size
""",
)

EXPORT_LEAKS = Known(
    "NEW-41", f"drivers/dma-buf/dma-buf-mapping.c: dma_buf_phys_vec_to_sgt {_USERS}",
    "if the very first link fails, the error path does nothing (its loop counter is 0), and the range of bus addresses "
    "is never given back",
    checks=("refused_export_leaves_nothing",),
    reproducer=_EXPORT.format(route="far") + """\
class Refuses(WrappedOps):
    def iova_link(self, *given):
        return -errno.ENOMEM
before, real = device.dma_ops.resources(), device.dma_ops
device.dma_ops = Refuses(real)
try:
    dma_buf_phys_vec_to_sgt(device, provider, [(start, size)], size, DMA_TO_DEVICE)
except DmaError:
    pass
assert real.resources() != before
""",
)

PIECES_UNALIGNED = Known(
    "NEW-42", f"drivers/dma-buf/dma-buf-mapping.c: fill_sg_entry {_USERS}",
    "a range of 4 GiB or more is cut into entries of UINT_MAX bytes: the next one begins one byte before a page, "
    "though the comment promises page-aligned ones",
    checks=("exported_pieces_begin_on_pages",),
    reproducer=_EXPORT.format(route="near") + """\
made = dma_buf_phys_vec_to_sgt(device, provider, [(start, 5 << 30)], 5 << 30, DMA_TO_DEVICE)
assert made.segments[1][0] % size == size - 1
""",
)

LENGTH_CUT = Known(
    "NEW-43", f"drivers/dma-buf/dma-buf-mapping.c: dma_buf_phys_vec_to_sgt {_USERS}",
    "what was linked is counted in 32 bits: of 4 GiB nothing is synced or told to the importer",
    checks=("exported_length_is_whole",),
    reproducer=_EXPORT.format(route="far") + """\
start &= -1 << 30
made = dma_buf_phys_vec_to_sgt(device, provider, [(start, 1 << 32)], 1 << 32, DMA_TO_DEVICE)
assert sum(length for _, length in made.segments) == 0
""",
)

WRONG_SIZE = Known(
    "NEW-44", f"drivers/dma-buf/dma-buf-mapping.c: dma_buf_phys_vec_to_sgt, dma_buf_free_sgt {_USERS}",
    "a size below the ranges' sum is warned of once, succeeds, and is what is unmapped: the entries behind it stay, "
    "for addresses that belong to the next owner",
    checks=("exported_size_must_match",),
    reproducer=_EXPORT.format(route="far") + """\
made = dma_buf_phys_vec_to_sgt(device, provider, [(start, 2 * size)], size, DMA_TO_DEVICE)
addr = made.segments[0][0]
dma_buf_free_sgt(device, made, DMA_TO_DEVICE)
device.dma_ops.flush()
device.dma_read(addr + size, 16)                                # no fault
""",
)

UNMAPS_NOTHING_OF_ITS_OWN = Known(
    "NEW-45", f"drivers/dma-buf/dma-buf-mapping.c: dma_buf_phys_vec_to_sgt {_USERS}",
    "where ranges are mapped one by one and one fails, every entry of the table is unmapped, also those that never "
    "were mapped: their address is 0, their length 0",
    checks=("failed_export_unmaps_its_own",),
    reproducer=_EXPORT.format(route="far") + """\
class Exhausted(WrappedOps):
    mapped, unmapped = [], []
    def iova_try_alloc(self, *given):
        return False
    def map_phys(self, dev, *given):
        if self.mapped:
            return None
        self.mapped.append(self.inner_map_phys(dev, *given))
        return self.mapped[0]
    def unmap_phys(self, dev, addr, *given):
        self.unmapped.append(addr)
device.dma_ops = Exhausted(device.dma_ops)
try:
    dma_buf_phys_vec_to_sgt(device, provider, [(start, size), (start + 5 * size, size)], 2 * size, DMA_TO_DEVICE)
except DmaError:
    assert Exhausted.unmapped == [Exhausted.mapped[0], 0]
""",
)

_LIST = """\
from dma_ops import *
from scatterlist.core import SgTable
provider = peer(device, "{route}")
start, size, shift = provider.bars[0].start, device.machine.page_size, device.machine.page_shift
table = SgTable([(start, {offset}, {length})], page_shift=shift)
"""

_MAINTAINED = _LIST.format(route="far", offset=0, length="size") + """\
device.machine.events = events = []
dma_map_sgtable(device, table, DMA_TO_DEVICE)
assert any(event[0] == "sync_dev" and event[1] == start for event in events)
"""

LISTS_NOT_MMIO = Known(
    ("NEW-05", "P2P-45"), f"drivers/iommu/dma-iommu.c: iommu_dma_map_sg {_IOMMU}",
    "a peer's memory through the host bridge is mapped as RAM by dma_map_sg: without IOMMU_MMIO, cacheable, and with "
    "cache maintenance on the BAR where the device does not snoop; dma_map_phys and dma_iova_link take DMA_ATTR_MMIO",
    ("smmuv3-noncoherent",), reproducer=_MAINTAINED,
)
LISTS_NOT_MMIO_DIRECT = Known(
    "NEW-05", f"kernel/dma/direct.c: dma_direct_map_sg {_DIRECT}",
    "with force_bounce, a peer's memory through the host bridge is copied to the bounce pool; 6.1 to 6.17 refuse it",
    ("x86_64-force",), checks=("host_bridge_memory_is_mmio",),
    reproducer=_LIST.format(route="far", offset=0, length="size") + """\
dma_map_sgtable(device, table, DMA_TO_DEVICE)
assert device.io_tlb_mem.used and table.segments()[0][0] != start
""",
)
LISTS_COPY_UNTRUSTED = Known(
    "NEW-05", f"drivers/iommu/dma-iommu.c: iommu_dma_map_sg_swiotlb {_IOMMU}",
    "an untrusted device's list goes entry by entry through the bounce path, which asks nobody whether a page is a "
    "peer's: what does not fill granules is copied, bus addresses are not used, and what cannot be reached is mapped",
    ("intel-untrusted",), checks=("host_bridge_memory_is_mmio",),
    reproducer=_LIST.format(route="far", offset=0, length=512) + """\
dma_map_sgtable(device, table, DMA_TO_DEVICE)
assert device.io_tlb_mem.used
""",
)
ROUTELESS_REPRODUCER = _LIST.format(route="near", offset=0, length="size") + """\
dma_map_sgtable(device, table, DMA_TO_DEVICE)
assert not table.segments()[0][2]                               # an IOVA, not the bus address
assert device.dma_ops.table()
"""

HALF_A_LINK = Known(
    "NEW-12", "drivers/iommu/intel/iommu.c: intel_iommu_map_pages, __domain_mapping (6.1 to 6.12)",
    "where the table of a later part cannot be allocated, nothing is said to be mapped, but the entries of the earlier "
    "part are: the core unwinds nothing, and they stay for the next owner of the addresses",
    ("intel", "intel-lazy", "intel-6.12"), checks=("failed_link_leaves_nothing",),
    reproducer="""\
from dma_ops import *
size, state, page = device.machine.page_size, DmaIovaState(), device.machine.alloc_ram(1)
assert dma_iova_try_alloc(device, state, 0, 1024 * size)
dma_iova_link(device, state, page, 0, size, DMA_TO_DEVICE)
before = dict(device.dma_ops.table())
device.machine.fail("table")                                    # the second leaf table is not to be had
try:
    dma_iova_link(device, state, page, 511 * size, 2 * size, DMA_TO_DEVICE)
except DmaError:
    assert device.dma_ops.table() != before
""",
)

IOMMU = (HALF_A_LINK, FAILED_START, ODD_LIMIT, RANGES_AT_0, EXPORT_LEAKS, PIECES_UNALIGNED, LENGTH_CUT, WRONG_SIZE,
         UNMAPS_NOTHING_OF_ITS_OWN,
         LISTS_NOT_MMIO, LISTS_COPY_UNTRUSTED)
DIRECT = (LISTS_NOT_MMIO_DIRECT,)

# SPDX-License-Identifier: MIT
"""Each wrong use that a trace can show is found, in dma-debug's words; each right one is not."""

import io

import pytest

from conformance.trace.events import Reader
from conformance.trace.history import History

DEV = "0000:01:00.0"
PAGE = "dir=TO_DEVICE dma_addr=1000 size=64 phys_addr=5000 attrs="
UNPAGE = "dir=TO_DEVICE dma_addr=1000 size=64 attrs="
LIST = ("dir=FROM_DEVICE nents=2/2 ents=1/1 dma_addrs={0x8000} sizes={0x2000} "
        "phys_addrs={0x10000,0x20000} attrs=")
UNLIST = "dir=FROM_DEVICE phys_addrs={0x10000,0x20000} attrs="
ALLOC = "dir=BIDIRECTIONAL dma_addr=9000 size=256 virt_addr=00000000aa flags=GFP_KERNEL attrs="
FREE = "dir=BIDIRECTIONAL dma_addr=9000 size=256 virt_addr=00000000aa attrs="


SGT = "dir=TO_DEVICE dma_addr=3000 size=8192 phys_addrs={0x1000,0x7000}"
SYNCLIST = "dir=FROM_DEVICE dma_addrs={0x8000,0x0} sizes={0x2000,0x0}"
NULL = "dir=BIDIRECTIONAL dma_addr=0 size=4096 virt_addr=0000000000000000 flags=GFP_KERNEL attrs="
DIRECT, UNDIRECT = PAGE.replace("1000", "5000"), UNPAGE.replace("1000", "5000")     # as without an IOMMU
IN, OUT = DIRECT.replace("TO_", "FROM_"), UNDIRECT.replace("TO_", "FROM_")
HUGE, UNHUGE = PAGE.replace("=64", "=1099511627776"), UNPAGE.replace("=64", "=1099511627776")


def text(*events, step=1.0):
    """ftrace text; an event is (name, fields), or a whole line, or a time to go on at."""
    lines, now = [], 1.0
    for event in events:
        if isinstance(event, str):
            lines.append(event)
        else:
            name, fields, *wait = event
            now += wait[0] if wait else step
            lines.append(f"   kworker/0:1-17      [000] d..1. {now:12.6f}: {name}: {DEV} {fields}")
    return "\n".join(lines) + "\n"


def check(*events, masks=None, running=False):
    reader = Reader(io.BytesIO(text(*events).encode()))
    history = History(reader, masks, running=running)
    for event in reader:
        history.feed(event)
    history.finish()
    return history


RIGHT = {
    "page": [("dma_map_page", PAGE), ("dma_unmap_page", UNPAGE)],
    "phys": [("dma_map_phys", PAGE), ("dma_unmap_phys", UNPAGE)],
    "resource": [("dma_map_resource", PAGE), ("dma_unmap_resource", UNPAGE)],
    "mmio": [("dma_map_phys", PAGE + "MMIO"), ("dma_unmap_phys", UNPAGE + "MMIO")],
    "list": [("dma_map_sg", LIST), ("dma_unmap_sg", UNLIST)],
    "list of 6.12.0": [("dma_map_sg", LIST.replace("nents=2/2 ents=1/1 ", "")), ("dma_unmap_sg", UNLIST)],
    "coherent": [("dma_alloc", ALLOC), ("dma_free", FREE)],
    "coherent of 6.12.0": [("dma_alloc", ALLOC[18:]), ("dma_free", FREE[18:])],
    "pages": [("dma_alloc_pages", ALLOC), ("dma_free_pages", FREE)],
    "sgt": [("dma_alloc_sgt", f"{SGT} flags=GFP_KERNEL attrs="), ("dma_free_sgt", SGT)],
    "free(NULL)": [("dma_free", "dir=BIDIRECTIONAL dma_addr=0 size=0 virt_addr=0000000000000000 attrs=")] * 2,
    "sync inside": [("dma_map_page", PAGE), ("dma_sync_single_for_device", "dir=TO_DEVICE dma_addr=1010 size=48"),
                    ("dma_unmap_page", UNPAGE)],
    "sync of a list": [("dma_map_sg", LIST),
                       ("dma_sync_sg_for_cpu", SYNCLIST), ("dma_unmap_sg", UNLIST)],
    "again": [("dma_map_page", PAGE), ("dma_unmap_page", UNPAGE)] * 3,
    "mapped before": [("dma_unmap_page", UNPAGE), ("dma_sync_single_for_cpu", "dir=TO_DEVICE dma_addr=7000 size=4"),
                      ("dma_unmap_sg", UNLIST)],
    "read twice": [("dma_map_page", DIRECT), ("dma_map_page", DIRECT), ("dma_unmap_page", UNDIRECT),
                   ("dma_unmap_page", UNDIRECT)],
    "traced late": [("dma_map_page", PAGE), ("dma_map_page", PAGE.replace("5000", "6000"), 0.5),
                    ("dma_unmap_page", UNPAGE, 0.001), ("dma_unmap_page", UNPAGE)],
    "attributes differ": [("dma_map_page", PAGE), ("dma_unmap_page", UNPAGE + "SKIP_CPU_SYNC")],
    "in the last page": [("dma_map_page", PAGE.replace("1000", "ffffffffffffffc0")),
                         ("dma_unmap_page", UNPAGE.replace("1000", "ffffffffffffffc0"))],
    "huge": [("dma_map_page", HUGE), ("dma_unmap_page", UNHUGE)],
}


@pytest.mark.parametrize("name", RIGHT)
def test_right(name):
    history = check(*RIGHT[name])
    assert [finding.text for finding in history.findings] == []
    assert history.live == 0


def test_of_before_is_counted():
    assert check(*RIGHT["mapped before"]).before == {
        "dma_unmap_page": 1, "dma_sync_single_for_cpu": 1, "dma_unmap_sg": 1}


def test_late_unmap_is_counted():
    assert check(*RIGHT["traced late"]).reordered == 1


WRONG = {
    "leak": ([("dma_map_page", PAGE), ("dma_alloc", ALLOC)], "leak", 1,
             "device driver has pending DMA allocations while released from device [count=2] One of leaked entries "
             "details: [device address=0x0000000000001000] [size=64 bytes] [mapped with DMA_TO_DEVICE] "
             "[mapped as single]"),
    "twice": ([("dma_map_page", PAGE), ("dma_unmap_page", UNPAGE), ("dma_unmap_page", UNPAGE)], "double-unmap", 3,
              "device driver tries to free DMA memory it has not allocated [device address=0x0000000000001000] "
              "[size=64 bytes]"),
    "twice, mapped before": ([("dma_unmap_page", UNPAGE), ("dma_unmap_page", UNPAGE)], "double-unmap", 2,
                             "not allocated"),
    "list twice": ([("dma_map_sg", LIST), ("dma_unmap_sg", UNLIST), ("dma_unmap_sg", UNLIST)], "double-unmap", 3,
                   "device driver tries to free DMA memory it has not allocated"),
    "size": ([("dma_map_page", PAGE), ("dma_unmap_page", UNPAGE.replace("=64", "=65"))], "wrong-size", 2,
             "device driver frees DMA memory with different size [device address=0x0000000000001000] "
             "[map size=64 bytes] [unmap size=65 bytes]"),
    "direction": ([("dma_map_page", PAGE), ("dma_unmap_page", UNPAGE.replace("TO_", "FROM_"))], "wrong-direction", 2,
                  "device driver frees DMA memory with different direction [device address=0x0000000000001000] "
                  "[size=64 bytes] [mapped with DMA_TO_DEVICE] [unmapped with DMA_FROM_DEVICE]"),
    "list direction": ([("dma_map_sg", LIST), ("dma_unmap_sg", UNLIST.replace("FROM_", "TO_"))], "wrong-direction", 2,
                       "[mapped with DMA_FROM_DEVICE] [unmapped with DMA_TO_DEVICE]"),
    "count": ([("dma_map_sg", LIST), ("dma_unmap_sg", UNLIST.replace(",0x20000", ""))], "wrong-count", 2,
              "device driver frees DMA sg list with different entry count [map count=2] [unmap count=1]"),
    "function": ([("dma_map_resource", PAGE), ("dma_unmap_page", UNPAGE)], "wrong-function", 2,
                 "device driver frees DMA memory with wrong function [device address=0x0000000000001000] "
                 "[size=64 bytes] [mapped as resource] [unmapped as single]"),
    "list as a page": ([("dma_map_sg", LIST), ("dma_unmap_page", OUT.replace("5000", "8000"))],
                       "wrong-function", 2,
                       "[mapped as scather-gather] [unmapped as single]"),
    "cpu address": ([("dma_alloc", ALLOC), ("dma_free", FREE.replace("aa", "bb"))], "wrong-cpu-address", 2,
                    "device driver frees DMA memory with different CPU address"),
    "free size": ([("dma_alloc", ALLOC), ("dma_free", FREE.replace("256", "128"))], "wrong-size", 2,
                  "[map size=256 bytes] [unmap size=128 bytes]"),
    "MMIO": ([("dma_map_phys", PAGE + "MMIO"), ("dma_unmap_phys", UNPAGE)], "wrong-attributes", 2,
             "different attributes"),
    "error unmapped": ([("dma_unmap_page", UNPAGE.replace("1000", "ffffffffffffffff"))], "invalid-address", 1,
                       "device driver tries to free an invalid DMA memory address"),
    "sync after": ([("dma_map_page", PAGE), ("dma_unmap_page", UNPAGE),
                    ("dma_sync_single_for_cpu", "dir=TO_DEVICE dma_addr=1000 size=64")], "sync-unmapped", 3,
                   "device driver tries to sync DMA memory it has not allocated [device address=0x0000000000001000] "
                   "[size=64 bytes]"),
    "sync of an unmapped list": ([("dma_map_sg", LIST), ("dma_unmap_sg", UNLIST), ("dma_sync_sg_for_cpu", SYNCLIST)],
                                 "sync-unmapped", 3, "tries to sync DMA memory it has not allocated"),
    "sync outside": ([("dma_map_page", PAGE), ("dma_sync_single_for_device", "dir=TO_DEVICE dma_addr=1010 size=49"),
                      ("dma_unmap_page", UNPAGE)], "sync-outside", 2,
                     "device driver syncs DMA memory outside allocated range [device address=0x0000000000001000] "
                     "[allocation size=64 bytes] [sync offset+size=65]"),
    "sync direction": ([("dma_map_page", PAGE), ("dma_sync_single_for_cpu", "dir=FROM_DEVICE dma_addr=1000 size=64"),
                        ("dma_unmap_page", UNPAGE)], "wrong-direction", 2,
                       "device driver syncs DMA memory with different direction"),
    "sync count": ([("dma_map_sg", LIST), ("dma_sync_sg_for_cpu", "dir=FROM_DEVICE dma_addrs={0x8000} sizes={0x2000}"),
                    ("dma_unmap_sg", UNLIST)], "wrong-count", 2,
                   "device driver syncs DMA sg list with different entry count [map count=2] [sync count=1]"),
    "same bus address": ([("dma_map_page", PAGE), ("dma_map_page", PAGE.replace("5000", "6000")),
                          ("dma_unmap_page", UNPAGE), ("dma_unmap_page", UNPAGE)], "overlap", 2, "mapped already"),
    "written twice": ([("dma_map_page", IN), ("dma_map_page", IN), ("dma_unmap_page", OUT), ("dma_unmap_page", OUT)],
                      "overlap", 2, "cacheline tracking EEXIST, overlapping mappings aren't supported"),
    "inside a huge one": ([("dma_map_page", HUGE), ("dma_map_page", PAGE.replace("dma_addr=1000", "dma_addr=80000000")),
                           ("dma_unmap_page", UNPAGE.replace("dma_addr=1000", "dma_addr=80000000")),
                           ("dma_unmap_page", UNHUGE)], "overlap", 2, "already"),
    "failed map": ([("dma_map_page", PAGE.replace("1000", "ffffffffffffffff"))], "error", 1,
                   "dma_map_page of 64 bytes failed"),
    "failed map of 32 bits": ([("dma_map_page", PAGE.replace("1000", "ffffffff"))], "error", 1, "failed"),
    "failed alloc": ([("dma_alloc", NULL)], "error", 1, "dma_alloc of 4096 bytes failed"),
    "failed list": ([("dma_map_sg_err", "dir=TO_DEVICE dma_addrs={0x1000,0x2000} err=-121 attrs=")], "error", 1,
                    "dma_map_sg answered -121"),
    "failed sgt": ([("dma_alloc_sgt_err", NULL)], "error", 1, "dma_alloc_sgt answered NULL"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong(name):
    events, kind, line, words = WRONG[name]
    history = check(*events)
    assert [(finding.kind, finding.line) for finding in history.findings] == [(kind, line)]
    found = history.findings[0]
    assert found.text.startswith(f"DMA-API: {DEV}: ") and words in found.text
    assert found.function == events[line - 1][0] and found.device == DEV
    assert found.task == "kworker/0:1-17" or kind == "leak"
    assert found.certain


def test_mask_given():
    masks = {"": (0xFFF, 0xFFFF)}
    assert check(*RIGHT["page"], masks=masks).findings[0].text == (
        f"DMA-API: {DEV}: DMA addr 0x0000000000001000+64 overflow (mask fff)")
    assert check(*RIGHT["coherent"], masks=masks).counts == {}
    assert check(*RIGHT["list"], masks={"": (0x9FFF, 0)}).counts == {}
    assert check(*RIGHT["list"], masks={"": (0x9FFE, 0)}).counts == {"beyond-mask": 1}


def test_mask_of_the_header():
    header = f"# pci {DEV} 0x8086 0x10d3 dma_mask_bits=12 consistent=16 iommu_type=DMA group=5"
    assert check(header, *RIGHT["page"]).counts == {"beyond-mask": 1}
    assert check(header, *RIGHT["coherent"]).counts == {}


@pytest.mark.parametrize("lost", ["CPU:3 [LOST 7 EVENTS]", "CPU:3 [LOST EVENTS]", "CPU:3 [7 EVENTS DROPPED]",
                                  f"   dd-1  [000] d..1.  2.5: dma_map_page: {DEV} dir=TO_DEV"])
@pytest.mark.parametrize("name", ["leak", "twice", "size", "same bus address"])
def test_lost_events_make_uncertain(name, lost):
    events, kind, _, _ = WRONG[name]
    early, late = check(lost, *events), check(*events, lost)
    assert [(finding.kind, finding.certain) for finding in early.findings] == [(kind, False)]
    assert [finding.certain for finding in late.findings] == [kind not in ("leak",)]


def test_a_failed_map_stays_certain():
    events, *_ = WRONG["failed map"]
    assert check("CPU:3 [LOST 7 EVENTS]", *events).findings[0].certain


def test_running_drivers_leak_nothing():
    history = check(*WRONG["leak"][0], running=True)
    assert (history.findings, history.live) == ([], 2)


def test_two_devices_do_not_meet():
    reader = Reader(io.BytesIO((text(("dma_map_page", PAGE)) + text(("dma_map_page", PAGE)).replace(DEV, "other.0")
                                + text(("dma_unmap_page", UNPAGE))).encode()))
    history = History(reader)
    for event in reader:
        history.feed(event)
    history.finish()
    assert [(finding.kind, finding.device) for finding in history.findings] == [("leak", "other.0")]

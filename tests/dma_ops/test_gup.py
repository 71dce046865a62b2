# SPDX-License-Identifier: MIT
"""Pinning user pages where P2P memory is among them (mm/gup.c, Linux 6.12)."""

import errno

import pytest

from dma_ops import DmaError, Machine
from dma_ops.gup import (
    FOLL_GET,
    FOLL_LONGTERM,
    FOLL_PCI_P2PDMA,
    FOLL_PIN,
    FOLL_TOUCH,
    FOLL_WRITE,
    AddressSpace,
    pin_user_pages,
    pin_user_pages_fast,
    unpin_user_pages,
)
from dma_ops.p2pdma import pci_p2pdma_add_resource
from dma_ops.pci import PciTree

BAR = 0xFC000000
PAGE = 4096
BOTH = pytest.mark.parametrize("pin", [pin_user_pages, pin_user_pages_fast])


def process(kernel=612):
    machine = Machine("test", ram=((0, 1 << 24),), pci_p2pdma=True, kernel=kernel)
    provider = PciTree(machine).add_host().add("01.0", 0x1AF4, 0x1041)
    provider.add_bar(0, BAR, 2 << 20)
    pci_p2pdma_add_resource(provider, 0)
    return AddressSpace(machine)


@pytest.fixture
def mm():
    return process()


@BOTH
@pytest.mark.parametrize(
    ("first", "count", "flags", "pinned"),
    [
        pytest.param(0, 4, 0, 2, id="ends at the first P2P page"),
        pytest.param(2, 2, 0, -errno.EREMOTEIO, id="begins with one"),
        pytest.param(2, 2, FOLL_PCI_P2PDMA, 2, id="asked for"),
        pytest.param(0, 4, FOLL_PCI_P2PDMA | FOLL_WRITE, 4, id="mixed"),
        pytest.param(3, 2, FOLL_PCI_P2PDMA, 1, id="ends where nothing is mapped"),
        pytest.param(4, 1, FOLL_PCI_P2PDMA, -errno.EFAULT, id="nothing is mapped"),
        pytest.param(2, 1, FOLL_LONGTERM | FOLL_PCI_P2PDMA, -errno.EINVAL, id="for long"),
        pytest.param(0, 1, FOLL_LONGTERM | FOLL_PCI_P2PDMA, -errno.EINVAL, id="for long, RAM"),
        pytest.param(0, 1, FOLL_LONGTERM, 1, id="RAM for long"),
        pytest.param(2, 1, FOLL_LONGTERM, -errno.EREMOTEIO, id="P2P for long without the flag"),
        pytest.param(0, 1, FOLL_GET, -errno.EINVAL, id="pin and get"),
        pytest.param(0, 1, FOLL_TOUCH, -errno.EINVAL, id="an internal flag"),
        pytest.param(0, 1, FOLL_PIN, -errno.EINVAL, id="which pin itself is"),
    ],
)
def test_pin(mm, pin, first, count, flags, pinned):
    pages = [0x10000, 0x20000, BAR, BAR + PAGE]
    start = mm.mmap(pages)
    if pinned < 0:
        with pytest.raises(DmaError) as error:
            pin(mm, start + first * PAGE, count, flags)
        assert error.value.errno == -pinned
        assert ("WARNING: is_valid_gup_args" in mm.machine.dmesg) == (pinned == -errno.EINVAL)
        pinned = 0
    else:
        assert pin(mm, start + first * PAGE, count, flags) == pages[first:first + pinned]
    assert sum(mm.pins.values()) == pinned


@BOTH
def test_an_address_inside_a_page(mm, pin):
    assert pin(mm, mm.mmap([0x10000, BAR]) + 100, 2, FOLL_PCI_P2PDMA) == [0x10000, BAR]


def test_pins_are_counted(mm):
    start = mm.mmap([0x10000])
    pages = pin_user_pages(mm, start, 1) + pin_user_pages_fast(mm, start, 1)
    assert mm.pins[0x10000] == 2
    unpin_user_pages(mm, pages)
    with pytest.raises(ValueError, match="is not pinned"):
        unpin_user_pages(mm, pages)


def test_no_process_maps_p2p_memory_before_6_2():
    mm = process(kernel=601)
    with pytest.raises(DmaError) as error:
        mm.mmap([BAR])
    assert error.value.errno == errno.ENODEV
    assert process(kernel=602).mmap([BAR])

# SPDX-License-Identifier: MIT
"""A BAR lent as a dma-buf and taken back (drivers/vfio/pci/vfio_pci_dmabuf.c, Linux 7.x)."""

import errno

import pytest

from dma_ops import DMA_BIDIRECTIONAL, Device, DmaError, KernelHang, Machine
from dma_ops.p2pdma_state import pcim_p2pdma_provider
from dma_ops.pci import PciTree, PciType
from dma_ops.vfio_dmabuf import (
    VfioDmaBuf,
    dma_buf_dynamic_attach,
    dma_buf_map_attachment,
    dma_buf_unmap_attachment,
    vfio_pci_dma_buf_move,
)

BAR, BUS = 0xFC000000, 0x80000000


def code(call, *args, **kwargs):
    with pytest.raises(DmaError) as error:
        call(*args, **kwargs)
    return error.value.errno


@pytest.fixture
def dev():
    machine = Machine("test", ram=((0, 1 << 24),), pci_p2pdma=True)
    bridge = PciTree(machine).add_host().add("01.0", 0x1B36, 0xE, kind=PciType.PCI_BRIDGE)
    bridge.add("00.0", 0x1AF4, 0x1110).add_bar(0, BAR, 2 << 20, bus=BUS)
    device = Device("importer", machine, mask=(1 << 64) - 1)
    device.pci = bridge.add("01.0", 0x1234, 0x11E8)
    return device


@pytest.fixture
def buf(dev):
    return VfioDmaBuf(pcim_p2pdma_provider(next(iter(dev.pci.parent.children)), 0), [(BAR + 0x1000, 0x2000)])


def lets_go(attachment):
    for made, _ in list(attachment.tables):
        dma_buf_unmap_attachment(attachment, made)


def test_an_importer_gets_bus_addresses(dev, buf):
    made = dma_buf_map_attachment(dma_buf_dynamic_attach(buf, dev, lets_go), DMA_BIDIRECTIONAL)
    assert made.segments == [(BUS + 0x1000, 0x2000)]
    assert buf.mappings == 1


def test_importers_that_are_not_let_in(dev, buf):
    assert code(dma_buf_dynamic_attach, buf, dev, None) == errno.EOPNOTSUPP
    assert code(dma_buf_dynamic_attach, buf, dev, lets_go, peer2peer=False) == errno.EOPNOTSUPP


def test_a_revocation_ends_when_all_have_let_go(dev, buf):
    attachments = [dma_buf_dynamic_attach(buf, dev, lets_go) for _ in range(2)]
    for attachment in attachments:
        dma_buf_map_attachment(attachment, DMA_BIDIRECTIONAL)
    vfio_pci_dma_buf_move(buf, True)
    assert buf.mappings == 0
    assert code(dma_buf_map_attachment, attachments[0], DMA_BIDIRECTIONAL) == errno.ENODEV
    assert code(dma_buf_dynamic_attach, buf, dev, lets_go) == errno.ENODEV
    vfio_pci_dma_buf_move(buf, False)
    dma_buf_map_attachment(attachments[0], DMA_BIDIRECTIONAL)


def test_a_revocation_waits(dev, buf):
    attachment = dma_buf_dynamic_attach(buf, dev, lambda attachment: None)
    dma_buf_map_attachment(attachment, DMA_BIDIRECTIONAL)
    with pytest.raises(KernelHang, match="1 mappings"):
        vfio_pci_dma_buf_move(buf, True)
    assert buf.revoked


def test_importers_are_told_once(dev, buf):
    told = []
    dma_buf_dynamic_attach(buf, dev, told.append)
    vfio_pci_dma_buf_move(buf, True)
    vfio_pci_dma_buf_move(buf, True)
    assert len(told) == 1

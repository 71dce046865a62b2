# SPDX-License-Identifier: MIT
"""An orchestrator: the NVMe target, which puts the data of a namespace into peers' memory (drivers/nvme/target/core.c,
Linux 6.1), and the gate of its NVMe host (drivers/nvme/host/core.c, pci.c)."""

from __future__ import annotations

import errno
from collections.abc import Sequence

import dma_ops
from dma_ops import Device, DmaError
from dma_ops.bio import RequestQueue
from dma_ops.p2pdma import pci_p2pmem_alloc_sgl, pci_p2pmem_find, pci_p2pmem_find_many, pci_p2pmem_free_sgl
from dma_ops.pci import PciDev, pci_dev_put
from scatterlist.core import SgTable


def nvme_queue(device: Device) -> RequestQueue:
    """The queue of a namespace on this controller: it takes P2P pages if the DMA layer below it does."""
    return RequestQueue(device.machine, pci_p2pdma=dma_ops.dma_pci_p2pdma_supported(device))


class Namespace:
    """struct nvmet_ns on an NVMe device, for one connected controller whose own device is p2p_client."""

    def __init__(self, device: Device, p2p_client: Device | PciDev) -> None:
        self.device = device
        self.queue = nvme_queue(device)
        self.p2p_client = p2p_client
        self.p2p_dev: PciDev | None = None

    def enable(self) -> None:
        """nvmet_p2pmem_ns_enable(). Raises DmaError(EINVAL): the device's driver takes no P2P pages, or there is no
        memory within its reach."""
        if not self.queue.pci_p2pdma:
            raise DmaError(errno.EINVAL, f"peer-to-peer DMA is not supported by the driver of {self.device.name}")
        provider = pci_p2pmem_find(self.device)
        if provider is None:
            raise DmaError(errno.EINVAL, f"no peer-to-peer memory is available for {self.device.name}")
        pci_dev_put(provider)

    def connect(self) -> None:
        """nvmet_p2pmem_ns_add_p2p(): the provider for this controller; None if none suits all who take part."""
        clients: Sequence[Device | PciDev] = (self.p2p_client, self.device)
        self.p2p_dev = pci_p2pmem_find_many(clients)

    def alloc_sgls(self, length: int) -> SgTable | None:
        """nvmet_req_alloc_sgls(): a request's list in P2P memory; None where Linux takes RAM instead."""
        if self.p2p_dev is None:
            return None
        try:
            return pci_p2pmem_alloc_sgl(self.p2p_dev, length)
        except DmaError:
            return None

    def free_sgls(self, sgt: SgTable) -> None:
        if self.p2p_dev is not None:
            pci_p2pmem_free_sgl(self.p2p_dev, sgt)

    def disconnect(self) -> None:
        """nvmet_release_p2p_ns_map()."""
        if self.p2p_dev is not None:
            pci_dev_put(self.p2p_dev)
            self.p2p_dev = None

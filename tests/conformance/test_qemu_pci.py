# SPDX-License-Identifier: MIT
"""Every recorded P2P topology: distance, map type and the pool's addresses, whatever the backend."""

import pytest

from conformance.replay import load
from conformance.replay.main import VECTORS
from conformance.replay.qemu_pci import P2pSession
from dma_ops import Device, Machine

RUNS = sorted(VECTORS.glob("x86_64/p2p-*/*.json.gz"))


class Topology(P2pSession):
    """Only the operations that need no backend."""

    def setup(self):
        self.machine = Machine("q35", arch="x86_64", pci_p2pdma=True, ram=((0, 1 << 29),))
        for line in self.run.environment:
            word, *rest = line.split()
            if word == "client":
                self.devices[int(rest[0])] = Device(rest[1], self.machine)
        self.attach_pci()

    def perform(self, verb, words):
        return super().perform(verb, words) if verb in ("p2parena", "p2pdist", "dev") else {"unasked": True}


@pytest.mark.parametrize("path", RUNS, ids=lambda path: path.parent.name)
def test_recorded_topology(path):
    session = Topology(load(path))
    assert [str(difference) for difference in session.play()] == []
    assert session.passed == 5


def test_there_are_recorded_topologies():
    assert len(RUNS) >= 8

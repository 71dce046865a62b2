# SPDX-License-Identifier: MIT
"""The machines of the recorded P2P runs, written as lspci shows them and read back: the kernel's own answers."""

import pytest

from conformance.replay import load
from conformance.replay.main import VECTORS
from conformance.replay.qemu_pci import P2pSession
from conformance.topology import build, judge
from conformance.topology.cpu import OTHER
from conformance.topology.lspci import read_lspci
from conformance.topology.render import KINDS
from dma_ops import Device, Machine
from dma_ops.pci import PciType

RUNS = sorted(VECTORS.glob("x86_64/p2p-*/*.json.gz"))
ACS_WORDS = ("SrcValid", "TransBlk", "ReqRedir", "CmpltRedir", "UpstreamFwd", "EgressCtrl", "DirectTrans")


def lspci(tree):
    """`lspci -Dnnvvv` of a tree."""
    lines = []
    for dev in sorted(tree, key=lambda dev: (dev.host.domain, dev.bus, dev.devfn)):
        code = 0x0604 if dev.is_bridge else 0x0600 if dev.parent is None and dev.devfn == 0 else 0x0500
        lines.append(f"{dev.name} Thing [{code:04x}]: A [{dev.vendor:04x}:{dev.device:04x}]")
        if dev.is_bridge:
            below = f"{dev.secondary:02x}"
            lines.append(f"\tBus: primary={dev.bus:02x}, secondary={below}, subordinate={below}")
        lines.append("\tCapabilities: [40] Power Management version 3")
        if dev.kind is not PciType.CONVENTIONAL:
            kind = {"PCIe-to-PCI Bridge": "PCI-Express to PCI/PCI-X Bridge"}.get(KINDS[dev.kind], KINDS[dev.kind])
            lines += [f"\tCapabilities: [60] Express (v2) {kind}, MSI 00",
                      "\tCapabilities: [100 v2] Advanced Error Reporting"]
        if dev.acs is not None:
            words = " ".join(word + "-+"[dev.acs >> bit & 1] for bit, word in enumerate(ACS_WORDS))
            lines += ["\tCapabilities: [148 v1] Access Control Services", f"\t\tACSCtl:\t{words}"]
        lines.append("")
    return "\n".join(lines)


class FromListing(P2pSession):
    """Answers the distance from the listing, all else is not asked."""

    asked = 0

    def setup(self):
        self.machine = Machine("q35", arch="x86_64", pci_p2pdma=True, ram=((0, 1 << 29),))
        for line in self.run.environment:
            word, *rest = line.split()
            if word == "client":
                self.devices[int(rest[0])] = Device(rest[1], self.machine)
        self.attach_pci()
        self.listed = build(read_lspci(lspci(self.tree)), cpu=self.tree.cpu or OTHER)

    def perform(self, verb, words):
        return super().perform(verb, words) if verb in ("p2parena", "p2pdist", "dev") else {"unasked": True}

    def op_p2pdist(self, words):
        pair = [next(dev for dev in self.listed.devices.values() if dev.name == known.name)
                for known in (self.providers[int(words[0])], self.dev.pci)]
        (verdict,) = judge(self.listed, [tuple(pair)])
        self.asked += 1
        return {"dist": verdict.distance} | ({"maptype": verdict.map_type} if len(words) > 1 else {})


@pytest.mark.parametrize("path", RUNS, ids=lambda path: path.parent.name)
def test_recorded_distance(path):
    session = FromListing(load(path))
    assert [str(difference) for difference in session.play()] == []
    assert session.asked


def test_there_are_recorded_machines():
    assert len(RUNS) >= 8

# SPDX-License-Identifier: MIT
"""iommu_ops of 32-bit Arm: recorded over an IOMMU driver without hardware, and compiled over stubs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from arch.arm.dma_mapping import ArmIommuOps
from conformance.replay.session import Answer, Difference, Session
from dma_ops import Device, Machine
from dma_ops.pgtable_lpae import LpaeDomain

PAGE = 4096


class ArmIommuSession(Session):
    """The hardware of the model is an LPAE table: what the runs call prot=2, write only, it has to say as 3."""

    backends = ("iommu_ops",)

    def setup(self) -> None:
        facts = self.run.machine
        config = self.run.config
        recorded = re.search(r"dmavec\.fake=arm:([0-9a-f]+):([0-9a-f]+)", config.get("cmdline") or "")
        if recorded:
            base, size = (int(word, 16) for word in recorded.groups())
            platform = "dmavec.dev=platform" in config["cmdline"]
            coherent = not platform
            ram = [(0x40000000, 0x60000000)]
        else:
            options = dict(word.split("=") for word in config.get("backend_args") or ())
            base, size = int(options.get("base", "0"), 0), int(options.get("size", "0x100000000"), 0)
            platform, coherent = True, options.get("coherent") == "1"
            ram = [(0x1000000, 0x50000000)]
        self.machine = Machine("arm", arch="arm", bits=32, ram=ram, dma_addr_bits=8 * facts["dma_addr_bytes"],
                               phys_addr_bits=8 * facts["phys_addr_bytes"], has_zone_dma=False, table_base=0xF0000000)
        # the fake driver takes any physical address; the IPMMU's 32-bit format ends at 40 bits
        self.ops = ArmIommuOps(self.machine, base, size, domain=LpaeDomain(self.machine, 32, 48))
        self.devices[0] = Device("dmavec", self.machine, pci=not platform, coherent=coherent, dma_ops=self.ops)

    def op_failmap(self, words: list[str]) -> None:
        self.ops.map_errno = int(words[1])
        self.machine.fail("iommu_map", int(words[0]))

    def feed_alloc(self) -> None:
        """The blocks of the page allocator, and what lay on the stack behind the one page pointer."""
        events = " ".join(self.expected.get("events", ()))
        blocks = [int(phys, 16) for phys in re.findall(r"alloc_pages order=\d+ phys=(0x[0-9a-f]+)", events)]
        if not blocks:
            super().feed_alloc()
            return
        self.machine.feed_alloc(*blocks)
        pages = [int(phys, 16) + offset
                 for phys, size in re.findall(r"iommu_map \w+->(0x[0-9a-f]+)\+(0x[0-9a-f]+)", events)
                 for offset in range(0, int(size, 16), PAGE)]
        self.ops.stack = pages[1:]

    def op_alloc(self, words: list[str]) -> Answer:
        answer = super().op_alloc(words)
        self.ops.stack = []
        return answer

    def table(self) -> dict[str, str]:
        return {str(page): f"phys={phys:x},prot={prot}" for page, (phys, prot) in self.ops.table().items()}

    def compare_table(self, index: int, dump: dict[str, Any] | None) -> Iterator[Difference]:
        if dump is not None and isinstance(dump.get("entries"), dict):
            readable = {key: self.readable(value) for key, value in dump["entries"].items()}
            dump = {**dump, "entries": readable}
        return super().compare_table(index, dump)

    @staticmethod
    def readable(entry: str) -> str:
        phys, prot = entry.split(",prot=")
        return f"{phys},prot={int(prot) | (int(prot) >> 1 & 1)}"

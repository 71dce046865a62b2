# SPDX-License-Identifier: MIT
"""Each reproducer of a known fault shows it, and would not show it where it is not there."""

import pytest

from arch import backends
from conformance import faults

KNOWNS = [(record, known) for record in backends().values() for known in record.known if known.reproducer]


@pytest.mark.parametrize(("record", "known"), [
    pytest.param(record, known, id=f"{record.id}-{known.rules[0]}-{known.what[:20]}") for record, known in KNOWNS
])
def test_a_reproducer_shows_the_fault(record, known):
    faults.execute(record, known)
    assert faults.script(record, known).startswith("from conformance.faults import build")


def test_a_reproducer_fails_elsewhere():
    record = backends()["iommu_dma_ops"]
    known = next(known for known in record.known if "P2P-38" in known.rules)
    with pytest.raises(AssertionError):
        faults.execute(record, known.on("intel"))

# SPDX-License-Identifier: MIT
"""Recorded runs under the rules: each fault that shows in a run is flagged, by its rule, and nothing else is.

runs/ has a few runs of trees before the fixes of 2026 (V1) and of the 6.17 era (V0); the rest of them is looked for in
the shared folder. V2 is the newest tree, whose own faults are known (arch/generic/_known_newer.py).
"""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from conformance.cli import main
from conformance.recorded import judge
from conformance.replay.main import find
from conformance.replay.run import VECTORS, load
from conformance.rules import load_rules

RUNS = Path(__file__).parent / "runs"
SHARED = Path(os.environ.get("DMA_CONFORMANCE_SHARED") or Path(__file__).parents[2].parent / "shared")

#: What shows in each run of an older tree: of those not listed, nothing.
OLDER = {
    "k01_requests_fq_V1": "NEW-16 NEW-21 NEW-23",           # a failing link is forgotten: mapped, with a hole
    "k01_requests_noncoh_V1": "NEW-21 NEW-23",
    "k01_requests_strict_V1": "NEW-21 NEW-23",
    "k01_requests_untrusted_V1": "NEW-21 NEW-23",
    "k02_unmap_after_failed_start_V1": "NEW-21",
    "k03_unaligned_middle_V1": "NEW-21",
    "b01_head_middle_tail_fq_V1": "NEW-16",
    "f01_bounce_unwind_V1": "NEW-12 NEW-14",                # unwinds from offset 0; the leftovers are the next owner's
    "q01_who_queues_V1": "NEW-16",                          # destroy goes through the flush queue
    "q03_destroy_many_V1": "NEW-16",
    "q03_destroy_many_single_V1": "NEW-16",
    "m01_misuse_fq_V1": "NEW-16",
    "m01_misuse_strict_V1": "NEW-14",                       # destroy frees another size than was allocated
    "d01_three_types_force_V0": "NEW-02 NEW-03 P2P-35 P2P-40",  # stale address and length of P2P entries
    "d01_three_types_force_V1": "NEW-03 NEW-05 P2P-44",     # bounces a peer's memory, ignores REQUIRE_COHERENT
    "d01_three_types_mask32_V0": "NEW-02 NEW-03 P2P-35 P2P-40",
    "d01_three_types_mask32_V1": "NEW-03 NEW-05 P2P-44",
    "d01_three_types_noncoh_V0": "NEW-02 P2P-35 P2P-40",
    "d01_three_types_noncoh_V1": "NEW-05 P2P-45",
    "d01_three_types_nosw_V0": "P2P-35 P2P-40",
    "d01_three_types_offset_V0": "P2P-35 P2P-40",
    "d01_three_types_offset_V1": "NEW-02",                  # MMIO without the device's offset
    "d01_three_types_plain_V0": "P2P-35 P2P-40",
    "p01_three_types_fq_V1": "NEW-05 P2P-35",               # the first entry's length for every bus segment
    "p01_three_types_noncoh_V1": "NEW-05 P2P-35 P2P-45",
    "p01_three_types_strict_V1": "NEW-05 P2P-35",
    "r04_fq_V1": "NEW-16",
    "r16_fq_V1": "NEW-05 NEW-16",
}
#: The newest tree's own.
NEWEST = {
    "k01_requests_fq_V2": "NEW-23 NEW-24",
    "k01_requests_noncoh_V2": "NEW-23 NEW-24",
    "k01_requests_untrusted_V2": "NEW-23 NEW-24",
    "g01_ranges_direct_mask32": "NEW-42",
    "g01_ranges_fq": "NEW-40 NEW-41 NEW-42 NEW-44",
    "g01_ranges_strict": "NEW-40 NEW-41 NEW-42 NEW-44",
    "g01_ranges_untrusted": "NEW-40 NEW-41 NEW-42 NEW-44",
    "g02_first_link_fails_leak": "NEW-41",
    "d01_three_types_mask32_V2": "NEW-05 P2P-44",
    "d01_three_types_noncoh_V2": "NEW-05 P2P-45",
    "p01_three_types_64k": "NEW-05",
    "p01_three_types_strict_V2": "NEW-05",
    "p01_three_types_untrusted": "NEW-05 P2P-35 P2P-41 P2P-44",
}


def name(path):
    return path.name.removesuffix(".json.gz")


def rules(path):
    return " ".join(sorted({flaw.rule for flaw in judge(load(path))}))


@pytest.mark.parametrize("path", sorted(RUNS.glob("*.json.gz")), ids=name)
def test_the_faults_of_older_trees_are_flagged(path):
    assert rules(path) == OLDER[name(path)]


@pytest.mark.parametrize("path", sorted((VECTORS / "new-api").rglob("*.json.gz")), ids=name)
def test_the_newest_tree_is_flagged_for_its_own_faults_only(path):
    assert rules(path) == NEWEST.get(name(path), "")


@pytest.mark.skipif(not (SHARED / "vectors-older").is_dir(), reason="the runs of older trees are not here")
def test_all_runs_of_older_trees():
    seen = {name(path): rules(path) for path in find([SHARED / "vectors-older"])}
    assert {run: found for run, found in seen.items() if found} == OLDER


def test_other_recorded_kernels_give_no_alarm():
    """Runs of real kernels of 6.1, with and without an IOMMU, of two architectures with P2P memory and others."""
    flaws = [
        str(flaw)
        for folder in ("arm64", "x86_64", "alpha", "sparc64", "s390x")
        for path in list(find([VECTORS / folder]))[::3]
        for flaw in judge(load(path))
    ]
    assert flaws == []


def test_every_rule_that_is_flagged_exists():
    flagged = {rule for row in [*OLDER.values(), *NEWEST.values()] for rule in row.split()}
    assert flagged <= load_rules().keys()


# -- one answer altered ----------------------------------------------------------------------------------------

def events(answer, prefix):
    return [event for event in answer.get("events", ()) if not event.startswith(prefix)]


ALTERED = [
    ("fail/f01_bounce_unwind_V2", "iovatry 2", 0, lambda a: a.update(addr=0xFFFF0000 + 512), "NEW-10"),
    ("tiny/t02_first_middle_last_V2", "link", 0, lambda a: a.update(events=[]), "NEW-11"),
    ("tiny/t02_first_middle_last_V2", "destroy", 0, lambda a: a.update(events=[]), "NEW-14"),
    ("tiny/t03_attrs_strict", "unmapphys", 0, lambda a: a.update(events=events(a, "unmap")), "NEW-01"),
    ("p2p-iommu/p01_three_types_strict_V2", "maps 5", 0, lambda a: a["segments"].pop(), "DMA-06"),
    ("p2p-iommu/p01_three_types_strict_V2", "maps 5", 0, lambda a: a["segments"][1].update(len=100), "P2P-35"),
    ("p2p-iommu/p01_three_types_strict_V2", "maps 5", 0, lambda a: a["segments"][1].pop("flags"), "P2P-35"),
    ("p2p-iommu/p01_three_types_strict_V2", "maps 3", 0, lambda a: a.update(ret="-EIO"), "P2P-41"),
    ("p2p-iommu/p01_three_types_strict_V2", "unmaps 5", 0, lambda a: a.update(events=[]), "DMA-03"),
    ("p2p-direct/d01_three_types_plain_V2", "maps 2", 0, lambda a: a["segments"][0].update(addr=0), "P2P-40"),
    ("dmabuf/g01_ranges_strict", "dbuf 1", 0, lambda a: a.update(orig=1), "P2P-72"),
    ("blk/k01_requests_fq_V2", "rq 13", 0, lambda a: a.update(status="IOERR"), "NEW-22"),
    ("fail/f02_map_fail_fq", "link", 0, lambda a: a.update(ret="-ENOMEM"), "NEW-12"),
]


@pytest.mark.parametrize(("file", "operation", "skip", "alter", "rule"), ALTERED,
                         ids=[f"{row[1].replace(' ', '')}-{row[4]}-{i}" for i, row in enumerate(ALTERED)])
def test_an_altered_answer_is_flagged(file, operation, skip, alter, rule):
    run = load(VECTORS / "new-api" / f"{file}.json.gz")
    ops = json.loads(json.dumps(run.ops))
    at = [i for i, (said, _) in enumerate(ops) if f"{said} ".startswith(f"{operation} ")][skip]
    alter(ops[at][1])
    ops[at][1]["state"].pop("ptes", None)
    before = {(flaw.line, flaw.rule) for flaw in judge(run)}
    found = {flaw.rule for flaw in judge(replace(run, ops=ops[: at + 1])) if (flaw.line, flaw.rule) not in before}
    assert rule in found


def test_the_command():
    done = CliRunner().invoke(main, ["judge", str(RUNS / "f01_bounce_unwind_V1.json.gz")])
    assert done.exit_code == 1
    assert "NEW-12: a link that failed took away what was linked before, at 0xffff0000" in done.output
    assert "1 run judged, 1 with flaws: NEW-12 2, NEW-14 1" in done.output
    done = CliRunner().invoke(main, ["judge", "--json", str(RUNS / "f01_bounce_unwind_V1.json.gz")])
    assert {row["rule"] for row in json.loads(done.output)} == {"NEW-12", "NEW-14"}
    done = CliRunner().invoke(main, ["judge", str(VECTORS / "new-api" / "tiny")])
    assert (done.exit_code, done.output.strip()) == (0, "14 runs judged, 0 with flaws")
    assert CliRunner().invoke(main, ["judge", "nowhere"]).exit_code == 2

# SPDX-License-Identifier: MIT
"""The same seeds, whoever explores them; what is lost, stopped and gone on with; what is found, and how it is told."""

import dataclasses
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from importlib.resources import files

import jsonschema
import pytest
from click.testing import CliRunner

from conformance.campaign import Effort, Failure, Plan, Summary, explore, unit
from conformance.campaign.cli import campaign_command
from conformance.campaign.crews import CrewError, Dask, Here, Processes
from conformance.campaign.drive import drive
from conformance.campaign.journal import Journal
from conformance.campaign.plan import Ranges
from conformance.campaign.signature import Signature, number
from conformance.cli import main
from conformance.facts import Subject
from conformance.programs import World
from conformance.programs.play import step
from conformance.results import ResultsError
from conformance.saboteurs import SABOTEURS

MACHINES = (("gart_dma_ops", "opteron"), ("iommu_dma_ops", "smmuv3"), ("sun4u_dma_ops", "sabre"))
PLAN = Plan(MACHINES, size=6)
UNITS = 7


@pytest.fixture(scope="module", name="reference")
def reference_fixture():
    return explored(Here(PLAN))


def explored(crew, heard=lambda units: None, together=1):
    with Journal(PLAN.as_json()) as journal:
        try:
            lost = drive(PLAN, crew, journal, 0, UNITS, together, heard)
        finally:
            crew.close()
        return journal.summary.findings(), lost


class Once:
    """Calls once, the first time that something is heard."""

    def __init__(self, act):
        self.act = act

    def __call__(self, units):
        act, self.act = self.act, lambda: None
        act()


# -- whoever explores --------------------------------------------------------------------------------------------

def test_a_unit_is_explored_from_its_number_alone(reference):
    total = Summary()
    for one in reversed(range(UNITS)):
        total.add(explore(PLAN, one, one + 1)[0])
    assert total.findings() == reference[0]
    assert total.counters["cases"] == UNITS * PLAN.size
    assert total.counters["segments"] > 100 and total.behaviours.bit_count() > 500


@pytest.mark.parametrize("seed", ["1", "2"])
def test_it_does_not_depend_on_the_hash_seed(reference, seed):
    code = ("from conformance.campaign import Plan, explore; import sys\n"
            f"print(explore(Plan({MACHINES!r}, size={PLAN.size}), 0, {UNITS})[0].sha256)")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "PYTHONHASHSEED": seed}
    done = subprocess.run([sys.executable, "-P", "-c", code], env=environment, capture_output=True, text=True,
                          check=True)
    assert done.stdout.strip() == reference[0]["sha256"]


def test_processes_find_the_same_though_one_is_killed(reference):
    crew = Processes(PLAN, 2)
    kill = Once(lambda: os.kill(next(iter(crew.pool._processes)), signal.SIGKILL))
    findings, lost = explored(crew, kill, together=2)
    assert findings == reference[0] and lost


@pytest.mark.filterwarnings("ignore")
def test_dask_workers_find_the_same_though_one_is_killed(reference):
    distributed = pytest.importorskip("distributed", reason="needs the extra: dma-conformance[cluster]")
    cluster = distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None,
                                       silence_logs=50)
    with cluster:
        killed = []

        def kill():
            killed.append(next(iter(cluster.workers.values())).pid)
            os.kill(killed[0], signal.SIGKILL)

        findings, _ = explored(Dask(PLAN, cluster.scheduler_address), Once(kill))
    assert findings == reference[0] and killed


class Losing(Here):
    """Loses these tasks."""

    def __init__(self, plan, loses):
        super().__init__(plan)
        self.loses = loses

    def collect(self):
        if self.loses(self.tasks[0]):
            yield self.tasks.pop(0), None
        else:
            yield from super().collect()


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="needs /proc")
def test_workers_end_with_a_driver_that_is_killed(tmp_path):
    def alive(pid):
        try:
            with open(f"/proc/{pid}/stat") as stat:
                return stat.read().rpartition(")")[2].split()[0] != "Z"
        except FileNotFoundError:
            return False

    journal = tmp_path / "journal.jsonl"
    driver = subprocess.Popen(
        [sys.executable, "-P", "-m", "conformance", "campaign", "-b", "gart_dma_ops", "--seeds", "10000000", "-n", "2",
         "--out", str(tmp_path)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: journal.exists() and journal.read_text().count("\n") > 2)
        with open(f"/proc/{driver.pid}/task/{driver.pid}/children") as listed:
            children = [int(pid) for pid in listed.read().split()]
        assert len(children) >= 2
    finally:
        driver.kill()
        driver.wait()
    wait_until(lambda: not any(map(alive, children)))


def wait_until(done, seconds=60):
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, "it has not happened"
        time.sleep(0.05)


def test_what_is_lost_twice_is_run_again(reference):
    losses = Counter()

    def loses(task):
        losses[task] += 1
        return losses[task] <= 2

    findings, lost = explored(Losing(PLAN, loses))
    assert findings == reference[0] and lost == 2 * UNITS


def test_a_unit_that_no_worker_survives_is_a_crash(reference):
    findings, _ = explored(Losing(PLAN, lambda task: task[0] <= 4 < task[1]), together=3)
    (crash,) = findings["failures"]
    assert (crash["machine"], crash["clause"], crash["seed"]) == ("smmuv3", "crash", 4 * PLAN.size)
    assert f"explore(Plan({MACHINES!r}, 'programs', True, 6), 4, 5)" in crash["program"]
    assert findings["counters"]["cases"] == reference[0]["counters"]["cases"]


def test_a_crew_whose_workers_all_die_gives_up():
    with pytest.raises(CrewError, match="every worker dies"):
        explored(Losing(PLAN, lambda task: True))


def test_no_scheduler_is_a_sentence():
    pytest.importorskip("distributed", reason="needs the extra: dma-conformance[cluster]")
    done = CliRunner().invoke(main, ["campaign", "-b", "gart*", "--scheduler", "nonsense://x"])
    assert done.exit_code == 1 and done.output.startswith("Error: nonsense://x")


# -- the journal -------------------------------------------------------------------------------------------------

class Stop(Exception):
    pass


def test_a_campaign_that_was_stopped_goes_on(reference, tmp_path):
    def stop():
        raise Stop

    with Journal(PLAN.as_json(), tmp_path) as journal, pytest.raises(Stop):
        drive(PLAN, Here(PLAN), journal, 0, UNITS, heard=Once(stop))
    path = tmp_path / "journal.jsonl"
    with Journal(PLAN.as_json(), tmp_path, resume=True) as journal:
        assert journal.done.ranges == [[0, 1]]
        drive(PLAN, Here(PLAN), journal, 0, 4)
    path.write_bytes(path.read_bytes()[:-100])                  # the last line was not written to its end
    heard = Counter()
    with Journal(PLAN.as_json(), tmp_path, resume=True) as journal:
        assert journal.done.ranges == [[0, 3]]
        drive(PLAN, Here(PLAN), journal, 0, UNITS, heard=lambda units: heard.update(units=units))
        assert journal.summary.findings() == reference[0]
    assert heard["units"] == UNITS - 3


def test_a_journal_counts_a_unit_once_and_stays_small(tmp_path, monkeypatch):
    monkeypatch.setattr("conformance.campaign.journal.MOST", 2000)
    found = explore(PLAN, 0, 1)[0]
    with Journal(PLAN.as_json(), tmp_path) as journal:
        assert [journal.add(i, i + 1, found, Effort(1.0, 7)) for i in (0, 1, 1, 2, 5, 3, 4)] == [
            True, True, False, True, True, True, True]
        assert len(journal.done) == 6 and journal.effort == Effort(6.0, 7)
    assert len((tmp_path / "journal.jsonl").read_text().splitlines()) < 4
    with Journal(PLAN.as_json(), tmp_path, resume=True) as again:
        assert again.summary.findings() == journal.summary.findings()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "is no journal of a campaign"),
        ("[]\n", "is no journal of a campaign"),
        ('{"type": "campaign"}\n', "version, shape, guided"),
        (json.dumps({"type": "campaign", **PLAN.as_json(), "shape": "lists"}) + "\n", "another campaign: shape is"),
        (json.dumps({"type": "campaign", **PLAN.as_json()}) + "\n{}\n", "line 2"),
        (json.dumps({"type": "campaign", **PLAN.as_json()}) + '\n{"units": [[0, 1]], "effort": {}, "summary": '
         '{"behaviours": "AAAA", "failures": [], "counters": {}, "known": {}}}\n', "line 2"),
    ],
)
def test_another_journal_is_refused(tmp_path, text, sentence):
    (tmp_path / "journal.jsonl").write_text(text)
    with pytest.raises(ResultsError, match=sentence):
        Journal(PLAN.as_json(), tmp_path, resume=True)
    assert (tmp_path / "journal.jsonl").read_text() == text


def test_ranges():
    rng = random.Random(1)
    ranges, meant = Ranges(), set()
    for _ in range(200):
        first = rng.randrange(300)
        last = first + rng.randrange(1, 6)
        assert ranges.has(first, last) == bool(meant & set(range(first, last)))
        ranges.add(first, last)
        meant |= set(range(first, last))
        assert len(ranges) == len(meant)
        missing = [n for a, b in ranges.missing(20, 280) for n in range(a, b)]
        assert missing == [n for n in range(20, 280) if n not in meant]
    assert all(a[1] < b[0] for a, b in zip(ranges.ranges, ranges.ranges[1:], strict=False))


def test_summaries_add_up_in_any_order():
    rng = random.Random(2)
    parts = []
    for i in range(12):
        part = Summary(Counter(cases=i), Counter({f"k{i % 3}": 1}))
        part.see({number("x", i % 5), number("y", i)})
        part.fail(Failure("b", f"m{i % 2}", "DMA-01", f"text {i}", 100 - i, f"program {i}"))
        parts.append(part)
    found = set()
    for _ in range(5):
        rng.shuffle(parts)
        half, other = Summary(), Summary()
        for i, part in enumerate(parts):
            (half if i % 2 else other).add(part)
        half.add(Summary.from_json(json.loads(json.dumps(other.as_json()))))
        found.add(json.dumps(half.findings()))
    assert len(found) == 1
    assert half.failures["b", "m1", "DMA-01"] == Failure("b", "m1", "DMA-01", "text 11", 89, "program 11", 6)
    assert half.behaviours.bit_count() == 17


# -- what is found -----------------------------------------------------------------------------------------------

@pytest.mark.power
@pytest.mark.parametrize(
    ("shape", "size", "saboteur", "expected"),
    [
        ("programs", 60, "merge-too-far", {"DMA-08", "DMA-09"}),
        ("lists", 3, "wrong-endianness", {"DMA-21"}),
        ("lists", 3, "unmap-sg-forgotten", {"DMA-01", "DMA-03"}),
    ],
)
def test_a_planted_fault_comes_back_as_a_small_program(monkeypatch, shape, size, saboteur, expected):
    planted = SABOTEURS[saboteur]
    record, config = planted.record(planted.targets[0])
    plan = Plan(((record.id, config.name),), shape, size=size)
    with planted.planted():
        monkeypatch.setattr(unit, "subject", lambda *_: Subject(record, config))
        found = explore(plan, 0, 1)[0]
        failure = next(failure for failure in found.failures.values() if failure.clause in expected)
        assert failure.times >= 1 and 0 <= failure.seed < plan.size
        assert failure.text.startswith(failure.clause) and len(failure.program.splitlines()) <= 7
        of = staticmethod(lambda *_, **__: World(Subject(record, config)))
        made = {"World": type("Planted", (World,), {"of": of})}
        program = failure.program.replace("from conformance.programs import World\n", "")
        with pytest.raises(Exception, match=failure.clause):
            exec(program, made)


def test_what_showed_something_new_is_where_others_start():
    made = unit._Unit(Plan(MACHINES, size=80), 1)
    found = made.explore()
    assert found.behaviours.bit_count() == len(made.seen) and 20 < len(made.corpus) <= unit.CORPUS
    for parent in made.corpus[:10]:
        world = World(made.made, p2p=parent.program.p2p)
        signature = Signature(world)
        shown = set()
        for call in parent.program.calls:
            step(world, call)
            shown.update(signature.after(call[0]))
        assert parent.behaviour in {*shown, signature.ended("")}
    assert explore(Plan(MACHINES, guided=False, size=80), 1, 2)[0].behaviours != found.behaviours


def test_known_faults_are_counted():
    plan = Plan((("gart_dma_ops", "opteron"),), size=40)
    found = explore(plan, 0, 1)[0]
    assert not found.failures
    assert any(text.startswith("gart_dma_ops DMA-18 ") for text in found.known)


@pytest.mark.slow
def test_memory_is_flat():
    plan = Plan((("iommu_dma_ops", "smmuv3"), ("dma_direct", "x86_64-force")), "lists", size=16)

    def resident():
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    total = Summary()
    sizes = []
    for one in range(24):
        total.add(explore(plan, one, one + 1)[0])
        sizes.append(resident())
    assert total.counters["segments"] > 1_000_000
    assert max(sizes[6:]) - sizes[5] < 8 << 20


# -- the command -------------------------------------------------------------------------------------------------

def test_the_summary_keeps_to_its_schema(tmp_path):
    arguments = ["campaign", "-b", "ibmebus*", "--shape", "lists", "-n", "0", "--seeds", "20:40"]
    done = CliRunner().invoke(main, [*arguments, "--json", "--out", str(tmp_path / "a")])
    assert done.exit_code == 0, done.output
    summary = json.loads(done.stdout)
    schema = json.loads(files("conformance").joinpath("schemas/campaign.schema.json").read_text())
    jsonschema.Draft202012Validator(schema).validate(summary)
    assert json.loads((tmp_path / "a" / "summary.json").read_text()) == summary
    assert summary["plan"]["seeds"] == [16, 48] and summary["plan"]["units"] == 2
    assert summary["findings"]["counters"]["cases"] == summary["run"]["cases"] == 32
    done = CliRunner().invoke(main, [*arguments, "--out", str(tmp_path / "a"), "--resume"])
    assert done.exit_code == 0
    assert f"findings {summary['findings']['sha256']}\n" in done.output and "0 cases/s" in done.output


@pytest.mark.parametrize(
    ("arguments", "status", "sentence"),
    [
        (["--resume"], 2, "--resume needs --out"),
        (["-b", "nobody"], 2, "no backend 'nobody'"),
        (["-b", "dma_dummy_ops"], 2, "nothing can be mapped"),
        (["--seeds", "9:3"], 2, "FIRST:LAST"),
        (["-n", "many"], 2, "is a number, or auto"),
        (["-b", "ibmebus*", "--out", ".", "--resume", "-n", "0"], 2, "nothing to resume"),
    ],
)
def test_requests_that_make_no_sense(tmp_path, monkeypatch, arguments, status, sentence):
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(main, ["campaign", *arguments])
    assert (done.exit_code, sentence in done.output) == (status, True), done.output


def test_a_failure_is_printed_and_is_status_1(monkeypatch):
    failure = Failure("b", "m", "DMA-01", "DMA-01: broken", 5, "w.end()\n")

    def found(plan, first, last):
        return Summary(failures={failure.key: failure}), Effort()

    monkeypatch.setattr("conformance.campaign.crews.explore", found)
    done = CliRunner().invoke(campaign_command, ["-b", "ibmebus*", "-n", "0", "--seeds", "1"])
    assert done.exit_code == 1
    assert "b/m, seed 5 (1 cases): DMA-01: broken\n\nw.end()\n" in done.output


def test_a_plan_says_what_must_be_the_same():
    assert PLAN.as_json() == dataclasses.replace(PLAN).as_json()
    for other in ({"shape": "lists"}, {"guided": False}, {"size": 5}, {"machines": MACHINES[:2]}):
        assert dataclasses.replace(PLAN, **other).as_json() != PLAN.as_json()

# SPDX-License-Identifier: MIT
"""Random programs on every backend, and every allocation that can fail; the oracle itself on planted faults."""

import os
import re
import subprocess
import sys
from importlib.resources import files

import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from conformance.facts import Subject
from conformance.programs import Broken, Program, World, generate, minimise, run
from conformance.programs.__main__ import main, subjects
from conformance.programs.explained import FAULTS
from conformance.programs.faults import ENTRIES, trials
from conformance.programs.generate import CALLS, RandomSource, applies
from conformance.programs.light import LightWorld
from conformance.programs.play import step
from conformance.programs.world import KINDS, KernelDead
from conformance.saboteurs import SABOTEURS
from conformance.selection import known_backends, subject

MACHINES = [(record.id, config.name) for record in known_backends().values() for config in record.machines]
FIRST = [(record.id, record.machines[0].name) for record in known_backends().values()]
UNREACHABLE = "dma_dummy_ops"           # refuses everything, so that nothing can be mapped


def usable(pairs):
    return [pytest.param(*pair, id="/".join(pair)) for pair in pairs if pair[0] != UNREACHABLE]


def has_peers(made):
    return made.record.p2pdma and made.machine.pci_p2pdma


# -- hypothesis ------------------------------------------------------------------------------------------------

class HypothesisSource:
    def __init__(self, data):
        self.data = data

    def below(self, n):
        return self.data.draw(st.integers(0, n - 1))


class Programs(RuleBasedStateMachine):
    """A rule per call of World; a failure is printed as a program that runs by itself."""

    made: Subject
    p2p = False

    def __init__(self):
        super().__init__()
        self.world = World(self.made, p2p=self.p2p)
        self.calls = []
        self.over = False

    def judged(self, act):
        try:
            act()
        except KernelDead:
            self.over = True
        except Broken as broken:
            self.over = True
            program = Program(self.made.record.id, self.made.config.name, tuple(self.calls), self.p2p)
            clause = broken.clause
            small = minimise(program, lambda tried: run(tried, self.made).clause == clause)
            raise AssertionError(f"{broken}\n\n{small.code()}") from None

    def do(self, name, data):
        call = name, CALLS[name][1](self.world, HypothesisSource(data))
        self.calls.append(call)
        self.judged(lambda: step(self.world, call))

    @precondition(lambda self: self.over)
    @rule()
    def dead(self):
        """A fault of Linux that is known killed the kernel: nothing more happens."""

    def teardown(self):
        if not self.over:
            self.judged(self.world.end)


def a_rule(name):
    def act(self, data):
        self.do(name, data)

    act.__name__ = name
    return precondition(lambda self: not self.over and applies(self.world, name))(rule(data=st.data())(act))


def state_machine(made, *, p2p):
    names = {name: a_rule(name) for name in CALLS if name != "map_sg" or not World(made).lists_die}
    return type("Programs", (Programs,), {"made": made, "p2p": p2p, **names})


@pytest.mark.parametrize(("backend", "machine"), usable(FIRST))
def test_state_machine(backend, machine):
    made = subject(backend, machine)
    quick = settings(max_examples=5, stateful_step_count=20, derandomize=True, deadline=None, database=None,
                     phases=[Phase.generate], suppress_health_check=list(HealthCheck))
    run_state_machine_as_test(state_machine(made, p2p=has_peers(made)), settings=quick)


@pytest.mark.slow
@pytest.mark.parametrize(("backend", "machine"), usable(MACHINES))
def test_state_machine_at_length(backend, machine):
    made = subject(backend, machine)
    full = settings(max_examples=100, stateful_step_count=50, deadline=None, database=None, print_blob=True,
                    phases=[Phase.generate], suppress_health_check=list(HealthCheck))
    for p2p in {False, has_peers(made)}:
        run_state_machine_as_test(state_machine(made, p2p=p2p), settings=full)


# -- random programs -------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("backend", "machine"), usable(MACHINES))
def test_random_programs(backend, machine):
    made = subject(backend, machine)
    for seed in range(4):
        outcome = generate(made, RandomSource(seed), 40, p2p=seed % 2 == 1 and has_peers(made))
        assert outcome.broken is None, f"{outcome.broken}\n\n{outcome.program.code()}"


def test_a_seed_gives_the_same_program():
    made = subject("iommu_dma_ops", "smmuv3")
    one, other = (generate(made, RandomSource("again"), 50, p2p=True) for _ in range(2))
    assert one.program == other.program and len(one.program.calls) == 50
    assert run(one.program).broken is None
    assert generate(made, RandomSource("another"), 50, p2p=True).program != one.program


def test_a_program_is_python_that_runs(tmp_path):
    made = subject("sba_dma_ops", "zx1-4k")
    program = generate(made, RandomSource(3), 30).program
    path = tmp_path / "program.py"
    path.write_text(program.code())
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run([sys.executable, "-P", str(path)], env=environment, capture_output=True, text=True,
                          check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert program.code().count("w.") == 31


@pytest.mark.power
@pytest.mark.parametrize(
    ("saboteur", "clauses"),
    [
        ("unmap-forgotten", {"DMA-02", "DMA-03", "DMA-01"}),
        ("wrong-endianness", {"DMA-21"}),
        ("sync-for-cpu-skipped", {"DMA-04", "DMA-19", "DMA-20"}),
        ("merge-too-far", {"DMA-08", "DMA-09"}),
        ("mark-on-wrong-slot", {"P2P-36"}),
    ],
)
def test_a_saboteur_breaks_its_clause(saboteur, clauses):
    planted = SABOTEURS[saboteur]
    record, config = planted.record(planted.targets[0])
    with planted.planted():
        made = Subject(record, config)
        outcomes = (generate(made, RandomSource(seed), 40, p2p=has_peers(made)) for seed in range(60))
        outcome = next(outcome for outcome in outcomes if outcome.clause in clauses)
        small = minimise(outcome.program, lambda program: run(program, made).clause == outcome.clause)
        assert run(small, made).clause == outcome.clause
    assert len(small.calls) <= 4
    assert f"{outcome.clause}: " in str(outcome.broken)


def test_minimise_leaves_what_matters():
    calls = tuple(("look", (i,)) for i in range(40))
    program = Program("x", "y", (*calls, ("map_sg", (7, [(0, 0, 1), (1, 0, 2), (2, 0, 3)], "TO_DEVICE"))))

    def fails(tried):
        rows = next((c[1][1] for c in tried.calls if c[0] == "map_sg"), [])
        return ("look", (33,)) in tried.calls and (1, 0, 2) in rows

    small = minimise(program, fails)
    assert small.calls == (("look", (33,)), ("map_sg", (7, [(1, 0, 2)], "TO_DEVICE")))


def test_the_command_counts_and_fails(tmp_path):
    done = CliRunner().invoke(main, ["--operations", "500", "--backend", "gart*", "--seed", "2"])
    assert done.exit_code == 0, done.output
    assert done.output.endswith("500 operations in 9 programs on 4 machines: 0 broken\n")
    assert CliRunner().invoke(main, ["--backend", "nobody"]).exit_code == 2


def test_a_light_world_makes_the_same_calls_and_judges_nothing():
    made = subject("gart_dma_ops", "opteron")
    judged, light = (generate(made, RandomSource(7), 50, kind=kind) for kind in (World, LightWorld))
    assert judged.program == light.program and judged.met and not light.met
    w = LightWorld(made)
    w.map_page(1, (0, 100, 64), "BIDIRECTIONAL")
    w.machine.mem.poke(w.memory.spans([(0, 99, 1)])[0][0], b"!")
    w.unmap(1)                                          # of which test_the_oracle_sees_what_another_wrote complains
    done = CliRunner().invoke(main, ["--operations", "500", "--backend", "gart*", "--light", "--length", "250"])
    assert (done.exit_code, done.output) == (0, "500 operations in 2 programs on 4 machines: 0 broken\n")


# -- each allocation fails -------------------------------------------------------------------------------------

@pytest.mark.parametrize(("backend", "machine"), usable(FIRST))
def test_every_allocation_can_fail(backend, machine):
    made = subject(backend, machine)
    met = set()
    for entry in ENTRIES:
        for trial in trials(made, entry):
            met.add(entry)
            where = f"{entry}: allocation {trial.nth} of {trial.kind}"
            assert trial.outcome.broken is None, f"{where}: {trial.outcome.broken}\n\n{trial.outcome.program.code()}"
    if backend not in ("alpha_pci_ops", "dma_direct", "ibmebus_dma_ops", "ps3_sb_dma_ops", "xen_swiotlb_dma_ops"):
        assert "map_page" in met                        # those map RAM without any allocation on their first machine


@pytest.mark.slow
@pytest.mark.parametrize(("backend", "machine"), usable(pair for pair in MACHINES if pair not in FIRST))
def test_every_allocation_can_fail_elsewhere(backend, machine):
    for entry in ENTRIES:
        for trial in trials(subject(backend, machine), entry):
            assert trial.outcome.broken is None, f"{trial.outcome.broken}\n\n{trial.outcome.program.code()}"


def test_every_point_of_failure_is_known():
    found = set()
    for package in ("arch", "dma_ops"):
        for path in files(package).rglob("*.pyx"):
            found |= set(re.findall(r'should_fail\(b"(\w+)"\)', path.read_text(encoding="utf-8")))
    assert found == set(KINDS)


# -- the oracle ------------------------------------------------------------------------------------------------

def test_the_oracle_keeps_drivers_from_what_they_may_not_do():
    w = World.of("dma_direct", "x86_64")
    w.map_page(1, (0, 0, 64), "FROM_DEVICE")
    w.map_page(2, (0, 32, 64), "TO_DEVICE")             # bytes that a device owns
    w.map_page(1, (1, 0, 64), "TO_DEVICE")              # a name that is taken
    w.map_page(3, (7, 0, 2 * w.page), "TO_DEVICE")      # beyond the memory
    w.map_sg(4, [(2, 0, 32), (2, 40, 8)], "BIDIRECTIONAL")      # one cache line, twice
    w.cpu_write(1, 0, 8, 0)                             # it is the device's turn
    w.unmap(5)
    assert list(w.live) == [1]
    w.map_page(6, (4, 0, 64), "TO_DEVICE")
    w.map_page(7, (4, 32, 64), "TO_DEVICE")             # reading twice is no harm
    assert list(w.live) == [1, 6, 7]
    w.end()
    assert w.live == {}


def test_the_oracle_sees_what_another_wrote():
    w = World.of("dma_direct", "x86_64")
    w.map_page(1, (0, 100, 64), "BIDIRECTIONAL")
    w.machine.mem.poke(w.memory.spans([(0, 99, 1)])[0][0], b"!")
    with pytest.raises(Broken, match=r"^DMA-22: .*beside the buffer"):
        w.unmap(1)


EXPLAINED = [
    ("sba_dma_ops", "zx1-64bit", "DMA-22 bit 0 of an address", [
        ("map_sg", (29, [(14, 16383, 64), (2, 1, 8)], "FROM_DEVICE")), ("device_write", (29, 0, 65544, 33139)),
        ("unmap", (29,)), ("map_page", (55, (15, 0, 16384), "TO_DEVICE")),
    ]),
    ("gart_dma_ops", "opteron-agp", "DMA-16 a head's offset", [
        ("map_sg", (17, [(4, 4096, 2188)], "TO_DEVICE")), ("map_page", (20, (5, 4088, 83), "TO_DEVICE")),
        ("unmap", (17,)), ("map_page", (21, (7, 0, 64), "TO_DEVICE")), ("look", (20,)),     # flushed when it maps
    ]),
    ("gart_dma_ops", "opteron-agp", "DMA-01 a head's offset", [
        ("map_sg", (29, [(4, 4096, 3724)], "FROM_DEVICE")), ("map_phys", (30, (3, 2866, 64), "BIDIRECTIONAL")),
    ]),
    ("iommu_ops", "coherent", "DMA-02 pages that an offset skips", [
        ("map_page", (7, (7, 2048, 2048), "TO_DEVICE")), ("map_page", (11, (10, 4088, 2048), "BIDIRECTIONAL")),
        ("unmap", (11,)), ("fail", ("iova", 4)),
        ("map_sg", (53, [(11, 0, 4096), (11, 4096, 1564), (11, 5660, 2064), (11, 7724, 196)], "TO_DEVICE")),
    ]),
    ("sbus_iommu_dma_gflush_ops", "classic", "DMA-02 a list that fails", [
        ("map_phys", (2, (12, 64, 4096), "BIDIRECTIONAL")), ("fail", ("entries", 2)), ("unmap", (2,)),
        ("map_sg", (11, [(5, 0, 4096), (6, 0, 4096)], "BIDIRECTIONAL")),
    ]),
]


@pytest.mark.parametrize(("backend", "machine", "what", "calls"), EXPLAINED, ids=lambda v: v if " " in v else None)
def test_a_fault_is_explained_wherever_it_strikes(backend, machine, what, calls):
    outcome = run(Program(backend, machine, tuple(calls)))
    assert outcome.broken is None
    assert any(text.startswith(what) for text in outcome.met)


def test_an_odd_list_explains_the_byte_before_it_alone():
    for at, broken in ((16382, False), (16381, True)):
        w = World.of("sba_dma_ops", "zx1-64bit")
        w.map_sg(1, [(14, 16383, 64)], "FROM_DEVICE")
        w.machine.mem.poke(w.memory.spans([(14, at, 1)])[0][0], b"!")
        if broken:
            with pytest.raises(Broken, match=r"^DMA-22: "):
                w.unmap(1)
        else:
            w.unmap(1)


def test_a_moved_list_explains_its_neighbours_alone():
    for frame, broken in ((5, False), (7, True)):
        w = World.of("gart_dma_ops", "opteron-agp")
        w.map_sg(1, [(4, 4096, 64)], "TO_DEVICE")
        w.map_page(2, (5, 0, 64), "TO_DEVICE")          # gets the bus page that the list's address names
        w.map_page(3, (7, 0, 64), "TO_DEVICE")
        w.machine.mem.poke(w.memory.spans([(frame, 0, 1)])[0][0], b"!")
        if broken:
            with pytest.raises(Broken, match=r"^DMA-16: "):
                w.look(3)
        else:
            w.look(2)


def test_explanations_name_backends():
    for fault in FAULTS:
        assert fault.tables <= set(known_backends())
        names = {config.name for table in fault.tables for config in known_backends()[table].machines}
        assert set(fault.machines.split()) <= names
        assert fault.what and fault.clauses


@pytest.mark.slow
def test_no_explanation_is_stale():
    """Each explained fault is met, so that none hides what was mended."""
    lacking = {fault.what: fault for fault in FAULTS}
    machines = subjects("*")

    def where():
        return [made for made in machines if any(
            (not fault.backends or made.record.id in fault.tables)
            and (not fault.machines or made.config.name in fault.machines.split()) for fault in lacking.values())]

    def tick(met):
        for text in met:
            lacking.pop(text.partition(" ")[2], None)

    for seed in range(120):
        for made in where():
            tick(generate(made, RandomSource(seed), 60, p2p=seed % 2 == 1 and has_peers(made)).met)
    for made in where():
        for entry in ENTRIES:
            for trial in trials(made, entry):
                tick(trial.outcome.met)
    assert set(lacking) == set()

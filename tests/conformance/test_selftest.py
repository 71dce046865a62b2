# SPDX-License-Identifier: MIT
"""The saboteurs, a few of them planted; `dma-conformance selftest` plants all."""

import json
import os
import time
from importlib.resources import files

import jsonschema
import pytest
from click.testing import CliRunner

from conformance.cli import main
from conformance.detection import beside
from conformance.results import ResultsError
from conformance.rules import load_rules
from conformance.saboteurs import SABOTEURS, base, selftest
from conformance.saboteurs.base import Broken, Saboteur
from conformance.saboteurs.cli import left_out
from conformance.saboteurs.selftest import Matrix, observe, run
from dma_ops import p2pdma

QUICK = (
    "unmap-forgotten", "wrong-endianness", "sync-for-cpu-skipped", "merge-too-far", "mark-on-wrong-slot",
    "acs-common-port-forgotten", "hb-19-stale-slot", "cache-maintenance-of-peers",
)


def test_a_few_are_killed_everywhere():
    matrix = Matrix(run(QUICK, workers=0))
    assert (matrix.survivors, matrix.missed) == ([], [])
    assert matrix.score[0] == matrix.score[1] == sum(len(SABOTEURS[name].targets) for name in QUICK)


@pytest.mark.parametrize("seed", [1, 2])
def test_another_seed_kills_as_well(seed):
    names = "order-lost", "boundary-dropped", "hb-41-range-not-inserted"
    assert Matrix(run(names, workers=0, seed=seed)).survivors == []


def test_saboteurs_and_rules_name_each_other():
    meant = {}
    for saboteur in SABOTEURS.values():
        for rule in saboteur.breaks:
            meant.setdefault(rule, set()).add(saboteur.name)
    assert {rule.id: set(rule.saboteurs) for rule in load_rules().values() if rule.saboteurs or rule.checks} == meant


def test_each_says_what_it_is_and_where():
    for saboteur in SABOTEURS.values():
        assert saboteur.what and saboteur.what.endswith("."), saboteur.name
        assert saboteur.targets and len(set(saboteur.targets)) == len(saboteur.targets), saboteur.name
        assert bool(saboteur.bug) == bool(saboteur.commit), saboteur.name


def test_no_historical_bug_is_both_put_back_and_left_out():
    back = {saboteur.bug for saboteur in SABOTEURS.values()} - {""}
    out = {part for bug in left_out() for part in bug["id"].replace(",", " ").split()}
    assert back and out and not back & out


@pytest.fixture
def planted(monkeypatch):
    def plant(ops, *, breaks=("DMA-02",), targets=("dma_direct/x86_64",)):
        monkeypatch.setitem(base.SABOTEURS, "test", Saboteur("test", "T.", breaks, targets, ops))
    return plant


class Harmless(Broken):
    pass


class Throws(Broken):
    def map_page(self, dev, page, offset, size, dir, attrs):
        raise RuntimeError("a crash is no kill")


class Dies(Broken):
    def map_page(self, dev, page, offset, size, dir, attrs):
        os._exit(3)


class Sleeps(Broken):
    def map_page(self, dev, page, offset, size, dir, attrs):
        time.sleep(600)


def test_what_breaks_nothing_survives(planted):
    planted(Harmless)
    assert [one.broken for one in observe("test", "dma_direct/x86_64")] == ["pass"]
    done = CliRunner().invoke(main, ["selftest", "-n", "0", "test"])
    assert done.exit_code == 1 and "survives" in done.output and "detection 0.0 %" in done.output


def test_an_exception_is_no_kill(planted):
    planted(Throws)
    matrix = Matrix(run(["test"], workers=0))
    assert matrix.survivors == [("test", "dma_direct/x86_64")]


@pytest.mark.parametrize(("ops", "verdict"), [(Dies, "crashed"), (Sleeps, "timeout")])
def test_a_worker_that_is_lost_is_no_kill(planted, monkeypatch, ops, verdict):
    planted(ops)
    monkeypatch.setattr(selftest, "TIME_LIMIT", 2.0)
    matrix = Matrix(run(["test", "mark-lost"], workers=1))
    assert {one.broken for one in matrix.sightings if one.saboteur == "test"} == {verdict}
    assert [key for key in matrix.planted if not matrix.planted[key]] == [("test", "dma_direct/x86_64")]


def test_a_fault_of_the_real_backend_is_no_kill(planted):
    planted(Harmless, breaks=("DMA-18",), targets=("alpha_pci_ops/tsunami-6g",))
    (seen,) = observe("test", "alpha_pci_ops/tsunami-6g")
    assert (seen.real, seen.broken, seen.killed) == ("known", "known", False)


def test_the_core_is_whole_again():
    real = p2pdma.calc_map_type_and_dist
    with SABOTEURS["acs-common-port-forgotten"].planted():
        assert p2pdma.calc_map_type_and_dist is not real
    assert p2pdma.calc_map_type_and_dist is real


def test_json():
    done = CliRunner().invoke(main, ["selftest", "-n", "1", "--json", "wrong-errno-for-peers"])
    said = json.loads(done.stdout)
    assert done.exit_code == 0
    assert said["rules"]["P2P-41"]["wrong-errno-for-peers"][0] == "dma_direct/x86_64"
    assert said["score"]["killed"] == said["score"]["planted"] == 5
    assert {bug["id"] for bug in said["left_out"]} >= {"HB-54"}


def test_an_unknown_saboteur_is_2():
    assert CliRunner().invoke(main, ["selftest", "nobody"]).exit_code == 2


def test_the_report_has_the_score(tmp_path):
    runner = CliRunner()
    assert runner.invoke(main, ["run", "-b", "dma_dummy_ops", "-n", "0", "--out", str(tmp_path)]).exit_code == 0
    said = runner.invoke(main, ["report", str(tmp_path)]).output
    assert "detection" not in said
    names = ["every-mask-supported", "wrong-errno-for-peers"]
    assert runner.invoke(main, ["selftest", "-n", "0", "--out", str(tmp_path), *names]).exit_code == 0
    kills = json.loads((tmp_path / "kills.json").read_text())
    schema = json.loads(files("conformance").joinpath("schemas/kills.schema.json").read_text())
    jsonschema.Draft202012Validator(schema).validate(kills)
    header = json.loads((tmp_path / "results.jsonl").read_text().splitlines()[0])
    assert kills["rules_hash"] == header["rules_hash"]
    found = beside(tmp_path / "results.jsonl")
    assert (found.killed, found.planted) == (7, 7)
    assert found.killers["every-mask-supported"] == {"DMA-26": list(SABOTEURS["every-mask-supported"].targets)}
    assert found.backends["dma_dummy_ops"] == (2, 2)
    for form in ("text", "markdown"):
        said = runner.invoke(main, ["report", "--format", form, str(tmp_path)]).output
        assert "7 of 7 planted saboteurs killed (100.0 %)" in said and "every-mask-supported" in said


def test_a_score_by_other_rules_says_so(tmp_path):
    (tmp_path / "kills.json").write_text(json.dumps({
        "type": "kills", "schema": 1, "rules_hash": "0", "score": {"killed": 0, "planted": 0}, "rules": {},
        "saboteurs": {}, "survivors": [], "sightings": [],
    }))
    found = beside(tmp_path)
    assert "other rules" in found.sentence("1") and "other rules" not in found.sentence("0")


@pytest.mark.parametrize("text", ["", "[]", '{"type": "kills", "schema": 2}'])
def test_what_is_no_kill_matrix_is_refused(tmp_path, text):
    (tmp_path / "kills.json").write_text(text)
    with pytest.raises(ResultsError):
        beside(tmp_path)


def test_a_known_fault_excuses_only_its_checks():
    (seen,) = observe("coherent-not-zeroed", "iounit_dma_ops/sparcserver1000")
    assert (seen.real, seen.broken, seen.killed) == ("known", "fail", True)

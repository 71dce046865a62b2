# SPDX-License-Identifier: MIT
"""Whatever is in a file that is read, there is an answer or one sentence, never a traceback. For lspci: topology."""

import gzip
import json
import random
from importlib.resources import files

import pytest
from click.testing import CliRunner

from conformance.checks import checks
from conformance.cli import main
from conformance.rules import RuleError, parse_rules

RUNS = ("mips/fake-jazz/15_zero", "compiled/jazz_dma_ops/be32/trap7_sync_attrs", "compiled/iova/granule4096/i11_tiny",
        "new-api/tiny/t00_granule_above_page_BUG")


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    arguments = ["run", "-b", "dma_dummy_ops", "-r", "DMA-*", "-n", "0", "--out", str(folder)]
    assert CliRunner().invoke(main, arguments).exit_code == 0
    return (folder / "results.jsonl").read_bytes()


@pytest.fixture(scope="module")
def runs():
    found = files("conformance") / "vectors"
    return [gzip.decompress((found / f"{name}.json.gz").read_bytes()) for name in RUNS]


def attack(command, sources, path, rounds, seed, faults):
    """How often each exit status came."""
    rng = random.Random(seed)
    statuses = {0: 0, 1: 0, 2: 0}
    for number in range(rounds):
        path.write_bytes(rng.choice(faults)(rng.choice(sources), rng))
        result = CliRunner().invoke(main, [command, str(path)])
        where = f"round {number} of seed {seed}: {result.exception!r}"
        assert result.exception is None or isinstance(result.exception, SystemExit), where
        assert result.exit_code in statuses, where
        if result.exit_code == 2:
            assert result.output.splitlines()[-1].startswith("Error: "), where + result.output
        statuses[result.exit_code] += 1
    return statuses


def attack_rules(rounds, seed, damage):
    text = (files("conformance") / "rules/dma.toml").read_bytes()
    source = b"[[rule]]".join(text.split(b"[[rule]]")[:6])
    rng = random.Random(seed)
    refused = 0
    for _ in range(rounds):
        try:
            parse_rules(damage(source, rng).decode("utf-8", "replace"), "dma.toml", checks())
        except RuleError as error:
            assert str(error).startswith("dma.toml: ") and "\n" not in str(error)
            refused += 1
    return refused


def test_results(results, tmp_path, damage, damage_json):
    statuses = attack("report", [results], tmp_path / "results.jsonl", 150, 1, (damage, damage_json))
    assert statuses[0] < 20 and statuses[2] > 50


def test_each_value_of_the_header(results, tmp_path, strange):
    header, _, rest = results.partition(b"\n")
    path = tmp_path / "results.jsonl"
    for key in [*json.loads(header), "driver"]:
        for value in strange:
            path.write_bytes(json.dumps(json.loads(header) | {key: value}).encode() + b"\n" + rest)
            result = CliRunner().invoke(main, ["report", str(path)])
            assert isinstance(result.exception, SystemExit), f"{key} {value!r}: {result.exception!r}"
            assert result.output.splitlines()[-1].startswith("Error: ")


def test_runs(runs, tmp_path, damage, damage_json):
    statuses = attack("replay", runs, tmp_path / "run.json", 150, 1, (damage, damage_json))
    assert statuses[2] > 50


def test_rules(damage):
    assert 500 < attack_rules(1_000, 1, damage) < 1_000


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1000, 1050))
def test_many(results, runs, tmp_path, damage, damage_json, seed):
    attack("report", [results], tmp_path / "results.jsonl", 2_000, seed, (damage, damage_json))
    attack("replay", runs, tmp_path / "run.json", 2_000, seed, (damage, damage_json))
    attack_rules(2_000, seed, damage)

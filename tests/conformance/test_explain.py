# SPDX-License-Identifier: MIT
"""The command that explain prints gives the verdict that explain gives."""

import random
import shlex

import pytest
from click.testing import CliRunner

from conformance.cli import main
from conformance.execute import without_running
from conformance.results import read
from conformance.rules import load_rules
from conformance.selection import DESIGNS, Case, Selection, known_backends


def sample():
    """A case of each backend, on one of its machines: a rule, or a route through the designs in turn."""
    rnd = random.Random("explain")
    for i, name in enumerate(known_backends()):
        cases = [case for case in Selection(backends=(name,)).cases() if without_running(case) is None]
        if i % 2:
            cases = [case for case in cases if case.route and case.api == DESIGNS[i // 2 % len(DESIGNS)]]
        yield rnd.choice(cases)


@pytest.mark.parametrize("case", [*sample()], ids=lambda case: case.id)
def test_the_command_gives_the_verdict(case, tmp_path):
    told = CliRunner().invoke(main, ["explain", case.id, "--seed", "3"])
    rows = (line for line in told.output.splitlines() if line[:1].strip() and line[11:12] == " ")
    lines = {line[:12].rstrip(): line[12:] for line in rows}
    program, *words = shlex.split(lines["run it"])
    assert program == "pytest"
    status = pytest.main([*words, "-q", "--dma-out", str(tmp_path), "-p", "no:cacheprovider", "-p", "no:randomly"])
    assert int(status) == told.exit_code
    (again,) = read(tmp_path).results
    assert again.case == case.id
    said = f"{again.verdict.value} ({again.detail})" if again.detail else again.verdict.value
    assert lines["verdict"] == said
    assert lines.get("policy", "") == again.policy
    assert lines.get("mechanism", "") == again.mechanism


def test_a_rule_without_checks_has_no_command():
    rule = next(rule.id for rule in load_rules().values() if rule.not_tested)
    told = CliRunner().invoke(main, ["explain", f"{rule}:dma_direct:x86_64:legacy"])
    assert "verdict     not-tested" in told.output
    assert "run it" not in told.output


def test_what_is_no_route_and_no_design_is_said():
    for text, says in (
        ("route/same-swich:dma_direct:x86_64:A", "did you mean same-switch"),
        ("route/same-switch:dma_direct:x86_64:D", "'D' is none of legacy, A, B, C, new"),
        ("DMA-01:dma_direct:x86_64:A", "'A' is none of legacy"),
    ):
        done = CliRunner().invoke(main, ["explain", text])
        assert done.exit_code == 2 and says in done.output


def test_a_case_is_its_id():
    for case in (Case("DMA-01", "b", "m"), Case("route/blocked", "b", "m", "B")):
        assert Case.parse(case.id) == case

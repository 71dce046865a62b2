# SPDX-License-Identifier: MIT
"""The rules load, and what is wrong in a rule file is refused."""

import pytest

from conformance.checks import checks
from conformance.facts import parse_fact
from conformance.rules import RuleError, fingerprint, load_rules, parse_rules

GOOD = """
[[rule]]
id = "X-1"
text = "A thing MUST be."
level = "must"
group = "things"
source = { file = "a.c", symbol = "f" }
applies_if = ["has map_sg", "not iommu", "kernel >= 6.1"]
checks = ["looks"]
"""


def test_all_clauses_are_there():
    rules = load_rules()
    p2p = {int(name[4:]) for name in rules if name.startswith("P2P-")}
    dma = {int(name[4:]) for name in rules if name.startswith("DMA-")}
    assert dma == set(range(1, 51))
    assert {1, 8, 10, 15, 20, 26, 30, 47, 50, 54, 60, 66, 70, 71, 72} <= p2p and len(p2p) == 54
    assert sum(1 for rule in rules.values() if rule.checks) >= 96


def test_every_check_belongs_to_a_rule():
    assert set(checks()) == {name for rule in load_rules().values() for name in rule.checks}


def test_every_check_says_what_it_looks_at():
    assert [name for name, check in checks().items() if not check.__doc__] == []


def test_a_good_rule():
    (rule,) = parse_rules(GOOD, "x.toml", ["looks"])
    assert rule.id == "X-1" and rule.applies_if == ("has map_sg", "not iommu", "kernel >= 6.1")
    assert str(rule.source) == "a.c: f"


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('level = "must"', 'level = "shall"', "not must, should or may"),
        ('group = "things"', 'group = "things"\ncolour = "red"', "unknown key colour"),
        ('"has map_sg"', '"has map_sgg"', "no fact"),
        ('"kernel >= 6.1"', '"kernel >= six"', "no kernel version"),
        ('"kernel >= 6.1"', '"kernel == 6.1"', "no fact"),
        ('["looks"]', '["peeks"]', "no check called peeks"),
        ('["looks"]', r'["pee\nks"]', r"no check called 'pee\\nks'"),
        ('checks = ["looks"]', "", "either checks or not_tested"),
        ('checks = ["looks"]', 'checks = ["looks"]\nnot_tested = "why"', "either checks or not_tested"),
        ('text = "A thing MUST be."', "", "text is missing"),
        ('source = { file = "a.c", symbol = "f" }', 'source = "a.c"', "source is not a table"),
        ('group = "things"', 'group = "things"\nsince = "new"', "not a kernel version"),
        ("[[rule]]", "[[rules]]", "unknown key rules"),
        ("[[rule]]", "[rule]", "rule is not a list of tables"),
        ("[[rule]]", "[[rule]", "x.toml"),
    ],
)
def test_what_is_refused(old, new, says):
    with pytest.raises(RuleError, match=says):
        parse_rules(GOOD.replace(old, new), "x.toml", ["looks"])


def test_facts_turn_round():
    class Old:
        class machine:
            kernel = 601

    assert parse_fact("kernel >= 6.1")(Old) and not parse_fact("not kernel >= 6.1")(Old)
    assert parse_fact("kernel < 6.12")(Old)


def test_the_fingerprint_follows_the_text():
    (rule,) = parse_rules(GOOD, "x.toml", ["looks"])
    (other,) = parse_rules(GOOD.replace("MUST be", "MUST not be"), "x.toml", ["looks"])
    assert fingerprint([rule]) != fingerprint([other])

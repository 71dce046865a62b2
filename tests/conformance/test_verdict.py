# SPDX-License-Identifier: MIT
"""How verdicts add up."""

from hypothesis import given
from hypothesis import strategies as st

from conformance.verdict import Tally, Verdict

verdicts = st.lists(st.sampled_from(list(Verdict)))


@given(verdicts, verdicts, verdicts)
def test_tallies_add_in_any_order_and_lose_nothing(a, b, c):
    one = (Tally(a) + Tally(b)) + Tally(c)
    other = Tally(c) + (Tally(b) + Tally(a))
    assert dict(one) == dict(other) == dict(Tally(a + b + c))
    assert one.total == len(a + b + c)
    assert one.headline is other.headline


@given(verdicts)
def test_the_headline_is_in_it_and_nothing_worse_is(a):
    head = Tally(a).headline
    assert not a or head in a
    assert all(verdict.severity <= head.severity for verdict in a)


@given(st.lists(st.sampled_from([Verdict.NOT_TESTED, Verdict.NOT_APPLICABLE])))
def test_all_skipped_is_never_a_pass(a):
    assert Tally(a).headline is not Verdict.PASS


@given(verdicts.filter(lambda a: any(v.bad for v in a)))
def test_one_bad_case_makes_the_headline_bad(a):
    assert Tally(a).headline.bad and Tally(a).bad


def test_no_cases_are_no_pass():
    assert Tally().headline is Verdict.NOT_TESTED
    assert str(Tally()) == "no cases"


def test_known_does_not_hide_a_failure_nor_pass_a_known():
    assert Tally([Verdict.KNOWN, Verdict.FAIL, Verdict.PASS]).headline is Verdict.FAIL
    assert Tally([Verdict.PASS, Verdict.KNOWN]).headline is Verdict.KNOWN

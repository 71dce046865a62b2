# SPDX-License-Identifier: MIT
"""Random programs (conformance.programs) as a check: each clause that their oracle knows has its share of them."""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

from ..facts import Subject
from . import check
from .bench import Bench, NotTested, Violation

AMOUNT = {"quick": (6, 30), "full": (60, 60)}           # programs, calls in each


@lru_cache(maxsize=2)
def _batch(subject: Subject, seed: str, profile: Literal["quick", "full"]) -> dict[str, Exception]:
    """The first violation of each clause; in the full profile every allocation of every entry point fails, too."""
    from ..programs.faults import ENTRIES, trials
    from ..programs.generate import RandomSource
    from ..programs.play import Outcome, generate, run
    from ..programs.program import minimise

    found: dict[str, Exception] = {}
    programs, length = AMOUNT[profile]
    p2p = subject.record.p2pdma and subject.machine.pci_p2pdma

    def judge(outcome: Outcome) -> None:
        clause = outcome.clause
        if outcome.broken is None or clause in found:
            return
        small = minimise(outcome.program, lambda program: run(program, subject).clause == clause, 100)
        broken = run(small, subject).broken or outcome.broken
        if isinstance(broken, Violation):
            calls = "; ".join(small.code().splitlines()[2:])
            found[clause] = Violation(f"{broken}: {calls}")
        else:
            found[clause] = broken

    for number in range(programs):
        source = RandomSource(f"{seed}:{subject.record.id}:{subject.config.name}:{number}")
        judge(generate(subject, source, length, p2p=p2p and number % 2 == 1))
    if profile == "full":
        for entry in ENTRIES:
            for trial in trials(subject, entry):
                judge(trial.outcome)
    return found


@check
def random_programs(b: Bench) -> None:
    """Programs of random calls, in which the clause holds all the time."""
    if not b.subject.reach:
        raise NotTested("no page of RAM can be mapped for the device")
    found = _batch(b.subject, b.seed.split(":", 1)[0], b.profile)
    for clause, error in found.items():
        if clause == b.rule or not isinstance(error, Violation):
            raise error

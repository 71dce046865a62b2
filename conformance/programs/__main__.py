# SPDX-License-Identifier: MIT
"""python -m conformance.programs: so many random operations over all backends. Exit status 1 if a clause is broken."""

from __future__ import annotations

import fnmatch
import sys
from collections import Counter
from itertools import cycle

import click

from ..facts import Subject
from ..selection import known_backends, subject
from .generate import RandomSource
from .light import LightWorld
from .play import generate, run
from .program import minimise
from .world import World


def subjects(glob: str) -> list[Subject]:
    """Every machine to whose device memory can be mapped, of the backends that match."""
    found = [
        subject(record.id, config.name)
        for name, record in known_backends().items() if fnmatch.fnmatch(name, glob) for config in record.machines
    ]
    return [one for one in found if one.reach]


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--operations", type=click.IntRange(1), default=100_000, show_default=True)
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--length", type=click.IntRange(1), default=60, show_default=True, help="Operations of a program.")
@click.option("--light", is_flag=True, help="Judge nothing but that it does not crash: for sanitizers.")
@click.option("--backend", "-b", default="*", metavar="GLOB", help="Only these backends.")
def main(operations: int, seed: int, length: int, light: bool, backend: str) -> None:
    """Run random programs on every machine in turn, and print the shortest form of each that breaks a clause."""
    machines = subjects(backend)
    if not machines:
        raise click.UsageError(f"no backend matches {backend!r}")
    done = programs = 0
    broken: set[tuple[str, str]] = set()
    met: Counter[str] = Counter()
    for number, made in enumerate(cycle(machines)):
        if done >= operations:
            break
        p2p = number // len(machines) % 2 == 1 and made.record.p2pdma and made.machine.pci_p2pdma
        source = RandomSource(f"{seed}:{made.record.id}:{made.config.name}:{number}")
        outcome = generate(made, source, min(length, operations - done), p2p=p2p,
                           kind=LightWorld if light else World)
        done += len(outcome.program.calls)
        programs += 1
        met.update({f"{made.record.id} {what}": n for what, n in outcome.met.items()})
        kind = made.record.id, outcome.clause
        if outcome.broken is not None and kind not in broken:
            broken.add(kind)
            clause = outcome.clause
            small = minimise(outcome.program, lambda program, clause=clause: run(program).clause == clause)  # type: ignore
            click.echo(f"{made.record.id}/{made.config.name}: {run(small).broken}\n\n{small.code()}")
        if programs % 1000 == 0:
            print(f"{done} operations", file=sys.stderr, flush=True)
    for what, times in sorted(met.items()):
        click.echo(f"{times:7} times {what}")
    click.echo(f"{done} operations in {programs} programs on {len(machines)} machines: {len(broken)} broken")
    sys.exit(1 if broken else 0)


if __name__ == "__main__":
    main()

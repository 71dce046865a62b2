# SPDX-License-Identifier: MIT
"""dma-conformance oracle"""

from __future__ import annotations

import sys
from pathlib import Path

import click


@click.command("oracle")
@click.option("--kernel-source", "path", required=True, metavar="DIR", type=click.Path(exists=True, path_type=Path),
              help="A tree of Linux, or the tarball of a linux-source package.")
@click.option("--cases", type=click.IntRange(1), default=100_000, show_default=True, help="Per group.")
@click.option("--group", "-g", "names", multiple=True, help="Only these groups of functions.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--show", type=click.IntRange(0), metavar="CASE", help="What both sides see in one case of a group.")
def oracle_command(path: Path, cases: int, names: tuple[str, ...], seed: int, show: int | None) -> None:
    """Compare with Linux's own C: lib/scatterlist.c, sg_split.c, iommu-helper.c and iova.c of your tree, compiled here
    with AddressSanitizer and run beside ours on seeded cases. Nothing of Linux is part of this project."""
    from .build import BuildError
    from .compare import GROUPS, SHOWN, Oracle, OracleError, reproducer
    from .source import MissingSource, open_source

    for name in names:
        if name not in GROUPS:
            raise click.UsageError(f"there is no group {name!r}: {', '.join(GROUPS)}")
    if show is not None and len(names) != 1:
        raise click.UsageError("--show wants one --group")
    try:
        oracle = Oracle(open_source(path), seed)
        if show is not None:
            click.echo("\n".join(oracle.show(names[0], show)))
            return
        bad = 0
        click.echo(f"Linux {oracle.source.version}, seed {seed}")
        for name in names or GROUPS:
            result = oracle.run(name, cases)
            bad += len(result.differences)
            outside = f", {result.outside} where Linux leaves its memory" if result.outside else ""
            click.echo(f"{name:14} {result.cases} cases, {len(result.differences)} differences{outside}, "
                       f"{result.seconds:.1f} s  ({GROUPS[name]})")
            for number in result.differences[:SHOWN]:
                click.echo(f"    {reproducer(path, name, seed, number)}")
    except MissingSource as error:
        raise click.UsageError(str(error)) from None
    except (BuildError, OracleError) as error:
        raise click.ClickException(str(error)) from None
    sys.exit(1 if bad else 0)

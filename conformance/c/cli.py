# SPDX-License-Identifier: MIT
"""What a C compiler is told."""

from __future__ import annotations

import shlex

import click

from scatterlist import get_include


@click.command("cflags")
@click.option("--page-shift", type=click.IntRange(12, 16), help="Pages of 2^N bytes, not of 4096.")
@click.option("--libs", is_flag=True, help="For the linker instead: nothing, the loader hands everything over.")
def cflags_command(page_shift: int | None, libs: bool) -> None:
    """Print what compiles C code against this project's linux/*.h: gcc -shared -fPIC $(dma-conformance cflags)."""
    flags = [] if libs else [f"-I{get_include()}"]
    if page_shift is not None and not libs:
        flags.append(f"-DPAGE_SHIFT={page_shift}")
    click.echo(shlex.join(flags))

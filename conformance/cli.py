# SPDX-License-Identifier: MIT
"""The command line: what is there. The commands are in modules of their own (terminal.ELSEWHERE), imported when asked
for, so that ``--version`` and the shell's TAB wait for nothing."""

import click

from .terminal import Group


def _version(ctx: click.Context, _param: click.Parameter, asked: bool) -> None:
    if asked:
        from .version import project_version

        click.echo(f"dma-conformance, version {project_version()}")
        ctx.exit()


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_version,
              help="Show the version and exit.")
def main() -> None:
    """Linux's DMA mapping and PCI P2PDMA, every backend, on this machine."""

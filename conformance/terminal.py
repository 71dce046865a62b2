# SPDX-License-Identifier: MIT
"""What all commands have in common: where they are, the help, the errors."""

from __future__ import annotations

import os
from importlib import import_module
from typing import Any

import click

#: The commands as the help lists them.
SECTIONS = {
    "Run": ("run", "report", "explain", "merge", "diff", "candidates", "selftest", "campaign"),
    "Real kernels and machines": ("topology", "trace", "replay", "judge", "oracle", "audit"),
    "Write": ("new-backend", "cflags"),
    "Look up": ("backends", "rules", "completion"),
}

#: Where the commands are: their modules are imported when they are asked for.
ELSEWHERE = {
    "audit": "audit.cli:audit_command",
    "backends": "commands:backends_command",
    "campaign": "campaign.cli:campaign_command",
    "candidates": "commands:candidates_command",
    "cflags": "c.cli:cflags_command",
    "completion": "completion:completion_command",
    "diff": "outcomes.cli:diff_command",
    "explain": "commands:explain_command",
    "judge": "recorded.cli:judge_command",
    "merge": "outcomes.cli:merge_command",
    "new-backend": "c.scaffold:new_backend_command",
    "oracle": "oracle.cli:oracle_command",
    "replay": "commands:replay_command",
    "report": "commands:report_command",
    "rules": "commands:rules_command",
    "run": "commands:run_command",
    "selftest": "saboteurs.cli:selftest_command",
    "topology": "topology.cli:topology_command",
    "trace": "trace.cli:trace_command",
}

#: (what it is for, the command): the end of each command's help. A test runs those that need nothing of the user's.
EXAMPLES: dict[str, tuple[tuple[str, str], ...]] = {
    "": (
        ("the matrix of one backend, with Linux's own faults", "run --backend jazz_dma_ops --known"),
        ("what a rule says, and who breaks it", "explain DMA-13"),
        ("can these devices reach each other?", "topology lspci.txt"),
    ),
    "run": (
        ("everything, results in a folder", "run --out results"),
        ("some of it; names may be globs", "run -b 'sun4*' -r 'P2P-*' -r DMA-08"),
        ("a backend of your own", "run -b py:mypackage.mybackend:RECORD"),
        ("a third of it, on one of three computers", "run --shard 1/3 --out part1"),
    ),
    "report": (
        ("on this terminal", "report results"),
        ("for a mail or a wiki", "report results --format markdown"),
        ("for a CI system", "report results --format junit"),
    ),
    "replay": (
        ("all recorded runs", "replay"),
        ("those of one backend", "replay --backend jazz_dma_ops"),
        ("a folder of your own", "replay myruns --max-show 5"),
    ),
    "judge": (("which rules did the recorded kernels break?", "judge conformance/vectors/mips"),),
    "backends": (("ids, machines and sources", "backends"), ("the known faults, too", "backends --json")),
    "candidates": (
        ("from a run that there is", "candidates results"),
        ("for some backends, run here", "candidates -b jazz_dma_ops --verdicts"),
    ),
    "rules": (("all of them", "rules"), ("with checks, saboteurs and hashes of the source", "rules --json")),
    "explain": (
        ("a rule", "explain P2P-41"),
        ("run a case again, and see its timeline", "explain DMA-08:jazz_dma_ops:pica61:legacy"),
        ("a route of the P2PDMA axis", "explain route/same-switch:dma_direct:x86_64:legacy"),
        ("the case as a program", "explain DMA-08:jazz_dma_ops:pica61:legacy --form python"),
    ),
    "topology": (
        ("record it, as root for ACS: sudo lspci -nnvvv > lspci.txt", "topology lspci.txt"),
        ("the GPUs among themselves", "topology lspci.txt --class gpu"),
        ("a NIC and every NVMe drive", "topology lspci.txt -d 65:00.0 -c nvme"),
        ("would it work with ACS off?", "topology lspci.txt --what-if acs-off"),
        ("and with the next kernel?", "topology lspci.txt --what-if kernel=next"),
        ("this machine", "topology --live"),
    ),
    "audit": (("has the ground of a rule moved?", "audit --kernel-source /usr/src/linux"),),
    "merge": (("the shards of a run", "merge part1 part2 part3 --out whole"),),
    "diff": (("what is better, what is worse", "diff results.old results"),),
    "trace": (
        ("check a driver", "trace examples/trace/e1000e.trace.gz"),
        ("and see it on other machines", "trace examples/trace/e1000e.trace.gz -b 'iommu*' -b jazz_dma_ops"),
    ),
    "cflags": (("compile C code of a driver", "cflags"),),
    "oracle": (("ours against Linux's own C", "oracle --kernel-source linux-source-6.1.tar.xz --cases 1000"),),
    "selftest": (("does the suite notice?", "selftest"), ("who is planted", "selftest --list")),
    "campaign": (
        ("random programs on every machine, on all processors", "campaign --out campaign"),
        ("go on with it", "campaign --out campaign --resume"),
        ("lists of thousands of entries, on one backend", "campaign -b jazz_dma_ops --shape lists --seeds 0:64"),
    ),
    "new-backend": (
        ("a table of yours in C", "new-backend mine --lang c"),
        ("in Python, in a folder of its own", "new-backend mine --lang python --out mine"),
    ),
    "completion": (("for this session of bash", 'eval "$(dma-conformance completion bash)"'),),
}


def epilogue(name: str) -> str:
    lines = ["\b", "Examples:"]
    for told, command in EXAMPLES[name]:
        whole = command if command.startswith("eval") else f"dma-conformance {command}"
        lines += [f"  # {told}", f"  {whole}"]
    return "\n".join(lines)


class Group(click.Group):
    """Sections and examples in the help; errors that have a sentence for the user become usage errors; NO_COLOR."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.epilog = epilogue("")

    def add_command(self, cmd: click.Command, name: str | None = None) -> None:
        if cmd.epilog is None and (name or cmd.name) in EXAMPLES:
            cmd.epilog = epilogue(name or cmd.name or "")
        super().add_command(cmd, name)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*self.commands, *ELSEWHERE})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.commands and cmd_name in ELSEWHERE:
            module, _, attribute = ELSEWHERE[cmd_name].partition(":")
            self.add_command(getattr(import_module(f".{module}", __package__), attribute), cmd_name)
        return super().get_command(ctx, cmd_name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        listed = {name for names in SECTIONS.values() for name in names}
        others = tuple(name for name in self.list_commands(ctx) if name not in listed)
        for title, names in {**SECTIONS, "More": others}.items():
            commands = [(name, self.get_command(ctx, name)) for name in names]
            rows = [(name, command.get_short_help_str(200)) for name, command in commands if command is not None]
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows)

    def invoke(self, ctx: click.Context) -> Any:
        if os.environ.get("NO_COLOR"):          # rich knows it, click does not: https://no-color.org
            ctx.color = False
        try:
            return super().invoke(ctx)
        except ValueError as error:
            from .results import ResultsError
            from .rules import RuleError
            from .selection import SelectionError

            if isinstance(error, ResultsError):
                raise Sentence(str(error)) from None
            if isinstance(error, SelectionError | RuleError):
                raise click.UsageError(str(error)) from None
            raise


class Sentence(click.ClickException):
    """What is wrong with a file, in a sentence."""

    exit_code = 2

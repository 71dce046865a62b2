# SPDX-License-Identifier: MIT
"""Writes the pages that follow from the rule files, the backends' records and the kept results of the benchmarks.

    python docs/generate.py

A test fails if a committed page is not what this writes.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from arch import BackendRecord, backends
from conformance.rules import Rule, load_rules

HERE = Path(__file__).resolve().parent
RESULTS = HERE.parent / "benchmarks/results"
TRIED = HERE.parent / "benchmarks/tried.md"
HEAD = "<!-- SPDX-License-Identifier: MIT -->\n<!-- written by docs/generate.py -->\n"
TITLES = {"dma.toml": "The DMA API", "new.toml": "The newer DMA API", "p2pdma.toml": "PCI P2PDMA",
          "sg.toml": "Lists"}


def plain(words: str) -> str:
    """Words that Markdown would read as something else, on one line."""
    for character in ("\\", "|", "<", "*", "["):
        words = words.replace(character, f"\\{character}")
    return " ".join(words.split())


def counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def amount(value: float, unit: str) -> str:
    """A number a person can read: nanoseconds become µs, ms or s."""
    for size, name in ((1e9, "s"), (1e6, "ms"), (1e3, "µs")) if unit == "ns" else ():
        if value >= size:
            return f"{value / size:.3g} {name}"
    return f"{value:.4g} {unit}"


def table(headings: Iterable[str], rows: Iterable[Iterable[str]]) -> Iterator[str]:
    headings = list(headings)
    yield f"| {' | '.join(headings)} |"
    yield f"|{'---|' * len(headings)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"
    yield ""


def by_file(rules: Iterable[Rule]) -> dict[str, list[Rule]]:
    files: dict[str, list[Rule]] = {}
    for rule in rules:
        files.setdefault(rule.file, []).append(rule)
    return files


def not_tested() -> Iterator[str]:
    rules = load_rules().values()
    untested = [rule for rule in rules if rule.not_tested]
    yield "# What is not tested\n"
    yield (
        f"{len(untested)} of {len(rules)} rules have no check. Each says why; in a report their verdict is "
        "`not-tested`, never a pass.\n"
    )
    for file, group in by_file(untested).items():
        yield f"## {TITLES.get(file, file)}\n"
        yield from table(
            ("rule", "level", "says", "why there is no check"),
            ((rule.id, rule.level, plain(rule.text), plain(rule.not_tested)) for rule in group),
        )
    yield (
        "A rule that has checks is `not-tested` too on a machine where none of them can bring about what it speaks of; "
        "the report says so case by case."
    )


def applies(rule: Rule) -> str:
    facts = list(rule.applies_if)
    if rule.since:
        facts.append(f"kernel >= {rule.since}")
    if rule.until:
        facts.append(f"kernel < {rule.until}")
    return plain(", ".join(facts)) or "always"


def rule_pages() -> Iterator[str]:
    rules = load_rules().values()
    yield "# Rules\n"
    yield (
        f"{len(rules)} rules, {sum(1 for rule in rules if rule.checks)} with checks. `dma-conformance explain ID` "
        "tells the checks of a rule; why some have none is in [not-tested.md](not-tested.md).\n"
    )
    for file, group in by_file(rules).items():
        yield f"## {TITLES.get(file, file)}\n"
        yield from table(
            ("rule", "level", "group", "says", "applies if", "source", "checks"),
            (
                (rule.id, rule.level, rule.group, plain(rule.text), applies(rule), plain(str(rule.source)),
                 str(len(rule.checks)) if rule.checks else "none")
                for rule in group
            ),
        )


PROOFS = {
    "recorded": "recorded: compared with runs of a real kernel (on those machines that an emulator has)",
    "compiled": "compiled: compared with Linux's own C, compiled against stubs",
    "read": "read: by reading Linux's source only",
}


def backend_page(record: BackendRecord) -> Iterator[str]:
    """What makes a backend itself: its docstring, machines, proof, and Linux's faults in it."""
    yield f"# {record.id}\n"
    for paragraph in inspect.cleandoc(record.ops.__doc__ or "").split("\n\n"):
        yield f"{plain(paragraph)}\n"
    yield from table(("", ""), (
        (f"Source, Linux {record.kernel}", "; ".join(plain(one) for one in record.source)),
        ("Proof", f"[{record.proof}](../truth.md){PROOFS[record.proof].removeprefix(record.proof)}"),
        ("Hardware side", plain(record.walker)),
        ("P2PDMA", "the core lets peers' pages through" if record.p2pdma else "the core refuses peers' pages"),
        ("Entry points", ", ".join(f"`{name}`" for name in record.machines[0].build().dma_ops.ops)
         if record.machines[0].build().dma_ops is not None else "none: the path that Linux takes without a table"),
        *([("After unmap and flush", f"an access may still succeed: {plain(record.stale)}")] if record.stale else []),
    ))
    yield f"See it run:\n\n```\ndma-conformance run --backend {record.id} --known\n```\n"
    yield "## Machines\n"
    yield from table(("machine", "facts"), ((one.name, plain(one.facts)) for one in record.machines))
    yield "## Known faults of Linux\n"
    if not record.known:
        yield "None.\n"
        return
    yield "The model has them, too; a run reports them as `known`.\n"
    yield from table(
        ("breaks", "in Linux", "what happens", "on"),
        (
            (", ".join(one.rules), plain(one.source), plain(one.what), ", ".join(one.machines) or "all")
            for one in record.known
        ),
    )


def backend_pages() -> Iterator[str]:
    records = backends().values()
    machines = sum(len(record.machines) for record in records)
    faults = sum(len(record.known) for record in records)
    yield "# Backends\n"
    yield (
        f"{counted(len(records), 'backend')} on {counted(machines, 'machine')}, with "
        f"{counted(faults, 'documented fault')} of Linux's own. What `proof` means is in [truth.md](truth.md).\n"
    )
    yield from table(
        ("backend", "what it is", "proof", "P2PDMA", "machines", "known faults", "source"),
        (
            (f"[{one.id}](backends/{one.id}.md)", plain(one.summary), one.proof, "yes" if one.p2pdma else "no",
             str(len(one.machines)), str(len(one.known)), plain(one.source[0].split(":")[0]))
            for one in records
        ),
    )
    yield "```{toctree}\n:hidden:\n:glob:\n\nbackends/*\n```"


def speed_rows(results: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    for row in results["figures"]:
        ratio = "" if row["ratio"] is None else f"{row['ratio']:.2f}"
        if row["ratio"] is not None and row["spread"] is not None:
            ratio += " ({:.2f} to {:.2f})".format(*row["spread"])
        theirs = "" if row["yardstick"] is None else f"{amount(row['yardstick'], row['unit'])}, {plain(row['against'])}"
        count = "" if row["instructions"] is None else " / ".join(f"{one:,.0f}" for one in row["instructions"])
        goal = ""
        if row["goal"] is not None:
            goal = f"{row['goal']:g}" if row["ratio"] is not None else amount(row["goal"], row["unit"])
            goal += ", met" if row["met"] else ", **missed**"
        yield plain(row["case"]), amount(row["ours"], row["unit"]), theirs, ratio, count, goal


def speed() -> Iterator[str]:
    """The kept results of the benchmarks, and what was tried."""
    everything = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(RESULTS.glob("*.json"))]
    goals = [row for results in everything for row in results["figures"] if row["goal"] is not None]
    missed = [f"{row['benchmark']}, {row['case']}" for row in goals if not row["met"]]
    yield "# Speed\n"
    yield (
        f"{counted(len(goals), 'goal')}, {len(goals) - len(missed)} met. A figure with a yardstick is the median of "
        "the ratios of pairs, measured turn by turn in one process as processor time of the thread; the quartiles "
        "stand behind it. Linux's own code is compiled with -O2 from the user's source, without locks and atomics. A "
        "goal is the most that the ratio, or without a yardstick the number, may be.\n"
    )
    if missed:
        yield "Missed:\n"
        yield from (f"- {plain(one)}" for one in missed)
        yield ""
    for results in everything:
        facts = results["machine"]
        yield f"## {results['benchmark']}\n"
        yield f"```\n{results['command']}\n```\n"
        yield (
            f"{plain(facts['cpu'])}, {counted(facts['cpus'], 'processor')}, {facts['system']}, {facts['compiler']}, "
            f"Python {facts['python']}.\n"
        )
        if (RESULTS / f"{results['benchmark']}.svg").exists():
            yield f"![Bars of the figures, and their goals](../benchmarks/results/{results['benchmark']}.svg)\n"
        yield from table(("what", "ours", "yardstick", "ratio", "instructions, ours / yardstick", "goal"),
                         speed_rows(results))
    if TRIED.exists():
        yield "## Tried, and of no help\n"
        yield TRIED.read_text(encoding="utf-8").replace("\n## ", "\n### ")


PAGES: dict[str, Callable[[], Iterator[str]]] = {
    "backends.md": backend_pages,
    "not-tested.md": not_tested,
    "rules.md": rule_pages,
    "speed.md": speed,
    **{f"backends/{one.id}.md": partial(backend_page, one) for one in backends().values()},
}


def page(name: str) -> str:
    return HEAD + "\n".join(PAGES[name]()).rstrip() + "\n"


if __name__ == "__main__":
    (HERE / "backends").mkdir(exist_ok=True)
    for name in PAGES:
        (HERE / name).write_text(page(name), encoding="utf-8")

# SPDX-License-Identifier: MIT
"""Renders a report: the matrix of backends and groups of rules, the routes of P2PDMA, and what went wrong."""

from __future__ import annotations

import io
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from arch import BackendRecord, Known

from . import candidates
from . import detection as detections
from .detection import Detection
from .execute import Result
from .faults import script
from .reproduce import explain
from .results import Report
from .rules import load_rules
from .selection import DESIGNS, ROUTES, known_backends, route_id
from .verdict import Tally, Verdict

WORDS = {
    Verdict.CRASHED: "CRASHED",
    Verdict.TIMEOUT: "TIMEOUT",
    Verdict.BROKEN: "BROKEN",
    Verdict.FAIL: "FAIL",
    Verdict.KNOWN: "known",
    Verdict.WAIVED: "waived",
    Verdict.PASS: "ok",
    Verdict.NOT_TESTED: "untested",
    Verdict.NOT_APPLICABLE: "n/a",
}
STYLES = {
    Verdict.CRASHED: "bold red",
    Verdict.TIMEOUT: "bold red",
    Verdict.BROKEN: "bold magenta",
    Verdict.FAIL: "bold red",
    Verdict.KNOWN: "yellow",
    Verdict.WAIVED: "yellow",
    Verdict.PASS: "green",
    Verdict.NOT_TESTED: "dim",
    Verdict.NOT_APPLICABLE: "dim",
}
ROUTE_STYLES = {"native": "green", "fallback": "cyan", "refused": "blue", "unsafe": "bold red", "absent": "dim"}
LEGEND = "n native, f fallback, r refused, U unsafe, u on some machines, - absent"
TABLES = (("DMA", "legacy", "DMA API"), ("P2P", "legacy", "PCI P2PDMA"), ("SG", "legacy", "Lists"),
          ("", "new", "Newer DMA API"))
_MECHANISMS = ("unsafe", "fallback", "native", "refused", "absent")     # which one speaks for several machines


@dataclass(frozen=True, slots=True)
class Cell:
    """What one cell says: words that can be read without colour, and a style."""

    text: str
    style: str = ""


@dataclass(slots=True)
class Matrix:
    """Rows of cells under headings."""

    title: str
    headings: list[str]
    rows: list[tuple[str, list[Cell]]] = field(default_factory=list)
    first: str = "backend"
    wrap: bool = False                  # sentences, which may take several lines


@dataclass(frozen=True, slots=True)
class Finding:
    """One rule that one backend does not keep, on some of its machines."""

    result: Result
    machines: tuple[str, ...]

    @property
    def where(self) -> str:
        return self.shown(self.machines)

    @staticmethod
    def shown(machines: Sequence[str]) -> str:
        return ", ".join(machines[:3]) + (f" and {len(machines) - 3} more" if len(machines) > 3 else "")


def cell(tally: Tally) -> Cell:
    head = tally.headline
    word = WORDS[head]
    if head.bad or head in (Verdict.KNOWN, Verdict.WAIVED):
        word = f"{word} {tally[head]}"
    return Cell(word, STYLES[head])


def route_cell(results: Sequence[Result]) -> Cell:
    """policy / mechanism, or the mechanism alone where the policy lets P2P memory arrive.

    The word is what most machines show; those that map silently to the wrong place are counted beside it.
    """
    if not results:
        return Cell("–", ROUTE_STYLES["absent"])
    if any(not result.mechanism for result in results):
        return cell(Tally(result.verdict for result in results))
    counts = Counter(result.mechanism for result in results if result.mechanism != "absent")
    word = max(counts, key=lambda name: (counts[name], -_MECHANISMS.index(name))) if counts else "absent"
    style = "unsafe" if counts["unsafe"] else word
    if counts["unsafe"] and word != "unsafe":
        word = f"{word}, unsafe {counts['unsafe']}/{len(results)}"
    if results[0].policy == "supported" or not counts:
        return Cell(word, ROUTE_STYLES[style])
    return Cell(f"refused / {word}", ROUTE_STYLES["refused"])


def _groups(prefix: str, api: str) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    for rule in load_rules().values():
        if rule.id.startswith(prefix) and rule.api == api:
            groups.setdefault(rule.group, []).append(rule.id)
    return groups


def matrices(report: Report) -> list[Matrix]:
    """The DMA APIs by groups of rules; PCI P2PDMA by groups and routes. Groups of which nothing ran are left out."""
    backends = list(report.header["backends"])
    if "driver" in report.header:
        return [_driver(report)]
    made = []
    for prefix, api, title in TABLES:
        groups = _groups(prefix, api)
        tallies: dict[tuple[str, str], Tally] = {}
        for result in report.results:
            for group, ids in groups.items():
                if result.what in ids:
                    tallies.setdefault((result.backend, group), Tally()).add(result.verdict)
        shown = [
            group
            for group in groups
            if any(verdict.observed for name in backends for verdict in tallies.get((name, group), Tally()))
        ]
        if shown:
            matrix = Matrix(title, shown)
            for name in backends:
                matrix.rows.append((name, [cell(tallies.get((name, group), Tally())) for group in shown]))
            made.append(matrix)
    routes: dict[tuple[str, str], list[Result]] = {}
    for result in report.results:
        if result.kind == "route" and result.api == "legacy":
            routes.setdefault((result.backend, result.what), []).append(result)
    if routes:
        matrix = Matrix("P2P routes: policy / mechanism", list(ROUTES))
        for name in backends:
            matrix.rows.append((name, [route_cell(routes.get((name, route_id(route)), [])) for route in ROUTES]))
        made.append(matrix)
        made.append(designs(report))
    return made


def _driver(report: Report) -> Matrix:
    """A driver under test: every backend by both APIs."""
    apis = report.header["apis"]
    tallies: dict[tuple[str, str], Tally] = {}
    for result in report.results:
        tallies.setdefault((result.backend, result.api), Tally()).add(result.verdict)
    matrix = Matrix(f"Driver {report.header['driver']['name']}", [f"{api} API" for api in apis])
    for name in report.header["backends"]:
        matrix.rows.append((name, [cell(tallies.get((name, api), Tally())) for api in apis]))
    return matrix


def designs(report: Report) -> Matrix:
    """The mechanism of every route under every design, a letter each."""
    found = candidates.by_design(report.results)
    shown = [name for name in DESIGNS if found[name]]
    matrix = Matrix(f"P2P designs: a letter for each of {', '.join(ROUTES)}; {LEGEND}", ["policy", *shown])
    for name in report.header["backends"]:
        policies = {one.policy for one in report.results if one.backend == name and one.what == route_id("same-switch")}
        policy = " ".join(sorted(policies - {""})) or "–"
        cells = [candidates.glyphs(found[design][name]) if name in found[design] else "–" for design in shown]
        matrix.rows.append((name, [
            Cell(policy, ROUTE_STYLES["native" if policy == "supported" else "refused"]),
            *(Cell(text, ROUTE_STYLES["unsafe"] if "u" in text.lower() else "") for text in cells),
        ]))
    return matrix


def comparison(report: Report) -> Matrix | None:
    """What each design costs, and where a bug would hide; None for a report without routes."""
    lines = candidates.summary(report)
    if not lines:
        return None
    matrix = Matrix("What each design costs", [line.id for line in lines], first="", wrap=True)
    matrix.rows = [(question, [Cell(answer) for answer in answers]) for question, answers in candidates.screen(lines)]
    return matrix


def findings(results: Iterable[Result], *verdicts: Verdict) -> list[Finding]:
    """What came to one of the verdicts, one per backend and rule, with the machines that showed it."""
    found: dict[tuple[str, str, Verdict], list[Result]] = {}
    for result in results:
        if result.verdict in verdicts:
            found.setdefault((result.what, result.backend, result.verdict), []).append(result)
    return [Finding(rows[0], tuple(row.machine for row in rows)) for rows in found.values()]


@dataclass(frozen=True, slots=True)
class Fault:
    """A known fault of Linux that this run showed: where, and how anyone can see it."""

    known: Known
    record: BackendRecord
    machines: tuple[str, ...]

    @property
    def title(self) -> str:
        return f"{', '.join(self.known.rules)} {self.record.id} on {Finding.shown(self.machines)}"


def faults(results: Sequence[Result]) -> list[Fault]:
    """The documented faults behind the verdicts `known`, of the backends that are installed, those first that have a
    reproducer."""
    shown: dict[tuple[str, str], list[Result]] = {}
    for result in results:
        if result.verdict is Verdict.KNOWN:
            shown.setdefault((result.backend, result.what), []).append(result)
    found = []
    for record in known_backends().values():
        for known in record.known:
            machines = dict.fromkeys(
                result.machine
                for rule in known.rules
                for result in shown.get((record.id, rule), ())
                if (not known.machines or result.machine in known.machines)
                and (not known.checks or not result.check or result.check in known.checks)
            )
            if machines:
                found.append(Fault(known, record, tuple(machines)))
    return sorted(found, key=lambda fault: not fault.known.reproducer)


def is_good(report: Report) -> bool:
    """Complete, something was observed, nothing failed that is not known or waived, and nothing is stale."""
    return not any(result.verdict.bad for result in report.results) and not wrongs(report)


def wrongs(report: Report) -> list[str]:
    """A sentence for each thing that makes the run's status 1 beside failures."""
    said = []
    if report.truncated:
        plan = report.header["plan"]["cases"]
        whole = report.header["shard"] == [1, 1]
        missing = f"{plan - len(report.results)} of its {plan} cases" if whole else "cases"
        said.append(f"the file has no footer: the run was cut short, and {missing} are missing")
    for stale in (report.footer or {}).get("stale_knowns", []):
        said.append(f"stale known: {stale} is documented as a fault, but no machine shows it")
    if not any(result.verdict.observed for result in report.results):
        said.append("nothing was observed, so this is no pass")
    return [*said, *report.wrong]


def closing(report: Report) -> list[str]:
    """The last lines: counts, and what is wrong with the run itself."""
    tally = Tally(result.verdict for result in report.results)
    return [f"{tally.total} cases: {tally}", *wrongs(report)]


def table(matrix: Matrix) -> Table:
    drawn = Table(title=matrix.title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    drawn.add_column(matrix.first, no_wrap=True)
    for heading in matrix.headings:
        drawn.add_column(heading, no_wrap=not matrix.wrap, ratio=1 if matrix.wrap else None)
    for name, cells in matrix.rows:
        drawn.add_row(name, *(Text(one.text, style=one.style) for one in cells))
    return drawn


class Fitted:
    """A matrix as one table, or below each other as many as the terminal's width needs: no cell is cut."""

    def __init__(self, matrix: Matrix) -> None:
        self.matrix = matrix

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if self.matrix.wrap:
            yield table(self.matrix)
            return
        for part in self._parts(options.max_width):
            yield table(part)

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement(20, options.max_width)

    def _parts(self, width: int) -> Iterator[Matrix]:
        matrix = self.matrix
        first = max(len(matrix.first), *(len(name) for name, _ in matrix.rows), 0)
        begin, room = 0, width - first
        for at, heading in enumerate(matrix.headings):
            needs = 2 + max(len(heading), *(len(cells[at].text) for _, cells in matrix.rows), 0)
            if needs > room and at > begin:
                yield self._part(begin, at)
                begin, room = at, width - first
            room -= needs
        yield self._part(begin, len(matrix.headings))

    def _part(self, begin: int, end: int) -> Matrix:
        matrix = self.matrix
        return replace(matrix, title=matrix.title if not begin else f"{matrix.title}, continued",
                       headings=matrix.headings[begin:end],
                       rows=[(name, cells[begin:end]) for name, cells in matrix.rows])


def text(report: Report, *, known: bool = False, detection: Detection | None = None) -> RenderableType:
    """For a terminal. known: list the known faults too."""
    parts: list[RenderableType] = []
    for matrix in (*matrices(report), comparison(report)):
        if matrix is not None:
            parts += [Fitted(matrix), Text()]
    kinds = [*(verdict for verdict in Verdict if verdict.bad), Verdict.WAIVED]
    for finding in findings(report.results, *kinds):
        result = finding.result
        line = Text(f"{WORDS[result.verdict]} {result.what} {result.backend}", style=STYLES[result.verdict])
        line.append(f" on {finding.where}: {result.detail}", style="default")
        parts += [line, Text(f"    {explain(report.header, result)}", style="dim")]
    parts += _known_faults(report, everything=known)
    if detection is not None:
        parts += [*detections.text(detection, report.header["rules_hash"]), Text()]
    parts += [Text(line) for line in closing(report)]
    return Group(*parts)


def _known_faults(report: Report, *, everything: bool) -> list[RenderableType]:
    """Those with a reproducer, which belong to the newest tree; the rest only if everything is asked for."""
    found = faults(report.results)
    chosen = [fault for fault in found if everything or fault.known.reproducer]
    if not found:
        return []
    parts: list[RenderableType] = [Text("Known faults of Linux", style="bold")]
    for fault in chosen:
        line = Text(fault.title, style=STYLES[Verdict.KNOWN])
        line.append(f": {fault.known.what}", style="default")
        parts += [line, Text(f"    in {fault.known.source}", style="dim")]
        if fault.known.reproducer:
            parts.append(Text("".join(f"    {row}\n" for row in script(fault.record, fault.known).splitlines())
                              if everything else f"    dma-conformance explain {fault.known.rules[0]} has a reproducer",
                              style="dim"))
    if len(chosen) < len(found):
        parts.append(Text(f"and {len(found) - len(chosen)} more, which --known lists"))
    return [*parts, Text()]


def _escape(words: str) -> str:
    return words.replace("|", "\\|").replace("<", "&lt;")


def markdown(report: Report, detection: Detection | None = None) -> str:
    """For a forge's comment or job summary."""
    head = report.header
    out = [f"# dma-conformance {head['version']}: {head['profile']}, seed {head['seed']}", ""]
    for matrix in (*matrices(report), comparison(report)):
        if matrix is None:
            continue
        out += [f"## {matrix.title}", "", f"| {matrix.first} | " + " | ".join(matrix.headings) + " |"]
        out.append("|---" * (len(matrix.headings) + 1) + "|")
        out += [f"| {name} | " + " | ".join(one.text for one in cells) + " |" for name, cells in matrix.rows]
        out.append("")
    for title, verdicts in (
        ("Failures", [verdict for verdict in Verdict if verdict.bad]),
        ("Waived", [Verdict.WAIVED]),
    ):
        rows = findings(report.results, *verdicts)
        if rows:
            out += [f"## {title}", "", "| verdict | rule | backend | machines | seen |", "|---|---|---|---|---|"]
            out += [
                f"| {row.result.verdict.value} | {row.result.what} | {row.result.backend} | {row.where} "
                f"| {_escape(row.result.detail)} |"
                for row in rows
            ]
            out.append("")
    known = faults(report.results)
    if known:
        out += ["## Known faults of Linux", ""]
        out += ["| rules | backend | machines | what happens | in |", "|---|---|---|---|---|"]
        out += [
            f"| {', '.join(one.known.rules)} | {one.record.id} | {Finding.shown(one.machines)} "
            f"| {_escape(one.known.what)} | {_escape(one.known.source)} |"
            for one in known
        ]
        out.append("")
    for one in known:
        if one.known.reproducer:
            out += [f"### {one.title}", "", "```python", script(one.record, one.known).rstrip(), "```", ""]
    if detection is not None:
        out += detections.markdown(detection, report.header["rules_hash"])
    return "\n".join([*out, *closing(report), ""])


def print_text(
    console: Console, report: Report, *, known: bool = False, detection: Detection | None = None
) -> None:
    console.print(text(report, known=known, detection=detection), soft_wrap=True)


def svg(report: Report) -> str:
    """The matrices as a picture that loads nothing from elsewhere."""
    parts: list[RenderableType] = []
    for matrix in matrices(report):
        parts += [table(matrix), Text()]
    tally = Tally(result.verdict for result in report.results)
    whole = Group(*parts, Text(f"{tally.total} cases: {tally}"))
    ruler = Console(file=io.StringIO(), width=400)
    width = ruler.measure(whole).maximum
    paper = Console(file=io.StringIO(), record=True, width=width, force_terminal=True, color_system="truecolor")
    paper.print(whole)
    drawn = paper.export_svg(title=f"dma-conformance {report.header['version']}", unique_id="dma")
    return re.sub(r"\s*@font-face \{.*?\}(?=\n)", "", drawn, flags=re.DOTALL)

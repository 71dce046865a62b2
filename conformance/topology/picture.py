# SPDX-License-Identifier: MIT
"""The tree as a picture, with the verdict of each pair in a table below it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape

from dma_ops.pci import ACS_CR, ACS_EC, ACS_RR, PciDev

from ..html.timeline import standalone
from .machine import Machine
from .render import KINDS, device_class, grown
from .verdict import Verdict

ROW, INDENT, LEFT = 30, 26, 14
CHARACTER = 6.8
MOST = 24                               # devices in the table of pairs
SHORT = {"BUS_ADDR": "BUS", "THRU_HOST_BRIDGE": "HOST", "NOT_SUPPORTED": "no", "UNKNOWN": "?"}
LEGEND = ("BUS: below the common bridge (BUS_ADDR)", "HOST: through the host bridge (THRU_HOST_BRIDGE)",
          "no: NOT_SUPPORTED", "?: UNKNOWN, it depends on what the files do not show")


def picture(machine: Machine, chosen: Sequence[PciDev], verdicts: Sequence[Verdict], *, everything: bool = False,
            notes: Sequence[str] = ()) -> str:
    """An SVG file. notes: lines above the tree."""
    numbers = {dev.name: number for number, dev in enumerate(chosen, 1)}
    nodes: list[str] = []
    y = 36 + 17 * len(notes)
    widest = max(420.0, *(len(note) * CHARACTER for note in notes))
    for host, tree in grown(machine, chosen, everything=everything):
        label = f"host bridge {host.domain:04x}:{host.bus:02x}"
        if host in machine.fragments:
            label += f" ({machine.fragments[host]})"
        nodes.append(f'<text class="big" x="{LEFT}" y="{y}">{escape(label)}</text>')
        trunks: dict[int, float] = {0: y + 6.0}
        for dev, depth in tree:
            y += ROW
            trunk, x = LEFT + 8 + depth * INDENT, LEFT + 24 + depth * INDENT
            nodes.append(f'<path class="wire" d="M{trunk},{trunks[depth]}V{y - 5}H{x}"/>')
            made, wide = _node(machine, dev, x, y, numbers.get(dev.name))
            nodes.append(made)
            trunks[depth] = y - 5.0
            trunks[depth + 1] = y + 5.0
            widest = max(widest, x + wide)
        y += ROW + 14
    table, wide, y = _pairs(chosen, verdicts, y)
    widest = max(widest, wide)
    above = [f'<text class="soft" x="{LEFT}" y="{18 + 17 * i}">{escape(note)}</text>' for i, note in enumerate(notes)]
    out = (f'<svg class="tl" xmlns="http://www.w3.org/2000/svg" width="{widest + LEFT:.0f}" height="{y + 12}" '
           f'viewBox="0 0 {widest + LEFT:.0f} {y + 12}" role="img" aria-label="PCI tree and P2PDMA verdicts">'
           f'{"".join(above)}{"".join(nodes)}{"".join(table)}</svg>')
    return standalone(out)


def _node(machine: Machine, dev: PciDev, x: float, y: float, number: int | None) -> tuple[str, float]:
    """A function: its address, kind and class in a box, ACS in another. Answers the drawing and its width."""
    function = machine.function(dev)
    kind = KINDS[function.kind] if function.kind is not None else "bridge" if function.secondary else ""
    words = [function.name, function.ids, kind, device_class(function), "VF" if function.physfn is not None else ""]
    said = "  ".join(filter(None, ([f"#{number}"] if number else []) + words))
    wide = len(said) * CHARACTER + 14
    look = "node chosen" if number else "node"
    drawn = (f'<rect class="{look}" x="{x}" y="{y - 17}" width="{wide:.0f}" height="23" rx="4"/>'
             f'<text x="{x + 7}" y="{y - 1}" xml:space="preserve">{escape(said)}'
             f"<title>{escape(function.description or function.name)}</title></text>")
    acs, redirects = "", False
    if not function.acs_known:
        acs = "ACS ?"
    elif function.acs is not None:
        names = [name for bit, name in ((ACS_RR, "RR"), (ACS_CR, "CR"), (ACS_EC, "EC")) if function.acs & bit]
        acs, redirects = ("ACS " + " ".join(names), True) if names else ("ACS off", False)
    if acs:
        more = len(acs) * CHARACTER + 10
        kind = "redirects" if redirects else "UNKNOWN" if "?" in acs else "node"
        drawn += (f'<rect class="{kind}" x="{x + wide + 5:.0f}" y="{y - 17}" width="{more:.0f}" height="23" rx="11"/>'
                  f'<text x="{x + wide + 10:.0f}" y="{y - 1}">{acs}</text>')
        wide += more + 5
    return drawn, wide


def _pairs(chosen: Sequence[PciDev], verdicts: Sequence[Verdict], y: int) -> tuple[list[str], float, int]:
    """The table of pairs: its drawing, its right edge, its lower edge."""
    of = {frozenset((verdict.provider, verdict.client)): verdict for verdict in verdicts}
    shown = list(chosen)[:MOST]
    cell = 46
    left = LEFT + int(len(f"#{len(shown)} {shown[0].name}") * CHARACTER) + 12
    out = [f'<text class="big" x="{LEFT}" y="{y}">Peer-to-peer verdict of each pair</text>']
    y += 22
    for column in range(len(shown) - 1):
        out.append(f'<text x="{left + column * cell + cell / 2:.0f}" y="{y}" text-anchor="middle">#{column + 1}</text>')
    for row, dev in enumerate(shown):
        y += 24
        out.append(f'<text x="{LEFT}" y="{y - 2}">#{row + 1} {dev.name}</text>')
        for column, other in enumerate(shown[:row]):
            verdict = of.get(frozenset((dev.name, other.name)))
            if verdict is not None:
                out += _pair(verdict, left + column * cell, y, cell)
    if len(chosen) > MOST:
        y += 20
        out.append(f'<text class="soft" x="{LEFT}" y="{y}">and {len(chosen) - MOST} more devices: --device</text>')
    y += 6
    for line in LEGEND:
        y += 17
        out.append(f'<text class="soft" x="{LEFT}" y="{y}">{escape(line)}</text>')
    return out, left + len(shown) * cell, y


def _pair(verdict: Verdict, x: float, y: int, cell: int) -> Iterator[str]:
    far = "" if verdict.distance is None else f", distance {verdict.distance}"
    yield (f'<rect class="{verdict.map_type}" x="{x + 1}" y="{y - 16}" width="{cell - 3}" height="21" rx="3"/>'
           f'<text x="{x + cell / 2:.0f}" y="{y - 1}" text-anchor="middle">{SHORT[verdict.map_type]}'
           f"<title>{verdict.provider} -> {verdict.client}: {verdict.map_type}{far}</title></text>")

# SPDX-License-Identifier: MIT
"""Which places rules and records stand on, and what a kernel tree has become of them.

A rule's place is in its own source key, with its hash. A record says in words where it comes from, "file: functions";
what of it names a function, a macro or a table is in pins.json, by file and name, with the hash of Linux 6.1.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from arch import BackendRecord

from ..facts import kernel_number
from ..rules import Rule
from .places import digest, find, matching

Status = Literal["unchanged", "moved", "changed", "gone", "unpinned"]
BAD: tuple[Status, ...] = ("changed", "gone")
KERNELS = ("6.1", "6.12")               # the trees from which hashes were taken: of the first that has the rule
PINS = Path(str(files("conformance.audit").joinpath("pins.json")))
#: Where a place that left its file may have gone: beside it, or here.
NEAR = ("include/linux", "kernel/dma", "drivers/iommu", "drivers/pci")


class TreeError(ValueError):
    """A folder that is no kernel tree; the message is one sentence for the user."""


@dataclass(frozen=True, slots=True)
class Pin:
    """A place, its hash, and what stands on it: "DMA-13", or "alpha_pci_ops"."""

    file: str
    name: str
    sha256: str
    used_by: tuple[str, ...]
    since: str = ""

    def __str__(self) -> str:
        return f"{self.file}: {self.name}"


@dataclass(frozen=True, slots=True)
class Finding:
    pin: Pin
    status: Status
    where: str = ""                     # the file in which a place that left its own was found

    def as_json(self) -> dict[str, Any]:
        return {
            "status": self.status, "file": self.pin.file, "name": self.pin.name, "used_by": list(self.pin.used_by),
            "where": self.where,
        }


def version_of(tree: Path) -> str:
    """"6.12" of a kernel tree. Raises TreeError."""
    try:
        head = (tree / "Makefile").read_text(encoding="utf-8", errors="replace")[:400]
    except OSError:
        head = ""
    numbers = [re.search(rf"^{key} = (\d+)$", head, re.MULTILINE) for key in ("VERSION", "PATCHLEVEL")]
    if not all(numbers):
        raise TreeError(f"{tree} is no tree of the kernel: its Makefile tells no VERSION and PATCHLEVEL")
    return ".".join(number[1] for number in numbers if number)


# -- what is pinned --------------------------------------------------------------------------------------------------


def kernel_of(rule: Rule) -> str:
    """The kernel from which the hash of a rule's place is taken, "" if none of KERNELS has it."""
    needed = kernel_number(rule.since) if rule.since else 0
    return next((kernel for kernel in KERNELS if needed <= kernel_number(kernel)), "")


def rule_texts(rule: Rule, tree: Path) -> list[str]:
    """What a tree has at all the places of a rule; empty if one of them is not there."""
    texts = []
    for name in rule.source.symbol.split(", "):
        found = find(tree / rule.source.file, name)
        if not found:
            return []
        texts += found
    return texts


def rule_pins(rules: Iterable[Rule]) -> list[Pin]:
    return [
        Pin(rule.source.file, rule.source.symbol, rule.source.sha256, (rule.id,), rule.since) for rule in rules
    ]


@cache
def record_pins() -> tuple[Pin, ...]:
    """Those of pins.json."""
    return tuple(
        Pin(file, name, row["sha256"], tuple(row["used_by"]))
        for file, names in json.loads(PINS.read_text(encoding="utf-8")).items()
        for name, row in names.items()
    )


_WORD = re.compile(r"[A-Za-z]?\w*_\w*\*?|[A-Z]{3,}\w*\*?")


def named(text: str) -> Iterator[tuple[str, list[str]]]:
    """(file, names) of "a.c: f, g_*; b.c: h", as far as it names anything."""
    for part in text.split(";"):
        file, colon, rest = part.strip().partition(": ")
        if colon and re.fullmatch(r"[\w/.*{},\- ]+\.[ch]", file):
            names = list(dict.fromkeys(_WORD.findall(rest)))
            for one in file.split(" and "):
                yield one, names


def resolve(tree: Path, file: str, near: Iterable[str]) -> str:
    """The whole path of a file that a record names in short: beside one of near, or below one of their folders."""
    if (tree / file).exists():
        return file
    for other in near:
        for folder in Path(other).parents:
            if str(folder) != "." and (tree / folder / file).exists():
                return str(folder / file)
    return ""


def places_of(record: BackendRecord, tree: Path) -> Iterator[tuple[str, str]]:
    """(file, name) of everything that a record names and the tree has."""
    own = [file for text in record.source for file, _ in named(text)]
    for text in (*record.source, *(known.source for known in record.known)):
        near = list(own)
        for short, names in named(text):
            file = resolve(tree, short, near)
            near.append(file or short)
            for name in names:
                for one in matching(tree / file, name) if "*" in name else [name]:
                    if file and find(tree / file, one):
                        yield file, one


def collect(records: Iterable[BackendRecord], tree: Path) -> dict[str, dict[str, dict[str, Any]]]:
    """What pins.json has to be, by a tree of KERNELS[0]."""
    used: dict[tuple[str, str], list[str]] = {}
    for record in records:
        for place in dict.fromkeys(places_of(record, tree)):
            used.setdefault(place, []).append(record.id)
    out: dict[str, dict[str, dict[str, Any]]] = {}
    for (file, name), ids in sorted(used.items()):
        out.setdefault(file, {})[name] = {"sha256": digest(find(tree / file, name)), "used_by": ids}
    return out


# -- what became of it -----------------------------------------------------------------------------------------------


def audit(pins: Iterable[Pin], tree: Path) -> list[Finding]:
    """What a tree has made of the places; those of rules that a later kernel brings are left out. Raises TreeError."""
    number = kernel_number(version_of(tree))
    return [_look(pin, tree) for pin in pins if not pin.since or kernel_number(pin.since) <= number]


def _look(pin: Pin, tree: Path) -> Finding:
    if not pin.sha256:
        return Finding(pin, "unpinned")
    texts = _texts(tree / pin.file, pin.name)
    if texts:
        return Finding(pin, "unchanged" if digest(texts) == pin.sha256 else "changed")
    changed = ""
    for path in _near(tree, pin.file):
        texts = _texts(path, pin.name)
        if texts:
            where = str(path.relative_to(tree))
            if digest(texts) == pin.sha256:
                return Finding(pin, "moved", where)
            changed = changed or where
    return Finding(pin, "changed", changed) if changed else Finding(pin, "gone")


def _texts(path: Path, names: str) -> list[str]:
    found = [find(path, name) for name in names.split(", ")]
    return [text for texts in found for text in texts] if all(found) else []


def _near(tree: Path, file: str) -> Iterator[Path]:
    own = tree / file
    kinds = {".c": ("*.c", "*.h"), ".h": ("*.h", "*.c"), ".rst": ("*.rst",)}.get(own.suffix, ())
    for folder in dict.fromkeys((own.parent, *(tree / near for near in NEAR))):
        for kind in kinds:
            if own.suffix != ".rst" or folder == own.parent:
                yield from sorted(path for path in folder.glob(kind) if path != own)

# SPDX-License-Identifier: MIT
"""The rules: data in *.toml beside this file, one table per clause, loaded with strict validation."""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from functools import cache
from importlib.resources import files
from typing import Any, Literal, get_args

from ..facts import UnknownFact, parse_fact

__all__ = ["Api", "Rule", "RuleError", "Source", "fingerprint", "load_rules", "parse_rules"]

Level = Literal["must", "should", "may"]
Api = Literal["legacy", "new"]          # dma_map_page and dma_map_sg; dma_map_phys, dma_iova_* and who builds on them


class RuleError(ValueError):
    """A rule file that cannot be used; the message names file and rule."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where a rule comes from: a file of the kernel tree, the function or section in it, and the SHA-256 of the lines
    that say it ("" until pinned)."""

    file: str
    symbol: str = ""
    sha256: str = ""

    def __str__(self) -> str:
        return f"{self.file}: {self.symbol}" if self.symbol else self.file


@dataclass(frozen=True, slots=True)
class Rule:
    """One clause of the contract.

    since, until: kernel versions "6.1" between which it holds ("": always). api: through which of the two APIs it is
    observed; the newer one is there on every machine, as of 7.x, so its since only tells when it came. applies_if:
    facts of a backend on a machine, all of which must hold (see conformance.facts). checks: names of
    conformance.checks. not_tested: why none observes it; a rule has checks or this, never both.
    """

    id: str
    text: str
    level: Level
    group: str
    source: Source
    observe: str = ""
    since: str = ""
    until: str = ""
    applies_if: tuple[str, ...] = ()
    checks: tuple[str, ...] = ()
    saboteurs: tuple[str, ...] = ()
    not_tested: str = ""
    api: Api = "legacy"
    file: str = field(default="", compare=False)


_KEYS = {f.name for f in fields(Rule)} - {"file"}
_LISTS = ("applies_if", "checks", "saboteurs")


def _said(name: object) -> str:
    """A name out of a file, in one line."""
    text = str(name)
    return text if text.isprintable() else repr(text)


def _rule(table: dict[str, Any], file: str, checks: Iterable[str]) -> Rule:
    name = f"{file}: {_said(table.get('id', 'a rule without an id'))}"
    unknown = set(table) - _KEYS
    if unknown:
        raise RuleError(f"{name}: unknown key {', '.join(map(_said, sorted(unknown)))}")
    for key in ("id", "text", "level", "group"):
        if not isinstance(table.get(key), str) or not table[key]:
            raise RuleError(f"{name}: {key} is missing or not a text")
    if table["level"] not in get_args(Level):
        raise RuleError(f"{name}: level is {table['level']!r}, not must, should or may")
    if table.get("api", "legacy") not in get_args(Api):
        raise RuleError(f"{name}: api is {table['api']!r}, not legacy or new")
    source = table.get("source")
    if not isinstance(source, dict) or set(source) - {f.name for f in fields(Source)} or "file" not in source:
        raise RuleError(f"{name}: source is not a table of file, symbol and sha256")
    for key in _LISTS:
        value = table.get(key, [])
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise RuleError(f"{name}: {key} is not a list of texts")
    for fact in table.get("applies_if", []):
        try:
            parse_fact(fact)
        except UnknownFact as error:
            raise RuleError(f"{name}: applies_if: {error}") from None
    for check in table.get("checks", []):
        if check not in checks:
            raise RuleError(f"{name}: there is no check called {_said(check)}")
    if bool(table.get("checks")) == bool(table.get("not_tested")):
        raise RuleError(f"{name}: needs either checks or not_tested")
    for key in ("since", "until"):
        version = table.get(key, "")
        if not isinstance(version, str) or (version and not all(part.isdigit() for part in version.split("."))):
            raise RuleError(f"{name}: {key} is {version!r}, not a kernel version")
    plain: dict[str, Any] = {key: value for key, value in table.items() if key not in ("source", *_LISTS)}
    lists: dict[str, Any] = {key: tuple(table.get(key, [])) for key in _LISTS}
    return Rule(**plain, **lists, source=Source(**source), file=file)


def parse_rules(text: str, file: str, checks: Iterable[str]) -> list[Rule]:
    """The rules of one TOML text. Raises RuleError."""
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise RuleError(f"{file}: {error}") from None
    if set(tables) - {"rule"}:
        raise RuleError(f"{file}: unknown key {', '.join(map(_said, sorted(set(tables) - {'rule'})))}")
    known = set(checks)
    rows = tables.get("rule", [])
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise RuleError(f"{file}: rule is not a list of tables")
    return [_rule(row, file, known) for row in rows]


@cache
def load_rules() -> dict[str, Rule]:
    """All rules by id, in the order of the files. Raises RuleError."""
    from ..checks import checks

    found: dict[str, Rule] = {}
    for path in sorted(files(__name__).iterdir(), key=lambda path: path.name):
        if path.name.endswith(".toml"):
            for rule in parse_rules(path.read_text(encoding="utf-8"), path.name, checks()):
                if rule.id in found:
                    raise RuleError(f"{path.name}: {rule.id} is there twice, first in {found[rule.id].file}")
                found[rule.id] = rule
    return found


def fingerprint(rules: Iterable[Rule]) -> str:
    """A hash of what the rules say: two runs with the same one can be compared."""
    digest = hashlib.sha256()
    for rule in sorted(rules, key=lambda rule: rule.id):
        digest.update(repr(rule).encode())
    return digest.hexdigest()[:16]



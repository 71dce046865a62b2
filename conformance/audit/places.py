# SPDX-License-Identifier: MIT
"""Finds a named place in a file of the kernel, and hashes what it says without comments and white space.

A place of a C file is a function, a macro, a struct, enum or union, or a variable; of a reStructuredText file a section
by its heading, or the description of a function; of a Kconfig file an option. It is told by name, never by line, and
found by parsing no more than brackets, so that it works on trees that are not configured.
"""

from __future__ import annotations

import fnmatch
import hashlib
import re
from collections.abc import Iterator
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

_TOKEN = re.compile(r"[A-Za-z_]\w*|\d[\w.]*|\"(?:\\.|[^\"\\])*\"|'(?:\\.|[^'\\])*'|\S")
_SKIPPED = re.compile(r"/\*.*?\*/|//[^\n]*|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'", re.DOTALL)
_DIRECTIVE = re.compile(r"^[ \t]*#(?:[^\n]*\\\n)*[^\n]*", re.MULTILINE)
_DEFINE = re.compile(r"^[ \t]*#[ \t]*define[ \t]+(\w+)(?:[^\n]*\\\n)*[^\n]*", re.MULTILINE)
_UNDERLINE = re.compile(r"^([=\-~^\"'#*+`.])\1{2,}\s*$")


def digest(parts: list[str]) -> str:
    """The hash of texts of which only the tokens count."""
    tokens = [" ".join(_TOKEN.findall(part)) for part in parts]
    return hashlib.sha256("\n".join(tokens).encode()).hexdigest()


def find(path: Path, name: str) -> list[str]:
    """The texts of the place of that name in the file, comments gone; several if it is defined more than once. Empty if
    there is none, or no such file."""
    text = _read(path)
    words = name.partition(".")[0].split()
    if not words or words[-1] not in text:          # before anything is parsed
        return []
    if path.suffix == ".rst":
        return _prose(text, name)
    if path.name.startswith("Kconfig"):
        return _option(text, name)
    return _Source.of(text).find(name)


def matching(path: Path, pattern: str) -> list[str]:
    """The names of the functions and macros of a C file that a glob matches, in their order."""
    text = _read(path)
    return [name for name in _Source.of(text).names() if fnmatch.fnmatchcase(name, pattern)]


@lru_cache(maxsize=4096)
def _cached(path: Path, _state: tuple[int, int]) -> str:
    return path.read_text(encoding="utf-8", errors="replace")


def _read(path: Path) -> str:
    """A file's text; "" if there is none."""
    try:
        state = path.stat()
        return _cached(path, (state.st_mtime_ns, state.st_size))
    except OSError:
        return ""


def _blank(match: re.Match[str]) -> str:
    return re.sub(r"[^\n]", " ", match[0])


def _one_way(mask: str) -> str:
    """Without directives, and of #if … #else without the second way where both open the same brackets."""
    plain = _DIRECTIVE.sub(_blank, mask)
    starts: list[int] = []                          # of the second ways that are open; -1: still in the first
    for match in _DIRECTIVE.finditer(mask):
        word = match[0].strip().lstrip("#").strip()
        if word.startswith("if"):
            starts.append(-1)
        elif starts and word.startswith(("else", "elif")):
            if starts[-1] < 0:
                starts[-1] = match.end()
        elif starts and word.startswith("endif"):
            start = starts.pop()
            way = plain[start : match.start()] if start >= 0 else ""
            if way.count("{") != way.count("}") or way.count("(") != way.count(")"):
                plain = plain[:start] + re.sub(r"[^\n]", " ", way) + plain[match.start() :]
    return plain


class _Source:
    """A C file: text without comments, and a mask of the same length without strings and directives either."""

    def __init__(self, text: str) -> None:
        self.text = _SKIPPED.sub(lambda match: _blank(match) if match[0].startswith("/") else match[0], text)
        mask = _SKIPPED.sub(lambda match: "0" * len(match[0]) if match[0][0] in "\"'" else match[0], self.text)
        self.mask = _one_way(mask)
        self.top = list(self._top())

    @classmethod
    @lru_cache(maxsize=32)
    def of(cls, text: str) -> _Source:
        return cls(text)

    def _top(self) -> Iterator[tuple[int, int]]:
        """The definitions and declarations: from the first character to the ";" or "}" that ends each."""
        depth, start = 0, 0
        for match in re.finditer(r"[{}();]", self.mask):
            sign = match[0]
            if sign in "{(":
                depth += 1
            elif sign in "})":
                depth = max(depth - 1, 0)
            if depth or sign in "({)":
                continue
            rest = self.mask[match.end():].lstrip()
            if sign == "}" and (rest[:1] in (";", ",", "=") or not self._is_function(start, match.end())):
                continue                            # of a struct or an array, which a ";" ends
            yield start, match.end()
            start = match.end()

    def _is_function(self, start: int, end: int) -> bool:
        head = self.mask[start:end].partition("{")[0]
        return bool(re.search(r"\w\s*\(", head)) and "=" not in head and ")" in head

    def names(self) -> list[str]:
        found = {}
        for start, end in self.top:
            head = self.mask[start:end].partition("{")[0]
            match = re.search(r"(\w+)\s*\(", head)
            if match and "{" in self.mask[start:end]:
                found[match[1]] = start
        for match in _DEFINE.finditer(self.text):
            found.setdefault(match[1], match.start())
        return sorted(found, key=lambda name: found[name])

    def find(self, name: str) -> list[str]:
        kind, _, rest = name.partition(" ")
        if kind in ("struct", "enum", "union") and rest:
            tag = re.compile(rf"\b{kind}\s+{re.escape(rest.partition('.')[0])}\s*\{{")
            return [self.text[start:end] for start, end in self.top if tag.search(self.mask[start:end])]
        called = re.compile(rf"\b{re.escape(name)}\s*\(")
        variable = re.compile(rf"\b{re.escape(name)}\s*(?:\[[^]]*\]\s*)*=")
        found = []
        for start, end in self.top:
            whole = self.mask[start:end]
            head = whole.partition("{")[0]
            if ("{" in whole and "=" not in head and called.search(head)) or variable.search(head):
                found.append(self.text[start:end])
        for match in _DEFINE.finditer(self.text):
            if match[1] == name:
                found.append(match[0])
        if not found:                               # a tag, or a member of an enum
            word = re.escape(name)
            inside = re.compile(rf"\b(?:struct|union|enum)\s+{word}\s*\{{|\benum\b[^{{;]*\{{[^}}]*\b{word}\b")
            found = [self.text[start:end] for start, end in self.top if inside.search(self.mask[start:end])]
        return found


def _prose(text: str, name: str) -> list[str]:
    lines = text.split("\n")
    headings = [
        (i, lines[i].strip()) for i, line in enumerate(lines[1:])
        if _UNDERLINE.match(line) and lines[i].strip() and not _UNDERLINE.match(lines[i])
    ]
    ends = [*(i for i, _ in headings), len(lines)]
    for (at, title), (_, end) in zip(headings, pairwise(ends), strict=True):
        if title == name or re.match(rf"{re.escape(name)}(?!\w)", title):
            return ["\n".join(lines[at:end])]
    # a function: from the literal block that shows it to the next block or heading
    blocks = [i for i, line in enumerate(lines) if line.rstrip().endswith("::")]
    shown = re.compile(rf"^\s+(?:[\w* ]+[ *])?{re.escape(name)}\(")
    found = []
    for i, line in enumerate(lines):
        if shown.match(line):
            start = max((at for at in blocks if at < i), default=i)
            end = min((at for at in (*blocks, *ends) if at > i), default=len(lines))
            found.append("\n".join(lines[start:end]))
    return found[:1]


def _option(text: str, name: str) -> list[str]:
    match = re.search(rf"^config {re.escape(name)}\n(?:[ \t].*\n|\n)*", text, re.MULTILINE)
    return [match[0]] if match else []

# SPDX-License-Identifier: MIT
"""Definitions out of C text, word for word."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
if not (ROOT / "benchmarks").is_dir():
    pytest.skip("the benchmarks are part of the sources, not of the package", allow_module_level=True)
with pytest.MonkeyPatch.context() as patch:
    patch.setattr(sys, "path", [*sys.path, str(ROOT)])      # behind what is installed
    from benchmarks._extract import NotFound, definition, extract

TEXT = """\
#define WORD 1 \\
\t+ 2
#define WORDS 3
struct box {
\tint a;
} __aligned(64);

int get(struct box *b);

static long
grow(struct box *b,
     int n)
{\x20
\tif (n) {
\t\tb->a += n;
\t}
\treturn get(b);
}

int get(struct box *b)
{
\treturn b->a;
}
"""


@pytest.mark.parametrize(("name", "first", "lines"), [
    ("#define WORD", "#define WORD 1 \\", 2),
    ("#define WORDS", "#define WORDS 3", 1),
    ("struct box", "struct box {", 3),
    ("grow", "static long", 9),
    ("get", "int get(struct box *b)", 4),
])
def test_definition(name: str, first: str, lines: int) -> None:
    found = definition(TEXT, name)
    assert found in TEXT
    assert (found.splitlines()[0], len(found.splitlines())) == (first, lines)


def test_order() -> None:
    assert extract(TEXT, ("get", "struct box")).startswith("int get")


@pytest.mark.parametrize("name", ["gro", "struct bo", "#define WOR", "b"])
def test_missing(name: str) -> None:
    with pytest.raises(NotFound, match=name):
        definition(TEXT, name)

# SPDX-License-Identifier: MIT
"""The generated pages are those that the rules and records of today give."""

import importlib.util
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"
spec = importlib.util.spec_from_file_location("docs_generate", DOCS / "generate.py")
generate = importlib.util.module_from_spec(spec)
spec.loader.exec_module(generate)


@pytest.mark.parametrize("name", generate.PAGES)
def test_page_is_up_to_date(name):
    committed = (DOCS / name).read_text(encoding="utf-8")
    assert committed == generate.page(name), f"run python docs/generate.py: docs/{name} is older than its sources"


def test_markdown_reads_words_as_they_are():
    assert generate.plain("a|b <c> s390_dma_*\n  [x]") == "a\\|b \\<c> s390_dma_\\* \\[x]"

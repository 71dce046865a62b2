# SPDX-License-Identifier: MIT
"""The generated pages are those that the rules and records of today give."""

import fnmatch
import importlib.util
import re
import subprocess
import sys
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


PAGES = sorted(str(page.relative_to(DOCS).with_suffix("")) for page in DOCS.glob("**/*.md"))


def listed():
    """The pages of every toctree."""
    found = ["index"]
    for page in DOCS.glob("**/*.md"):
        text = page.read_text(encoding="utf-8")
        for tree in re.findall(r"^```\{toctree\}\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
            for line in tree.splitlines():
                if line and not line.startswith(":"):
                    found += [name for name in PAGES if fnmatch.fnmatchcase(name, line)]
    return found


def test_every_page_is_in_one_toctree():
    assert sorted(listed()) == PAGES


@pytest.mark.skipif(importlib.util.find_spec("myst_parser") is None, reason="the extra docs is not installed")
def test_sphinx_has_no_warning(tmp_path):
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "dummy", "-D", "html_theme=basic",
               str(DOCS), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr

# SPDX-License-Identifier: MIT
"""The matrix as a picture."""

import re
from xml.etree import ElementTree

from click.testing import CliRunner

from conformance.cli import main


def test_svg_says_what_the_text_says(tmp_path):
    words = ["run", "-b", "py:ideal_backend:UNWINDS_NOT", "-r", "DMA-1*", "-n", "0", "--out", str(tmp_path)]
    CliRunner().invoke(main, words)
    done = CliRunner().invoke(main, ["report", str(tmp_path), "--format", "svg"])
    assert done.exit_code == 1
    root = ElementTree.fromstring(done.output)
    said = "\n".join("".join(node.itertext()) for node in root.iter("{http://www.w3.org/2000/svg}text"))
    for part in ("dma-conformance", "forgetstounwind", "FAIL\u00a01", "failure", "cases:"):
        assert part in said, said
    assert not re.search(r"url\(.?http|font-face", done.output)             # nothing is loaded from elsewhere
    assert done.output == CliRunner().invoke(main, ["report", str(tmp_path), "--format", "svg"]).output

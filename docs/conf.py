# SPDX-License-Identifier: MIT
"""Sphinx: tox run -e docs, or sphinx-build -W docs docs/_build."""

import importlib.metadata

project = "dma-conformance"
author = "the dma-conformance authors"
copyright = "the dma-conformance authors; MIT licence"
try:
    release = importlib.metadata.version(project)
except importlib.metadata.PackageNotFoundError:
    release = ""

extensions = ["myst_parser"]
exclude_patterns = ["_build"]
myst_heading_anchors = 3
nitpicky = True
html_theme = "furo"
html_title = f"dma-conformance {release}".strip()
html_show_sourcelink = False
html_copy_source = False

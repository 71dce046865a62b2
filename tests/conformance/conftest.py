# SPDX-License-Identifier: MIT
"""Lets py:ideal_backend:NAME be loaded, here and in the workers of pytest-xdist."""

import os
import sys
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def ideal_backend_on_the_path(monkeypatch):
    here = str(Path(__file__).parent)
    monkeypatch.syspath_prepend(here)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([here, *filter(None, sys.path)]))

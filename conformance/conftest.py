# SPDX-License-Identifier: MIT
"""Makes `pytest --pyargs conformance` run the suite; `dma-conformance run` loads the plugin itself."""

from conformance.plugin import pytest_addoption, pytest_collect_file, pytest_configure, pytest_unconfigure

__all__ = ["pytest_addoption", "pytest_collect_file", "pytest_configure", "pytest_unconfigure"]

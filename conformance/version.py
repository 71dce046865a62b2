# SPDX-License-Identifier: MIT
"""Which version of the project this is."""

from importlib.metadata import PackageNotFoundError, version


def project_version() -> str:
    try:
        return version("dma-conformance")
    except PackageNotFoundError:
        return "unknown"

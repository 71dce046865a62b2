# SPDX-License-Identifier: MIT
"""The conformance suite: rules, checks, verdicts, reports, and replays of recorded kernels."""

import arch

if not getattr(arch, "__dma_conformance__", False):
    raise ImportError(
        f"{arch.__file__} is PyPI's unrelated package 'arch', which shadows the backends of dma-conformance; "
        "install dma-conformance in an environment without it",
        name="arch",
    )

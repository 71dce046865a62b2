# SPDX-License-Identifier: MIT
"""The conformance suite: rules, checks, verdicts, reports, and replays of recorded kernels."""

import importlib.util
import os.path

# looked for, not imported: pytest_plugin.py is imported at every start of pytest, and must cost nothing
_arch = importlib.util.find_spec("arch")
if _arch is not None and not os.path.exists(os.path.join(os.path.dirname(_arch.origin or ""), "record.py")):
    raise ImportError(
        f"{_arch.origin} is PyPI's unrelated package 'arch', which shadows the backends of dma-conformance; "
        "install dma-conformance in an environment without it",
        name="arch",
    )

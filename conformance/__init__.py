# SPDX-License-Identifier: MIT
"""The conformance suite: rules, checks, verdicts, reports, and replays of recorded kernels."""

# SPDX-License-Identifier: MIT
"""Benchmarks: `python -m benchmarks NAME [options]`."""

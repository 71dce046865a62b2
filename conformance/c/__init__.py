# SPDX-License-Identifier: MIT
"""Commands for C code."""

# SPDX-License-Identifier: MIT
"""The user's own Linux source as an oracle: its C files, compiled in userspace, against ours."""

# SPDX-License-Identifier: MIT
"""C only: see gather.pxd."""

# SPDX-License-Identifier: MIT
"""dma:* traces of real kernels: read, checked, and replayed on other machines."""

# SPDX-License-Identifier: MIT
"""python -m conformance"""

from .cli import main

main(prog_name="dma-conformance")

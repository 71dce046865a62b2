# SPDX-License-Identifier: MIT
"""Do the places in Linux that rules and models stand on still say what they said? Hashes only, no line of Linux."""

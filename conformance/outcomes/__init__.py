# SPDX-License-Identifier: MIT
"""What is done with results once they are there: join shards, compare runs, waive, and render for other programs."""

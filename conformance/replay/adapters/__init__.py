# SPDX-License-Identifier: MIT
"""One module per family of backends: how a recorded run's facts become a machine and its devices."""

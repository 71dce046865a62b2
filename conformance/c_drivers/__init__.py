# SPDX-License-Identifier: MIT
"""Drivers under test: a driver in C, compiled with this project's headers, on every backend, machine and page size.

driver.h (dma_conformance/driver.h) is what the driver says of itself. table.py reads it and makes what it is given;
rig.py is one machine with the driver and its hardware; scenarios.py does what a kernel and a device would do to it;
clauses.toml has the clauses that the driver must keep, run.py makes cases and results of all that.
"""

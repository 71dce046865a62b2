# SPDX-License-Identifier: MIT
"""P2PDMA verdicts for the devices of a real machine, from what lspci or sysfs shows of it."""

from .cpu import infer_cpu, parse_cpu
from .facts import Function, Listing, TopologyError
from .machine import Machine, build
from .source import read_sources
from .verdict import Verdict, judge

__all__ = ["Function", "Listing", "Machine", "TopologyError", "Verdict", "build", "infer_cpu", "judge", "parse_cpu",
           "read_sources"]

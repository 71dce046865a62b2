# SPDX-License-Identifier: MIT
"""Millions of random programs, guided by what they make the backends do, on as many processes and machines as one has.

A campaign is a range of seeds; each is one case, a program on a machine. Cases are grouped in units of fixed size, and
each of these is explored from its own number alone: whoever runs it, how often and in which order, the findings are the
same.
"""

from .plan import Plan
from .summary import Effort, Failure, Summary
from .unit import explore

__all__ = ["Effort", "Failure", "Plan", "Summary", "explore"]

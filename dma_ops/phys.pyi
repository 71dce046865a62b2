# SPDX-License-Identifier: MIT
from .device import DmaMapOps

class PhysMapOps(DmaMapOps): ...

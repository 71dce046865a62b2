# SPDX-License-Identifier: MIT
from .device import Walker
from .machine import Machine

class IommuDomain:
    machine: Machine
    pgsize_bitmap: int
    aperture_start: int
    aperture_end: int
    force_aperture: bool
    walker: Walker
    syncs: int

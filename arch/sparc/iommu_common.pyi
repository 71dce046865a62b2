# SPDX-License-Identifier: MIT
from dma_ops.device import DmaMapOps
from dma_ops.machine import Machine

class SparcIommuOps(DmaMapOps):
    machine: Machine

# SPDX-License-Identifier: MIT
"""SPARC: the SBus IOMMU and the IO-UNIT of 32-bit machines, the host bridges and hypervisors of 64-bit ones."""

from ._records_sparc32 import RECORDS as _SPARC32
from ._records_sparc64 import RECORDS as _SPARC64

RECORDS = (*_SPARC32, *_SPARC64)

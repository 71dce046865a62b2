# SPDX-License-Identifier: MIT
"""SPARC: the SBus IOMMU and the IO-UNIT of 32-bit machines."""

from ._records_sparc32 import RECORDS as _SPARC32

RECORDS = (*_SPARC32,)

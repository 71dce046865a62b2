# SPDX-License-Identifier: MIT
"""What Linux keeps outside the architectures: dma-direct, iommu-dma and the table that refuses."""

from ._records_direct import RECORDS as _DIRECT
from ._records_dummy import RECORDS as _DUMMY
from ._records_iommu import RECORDS as _IOMMU

RECORDS = (
    *_DIRECT,
    *_DUMMY,
    *_IOMMU,
)

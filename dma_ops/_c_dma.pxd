# SPDX-License-Identifier: MIT
from ._c_api cimport dma_conformance_calls

cdef void fill_dma_calls(dma_conformance_calls *calls) noexcept

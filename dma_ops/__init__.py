# SPDX-License-Identifier: MIT
"""The mechanism: machines, devices, both DMA APIs, allocators, bounce buffers and P2PDMA."""

from .api import (
    dma_addressing_limited,
    dma_alloc_attrs,
    dma_alloc_coherent,
    dma_alloc_noncontiguous,
    dma_alloc_pages,
    dma_can_mmap,
    dma_free_attrs,
    dma_free_coherent,
    dma_free_noncontiguous,
    dma_free_pages,
    dma_get_mask,
    dma_get_max_seg_size,
    dma_get_merge_boundary,
    dma_get_min_align_mask,
    dma_get_required_mask,
    dma_get_seg_boundary,
    dma_get_sgtable,
    dma_map_page,
    dma_map_resource,
    dma_map_sg,
    dma_map_sgtable,
    dma_map_single,
    dma_mapping_error,
    dma_max_mapping_size,
    dma_need_sync,
    dma_opt_mapping_size,
    dma_pci_p2pdma_supported,
    dma_set_coherent_mask,
    dma_set_mask,
    dma_set_mask_and_coherent,
    dma_set_max_seg_size,
    dma_set_min_align_mask,
    dma_set_seg_boundary,
    dma_sync_sg_for_cpu,
    dma_sync_sg_for_device,
    dma_sync_sgtable_for_cpu,
    dma_sync_sgtable_for_device,
    dma_sync_single_for_cpu,
    dma_sync_single_for_device,
    dma_unmap_page,
    dma_unmap_resource,
    dma_unmap_sg,
    dma_unmap_sgtable,
    dma_unmap_single,
)
from .device import Device, DmaMapOps, Walker
from .errors import DmaError, DmaFault, KernelBug, KernelHang
from .machine import Machine
from .mappings import coherent, mapped_page, mapped_sgtable
from .pyops import PyDmaMapOps, WrappedOps

DMA_BIDIRECTIONAL, DMA_TO_DEVICE, DMA_FROM_DEVICE, DMA_NONE = range(4)
DMA_ATTR_WEAK_ORDERING = 1 << 1
DMA_ATTR_WRITE_COMBINE = 1 << 2
DMA_ATTR_NO_KERNEL_MAPPING = 1 << 4
DMA_ATTR_SKIP_CPU_SYNC = 1 << 5
DMA_ATTR_FORCE_CONTIGUOUS = 1 << 6
DMA_ATTR_ALLOC_SINGLE_PAGES = 1 << 7
DMA_ATTR_NO_WARN = 1 << 8
DMA_ATTR_PRIVILEGED = 1 << 9

__all__ = [name for name in dir() if name.startswith(("dma_", "DMA_"))]
__all__ += [
    "Device", "DmaError", "DmaFault", "DmaMapOps", "KernelBug", "KernelHang", "Machine", "PyDmaMapOps", "Walker",
    "WrappedOps", "coherent", "mapped_page", "mapped_sgtable",
]

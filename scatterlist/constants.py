# SPDX-License-Identifier: MIT
"""The constants of include/linux/scatterlist.h."""

SG_CHAIN = 0x01
SG_END = 0x02
SG_PAGE_LINK_MASK = SG_CHAIN | SG_END
SG_PCI_P2PDMA = 0x04            # proposed in 2021, never merged
SG_DMA_BUS_ADDRESS = 1 << 0
SG_DMA_SWIOTLB = 1 << 1         # 6.12
SG_CHUNK_SIZE = 128
SG_MAX_SEGMENTS = 2048          # SG_CHUNK_SIZE with CONFIG_ARCH_NO_SG_CHAIN
SG_MITER_ATOMIC = 1 << 0
SG_MITER_TO_SG = 1 << 1
SG_MITER_FROM_SG = 1 << 2
SG_MITER_LOCAL = 1 << 3         # 6.15

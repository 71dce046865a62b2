/* SPDX-License-Identifier: MIT */
/* The configuration: 64 bits, dma_length and dma_flags in each entry, P2PDMA. */
#ifndef DMA_CONFORMANCE_LINUX_KCONFIG_H
#define DMA_CONFORMANCE_LINUX_KCONFIG_H

#define CONFIG_64BIT 1
#define CONFIG_HAS_DMA 1
#define CONFIG_ARCH_DMA_ADDR_T_64BIT 1
#define CONFIG_PHYS_ADDR_T_64BIT 1
#define CONFIG_NEED_SG_DMA_LENGTH 1
#define CONFIG_NEED_SG_DMA_FLAGS 1
#define CONFIG_PCI 1
#define CONFIG_PCI_P2PDMA 1
#define CONFIG_IOMMU_DMA 1
#define CONFIG_SWIOTLB 1

/* 1 if the macro x is defined as 1, else 0: pasting makes `0,` of a 1, which shifts the arguments by one */
#define DMA_CONFORMANCE_IS_1 0,
#define DMA_CONFORMANCE_SECOND(a, b, ...) b
#define DMA_CONFORMANCE_PICK(shift) DMA_CONFORMANCE_SECOND(shift 1, 0)
#define DMA_CONFORMANCE_PASTE(value) DMA_CONFORMANCE_PICK(DMA_CONFORMANCE_IS_##value)
#define DMA_CONFORMANCE_EXPAND(x) DMA_CONFORMANCE_PASTE(x)
#define IS_BUILTIN(x) DMA_CONFORMANCE_EXPAND(x)
#define IS_MODULE(x) DMA_CONFORMANCE_EXPAND(x##_MODULE)
#define IS_ENABLED(x) (IS_BUILTIN(x) || IS_MODULE(x))
#define IS_REACHABLE(x) IS_ENABLED(x)

#endif

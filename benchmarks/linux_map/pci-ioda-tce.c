/* SPDX-License-Identifier: MIT */
/* powernv's TCEs (arch/powerpc/platforms/powernv/pci-ioda-tce.c): one level, big-endian. */
#include <linux/dma-map-ops.h>
#include <asm/byteorder.h>
#define __KERNEL__ 1
#include <asm/iommu.h>

#define pnv_pci_ioda2_table_do_free_pages(...) ((void)0)

unsigned long iommu_direction_to_tce_perm(enum dma_data_direction dir);

#include "pci-ioda-tce.inc"

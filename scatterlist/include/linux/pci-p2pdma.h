/* SPDX-License-Identifier: MIT */
/* P2P memory, as an implementation of the DMA API meets it. */
#ifndef DMA_CONFORMANCE_LINUX_PCI_P2PDMA_H
#define DMA_CONFORMANCE_LINUX_PCI_P2PDMA_H

#include <linux/scatterlist.h>
#include <dma_conformance/calls/pci-p2pdma.h>

/* what pci_p2pdma_map_segment answers (6.1) */
enum pci_p2pdma_map_type {
	PCI_P2PDMA_MAP_UNKNOWN = 0,
	PCI_P2PDMA_MAP_NOT_SUPPORTED,
	PCI_P2PDMA_MAP_BUS_ADDR,
	PCI_P2PDMA_MAP_THRU_HOST_BRIDGE,
};

/* what pci_p2pdma_state answers (6.16 and later, where they have the names above) */
enum pci_p2pdma_state_type {
	P2P_MAP_UNKNOWN = 0,
	P2P_MAP_NONE,
	P2P_MAP_NOT_SUPPORTED,
	P2P_MAP_BUS_ADDR,
	P2P_MAP_THRU_HOST_BRIDGE,
};

#define is_zone_device_page(page) is_pci_p2pdma_page(page)

/* 6.16: what a device puts on the bus to reach phys of the provider that the state holds. */
static inline dma_addr_t pci_p2pdma_bus_addr_map(const struct pci_p2pdma_map_state *state, phys_addr_t phys)
{
	return phys + state->bus_off;
}

#endif

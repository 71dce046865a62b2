/* SPDX-License-Identifier: MIT */
/* A PCI function, as far as mapping sees it. */
#ifndef DMA_CONFORMANCE_LINUX_PCI_H
#define DMA_CONFORMANCE_LINUX_PCI_H

#include <linux/device.h>
#include <linux/dma-mapping.h>
#include <linux/io.h>

/* A struct pci_dev is its struct device: Python tells one from the other. */
struct pci_dev {
	struct device dev;
};

#define to_pci_dev(d) container_of(d, struct pci_dev, dev)
#define dev_is_pci(d) ((void)(d), true)
#define pci_name(pdev) dev_name(&(pdev)->dev)
#define pci_get_drvdata(pdev) dev_get_drvdata(&(pdev)->dev)
#define pci_set_drvdata(pdev, data) dev_set_drvdata(&(pdev)->dev, data)
#define pci_err(pdev, format, ...) dev_err(&(pdev)->dev, format, ##__VA_ARGS__)
#define pci_warn(pdev, format, ...) dev_warn(&(pdev)->dev, format, ##__VA_ARGS__)
#define pci_info(pdev, format, ...) dev_info(&(pdev)->dev, format, ##__VA_ARGS__)

#endif

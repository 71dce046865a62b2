/* SPDX-License-Identifier: MIT */
/* An object exports what is not static. */
#ifndef DMA_CONFORMANCE_LINUX_EXPORT_H
#define DMA_CONFORMANCE_LINUX_EXPORT_H

#define EXPORT_SYMBOL(x)
#define EXPORT_SYMBOL_GPL(x)
#define EXPORT_SYMBOL_NS(x, ns)
#define EXPORT_SYMBOL_NS_GPL(x, ns)
#define THIS_MODULE ((struct module *)0)
struct module;

#endif

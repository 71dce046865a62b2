/* SPDX-License-Identifier: MIT */
/* A module: its init and exit functions are the object's init_module and cleanup_module. */
#ifndef DMA_CONFORMANCE_LINUX_MODULE_H
#define DMA_CONFORMANCE_LINUX_MODULE_H

#include <linux/export.h>
#include <linux/init.h>
#include <linux/kernel.h>

#define MODULE_LICENSE(x)
#define MODULE_AUTHOR(x)
#define MODULE_DESCRIPTION(x)
#define MODULE_VERSION(x)
#define MODULE_ALIAS(x)
#define MODULE_IMPORT_NS(x)
#define MODULE_DEVICE_TABLE(bus, table)
#define MODULE_PARM_DESC(name, text)
#define module_param(name, type, perm)
#define module_init(function) \
	__attribute__((visibility("default"))) int init_module(void) \
	{ \
		return function(); \
	}
#define module_exit(function) \
	__attribute__((visibility("default"))) void cleanup_module(void) \
	{ \
		function(); \
	}

#endif

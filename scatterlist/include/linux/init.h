/* SPDX-License-Identifier: MIT */
/* Marks of the kernel's build. The host has a member called __init: include its headers first. */
#ifndef DMA_CONFORMANCE_LINUX_INIT_H
#define DMA_CONFORMANCE_LINUX_INIT_H

#include <linux/compiler.h>

#define __init
#define __exit
#define __initdata
#define __initconst
#define __devinit
#define __ro_after_init

#endif

/* SPDX-License-Identifier: MIT */
/* Linux's error numbers are the host's; those that it keeps from programs are here. */
#ifndef DMA_CONFORMANCE_LINUX_ERRNO_H
#define DMA_CONFORMANCE_LINUX_ERRNO_H

#include <asm/errno.h>

#define ERESTARTSYS 512
#define ENOIOCTLCMD 515
#define EPROBE_DEFER 517
#define ENOTSUPP 524

#endif

/* SPDX-License-Identifier: MIT */
/* Processors. */
#ifndef DMA_CONFORMANCE_LINUX_SMP_H
#define DMA_CONFORMANCE_LINUX_SMP_H

#include <dma_conformance/calls/kernel.h>

#define raw_smp_processor_id() smp_processor_id()
#define get_cpu() smp_processor_id()
#define put_cpu() ((void)0)

#endif

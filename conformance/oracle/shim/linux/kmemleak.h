/* SPDX-License-Identifier: MIT */
/* Ours, and 6.12's. */
#ifndef ORACLE_LINUX_KMEMLEAK_H
#define ORACLE_LINUX_KMEMLEAK_H

#include_next <linux/kmemleak.h>

#define kmemleak_transient_leak(...) ((void)0)

#endif

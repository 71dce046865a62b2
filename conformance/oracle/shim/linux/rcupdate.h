/* SPDX-License-Identifier: MIT */
/* Nothing waits for a grace period: one thread. */
#ifndef ORACLE_LINUX_RCUPDATE_H
#define ORACLE_LINUX_RCUPDATE_H

#include <linux/types.h>

#define rcu_assign_pointer(p, value) ((p) = (value))

#endif

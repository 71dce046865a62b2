/* SPDX-License-Identifier: MIT */
/* Delayed work that never comes to run. */
#ifndef ORACLE_LINUX_WORKQUEUE_H
#define ORACLE_LINUX_WORKQUEUE_H

#include <linux/types.h>

struct work_struct {
	void (*function)(struct work_struct *work);
};

struct delayed_work {
	struct work_struct work;
};

#define INIT_DELAYED_WORK(delayed, f) ((delayed)->work.function = (f))
#define schedule_delayed_work(delayed, delay) ((void)(delayed))
#define cancel_delayed_work_sync(delayed) ((void)(delayed))
#define msecs_to_jiffies(ms) (ms)

#endif

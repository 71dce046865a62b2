/* SPDX-License-Identifier: MIT */
/* Locks: one thread at a time runs C code. */
#ifndef DMA_CONFORMANCE_LINUX_SPINLOCK_H
#define DMA_CONFORMANCE_LINUX_SPINLOCK_H

#include <linux/types.h>

typedef struct {
	int held;
} spinlock_t;
typedef spinlock_t raw_spinlock_t;

#define __SPIN_LOCK_UNLOCKED(name) { 0 }
#define DEFINE_SPINLOCK(name) spinlock_t name = { 0 }
#define spin_lock_init(lock) ((void)((lock)->held = 0))
#define spin_lock(lock) ((void)((lock)->held++))
#define spin_unlock(lock) ((void)((lock)->held--))
#define spin_lock_irq(lock) spin_lock(lock)
#define spin_unlock_irq(lock) spin_unlock(lock)
#define spin_lock_bh(lock) spin_lock(lock)
#define spin_unlock_bh(lock) spin_unlock(lock)
#define spin_lock_irqsave(lock, flags) ((flags) = 0, spin_lock(lock))
#define spin_unlock_irqrestore(lock, flags) ((void)(flags), spin_unlock(lock))
#define assert_spin_locked(lock) ((void)(lock))
#define lockdep_assert_held(lock) ((void)(lock))
#define raw_spin_lock_irqsave(lock, flags) spin_lock_irqsave(lock, flags)
#define raw_spin_unlock_irqrestore(lock, flags) spin_unlock_irqrestore(lock, flags)
#define local_irq_save(flags) ((flags) = 0)
#define local_irq_restore(flags) ((void)(flags))

#endif

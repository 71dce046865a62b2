/* SPDX-License-Identifier: MIT */
/* One processor. */
#ifndef ORACLE_LINUX_CPU_H
#define ORACLE_LINUX_CPU_H

#include <linux/bug.h>
#include <linux/list.h>
#include <linux/mutex.h>
#include <linux/slab.h>
#include <linux/spinlock.h>

#define for_each_possible_cpu(cpu) for ((cpu) = 0; (cpu) < 1; (cpu)++)
#define for_each_online_cpu(cpu) for_each_possible_cpu(cpu)
#define num_online_cpus() 1u
#define __alloc_percpu(size, align) calloc(1, size)
#define free_percpu(p) free(p)
#define per_cpu_ptr(p, cpu) ((void)(cpu), (p))
#define raw_cpu_ptr(p) (p)
#define this_cpu_ptr(p) (p)
#define cache_line_size() 64
#define CPUHP_IOMMU_IOVA_DEAD 0
#define cpuhp_setup_state_multi(state, name, up, down) ((void)(down), 0)
#define cpuhp_remove_multi_state(state) ((void)0)
#define cpuhp_state_add_instance_nocalls(state, node) 0
#define cpuhp_state_remove_instance_nocalls(state, node) ((void)0)
#define hlist_entry_safe(p, type, member) ((p) ? container_of(p, type, member) : (type *)0)
#define static_assert _Static_assert

#endif

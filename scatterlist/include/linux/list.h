/* SPDX-License-Identifier: MIT */
/* Doubly linked lists. */
#ifndef DMA_CONFORMANCE_LINUX_LIST_H
#define DMA_CONFORMANCE_LINUX_LIST_H

#include <linux/container_of.h>
#include <linux/types.h>

#define LIST_HEAD_INIT(name) { &(name), &(name) }
#define LIST_HEAD(name) struct list_head name = LIST_HEAD_INIT(name)

static inline void INIT_LIST_HEAD(struct list_head *list)
{
	list->next = list->prev = list;
}

static inline void dma_conformance_link(struct list_head *entry, struct list_head *before, struct list_head *after)
{
	entry->prev = before;
	entry->next = after;
	before->next = after->prev = entry;
}

static inline void list_add(struct list_head *entry, struct list_head *head)
{
	dma_conformance_link(entry, head, head->next);
}

static inline void list_add_tail(struct list_head *entry, struct list_head *head)
{
	dma_conformance_link(entry, head->prev, head);
}

static inline void __list_del_entry(struct list_head *entry)
{
	entry->prev->next = entry->next;
	entry->next->prev = entry->prev;
}

static inline void list_del(struct list_head *entry)
{
	__list_del_entry(entry);
	entry->next = entry->prev = (struct list_head *)0;
}

static inline void list_del_init(struct list_head *entry)
{
	__list_del_entry(entry);
	INIT_LIST_HEAD(entry);
}

static inline void list_move(struct list_head *entry, struct list_head *head)
{
	__list_del_entry(entry);
	list_add(entry, head);
}

static inline void list_move_tail(struct list_head *entry, struct list_head *head)
{
	__list_del_entry(entry);
	list_add_tail(entry, head);
}

static inline bool list_empty(const struct list_head *head)
{
	return head->next == head;
}

static inline bool list_is_last(const struct list_head *entry, const struct list_head *head)
{
	return entry->next == head;
}

#define list_entry(ptr, type, member) container_of(ptr, type, member)
#define list_first_entry(head, type, member) list_entry((head)->next, type, member)
#define list_last_entry(head, type, member) list_entry((head)->prev, type, member)
#define list_first_entry_or_null(head, type, member) \
	(list_empty(head) ? (type *)0 : list_first_entry(head, type, member))
#define list_next_entry(at, member) list_entry((at)->member.next, __typeof__(*(at)), member)
#define list_for_each(at, head) for ((at) = (head)->next; (at) != (head); (at) = (at)->next)
#define list_for_each_safe(at, n, head) \
	for ((at) = (head)->next, (n) = (at)->next; (at) != (head); (at) = (n), (n) = (at)->next)
#define list_for_each_entry(at, head, member) \
	for ((at) = list_first_entry(head, __typeof__(*(at)), member); &(at)->member != (head); \
	     (at) = list_next_entry(at, member))
#define list_for_each_entry_safe(at, n, head, member) \
	for ((at) = list_first_entry(head, __typeof__(*(at)), member), (n) = list_next_entry(at, member); \
	     &(at)->member != (head); (at) = (n), (n) = list_next_entry(n, member))

#endif

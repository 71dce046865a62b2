/* SPDX-License-Identifier: MIT */
/* Lines of the machine's log. */
#ifndef DMA_CONFORMANCE_LINUX_PRINTK_H
#define DMA_CONFORMANCE_LINUX_PRINTK_H

#include <stdarg.h>
#include <stdio.h>

#include <linux/compiler.h>
#include <dma_conformance/calls/kernel.h>

static inline __printf(1, 2) int printk(const char *format, ...)
{
	char text[512];
	va_list arguments;
	int n;

	va_start(arguments, format);
	n = vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	dma_conformance_warn(text);
	return n;
}

#define KERN_EMERG ""
#define KERN_ALERT ""
#define KERN_CRIT ""
#define KERN_ERR ""
#define KERN_WARNING ""
#define KERN_NOTICE ""
#define KERN_INFO ""
#define KERN_DEBUG ""
#define KERN_CONT ""
#ifndef pr_fmt
#define pr_fmt(format) format
#endif
#define pr_emerg(format, ...) printk(pr_fmt(format), ##__VA_ARGS__)
#define pr_crit(format, ...) printk(pr_fmt(format), ##__VA_ARGS__)
#define pr_err(format, ...) printk(pr_fmt(format), ##__VA_ARGS__)
#define pr_warn(format, ...) printk(pr_fmt(format), ##__VA_ARGS__)
#define pr_notice(format, ...) printk(pr_fmt(format), ##__VA_ARGS__)
#define pr_info(format, ...) printk(pr_fmt(format), ##__VA_ARGS__)
#define pr_warn_once(format, ...) printk(pr_fmt(format), ##__VA_ARGS__)
#define pr_err_ratelimited(format, ...) printk(pr_fmt(format), ##__VA_ARGS__)
#define pr_warn_ratelimited(format, ...) printk(pr_fmt(format), ##__VA_ARGS__)
#define printk_ratelimit() 1
#define pr_debug(format, ...) ((void)0)

#endif

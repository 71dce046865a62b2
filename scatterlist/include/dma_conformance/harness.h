/* SPDX-License-Identifier: MIT */
/*
 * A backend under test in a process of its own: one header, and nothing else of this project is needed. Define the
 * functions declared below, and
 *
 *     int main(void) { return dma_harness_main(); }
 *
 *     dma-conformance run --backend exec:./harness
 *
 * The protocol is a JSON object a line on stdin, and one on stdout for each (conformance/schemas/harness.schema.json).
 * All numbers are unsigned integers; addresses, too.
 */
#ifndef DMA_CONFORMANCE_HARNESS_H
#define DMA_CONFORMANCE_HARNESS_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HARNESS_ERROR (~(uint64_t)0)    /* DMA_MAPPING_ERROR */
#define HARNESS_MAX 4096                /* entries of a list */

struct harness_device {                 /* what the kernel's struct device says */
	uint64_t page_size, dma_mask, max_seg_size, seg_boundary;
};

struct harness_entry {
	uint64_t phys, length;          /* in */
	uint64_t dma_address, dma_length;       /* out of map_sg, into unmap_sg; 0 bytes: no segment */
};

/* dir: 0 both ways, 1 the device reads, 2 it writes. */
static const char *harness_name(void);
static void harness_reset(void);        /* a new machine: forget everything */
static uint64_t harness_map_page(const struct harness_device *dev, uint64_t phys, uint64_t size, int dir);
static void harness_unmap_page(const struct harness_device *dev, uint64_t addr, uint64_t size, int dir);
static int harness_map_sg(const struct harness_device *dev, struct harness_entry *list, int n, int dir);
static void harness_unmap_sg(const struct harness_device *dev, struct harness_entry *list, int n, int dir);
/* The hardware: 0 with *phys and the *run bytes that follow it, 1 nothing there, 2 not in this direction. */
static int harness_translate(uint64_t addr, int write, uint64_t *phys, uint64_t *run);
static uint64_t harness_resources(void);        /* how much is allocated */

/* The value of "key": in a line, at its first digit or bracket; NULL if there is none. */
static const char *harness_find(const char *line, const char *key)
{
	char quoted[40];
	const char *at;

	snprintf(quoted, sizeof(quoted), "\"%s\":", key);
	at = strstr(line, quoted);
	if (!at)
		return NULL;
	at += strlen(quoted);
	return at + strspn(at, " ");
}

static uint64_t harness_number(const char *line, const char *key)
{
	const char *at = harness_find(line, key);

	return at ? strtoull(at, NULL, 10) : 0;
}

/* "list": [[phys, length, dma_address, dma_length], ...] */
static int harness_list(const char *line, struct harness_entry *list)
{
	const char *at = harness_find(line, "list");
	uint64_t row[4];
	char *end;
	int n = 0, i;

	if (!at || *at++ != '[')
		return 0;
	while ((at = strchr(at, '[')) && n < HARNESS_MAX) {
		for (at++, i = 0; i < 4; i++, at = end + strspn(end, ", "))
			row[i] = strtoull(at, &end, 10);
		list[n].phys = row[0];
		list[n].length = row[1];
		list[n].dma_address = row[2];
		list[n++].dma_length = row[3];
	}
	return n;
}

static void harness_answer_list(int ret, const struct harness_entry *list, int n)
{
	int i;

	printf("{\"ret\":%d,\"list\":[", ret);
	for (i = 0; i < n; i++)
		printf("%s[%llu,%llu]", i ? "," : "", (unsigned long long)list[i].dma_address,
		       (unsigned long long)list[i].dma_length);
	printf("]}\n");
}

static int dma_harness_main(void)
{
	static struct harness_entry list[HARNESS_MAX];
	struct harness_device dev;
	char *line = NULL;
	size_t room = 0;
	const char *op;

	setvbuf(stdout, NULL, _IOFBF, 1 << 16);
	while (getline(&line, &room, stdin) > 0) {
		uint64_t addr = harness_number(line, "addr"), size = harness_number(line, "size"), run = 0;
		int dir = (int)harness_number(line, "dir"), n, ret;

		dev.page_size = harness_number(line, "page_size");
		dev.dma_mask = harness_number(line, "dma_mask");
		dev.max_seg_size = harness_number(line, "max_seg_size");
		dev.seg_boundary = harness_number(line, "seg_boundary");
		op = harness_find(line, "op");
		if (!op) {
			return 1;
		} else if (!strncmp(op, "\"hello\"", 7)) {
			printf("{\"protocol\":1,\"name\":\"%s\"}\n", harness_name());
		} else if (!strncmp(op, "\"reset\"", 7)) {
			harness_reset();
			printf("{}\n");
		} else if (!strncmp(op, "\"map_page\"", 10)) {
			addr = harness_map_page(&dev, harness_number(line, "phys"), size, dir);
			printf("{\"addr\":%llu}\n", (unsigned long long)addr);
		} else if (!strncmp(op, "\"unmap_page\"", 12)) {
			harness_unmap_page(&dev, addr, size, dir);
			printf("{}\n");
		} else if (!strncmp(op, "\"map_sg\"", 8)) {
			n = harness_list(line, list);
			ret = harness_map_sg(&dev, list, n, dir);
			harness_answer_list(ret, list, n);
		} else if (!strncmp(op, "\"unmap_sg\"", 10)) {
			n = harness_list(line, list);
			harness_unmap_sg(&dev, list, n, dir);
			printf("{}\n");
		} else if (!strncmp(op, "\"translate\"", 11)) {
			uint64_t phys = 0;

			ret = harness_translate(addr, (int)harness_number(line, "write"), &phys, &run);
			printf("{\"ret\":%d,\"phys\":%llu,\"run\":%llu}\n", ret, (unsigned long long)phys,
			       (unsigned long long)run);
		} else if (!strncmp(op, "\"resources\"", 11)) {
			printf("{\"n\":%llu}\n", (unsigned long long)harness_resources());
		} else {
			printf("{\"error\":\"unknown op\"}\n");
		}
		fflush(stdout);
	}
	free(line);
	return 0;
}

#endif

/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Uprobes on instructions of the test itself, as perf events.
 */
#ifndef HW_BREAKPOINT_UPROBE_H
#define HW_BREAKPOINT_UPROBE_H

#include <stdio.h>

#include "perf_event.h"

/* From arch_uprobe_analyze_insn(); in the kernel's linux/errno.h only */
#define NOT_SUPPORTED	524

#define TYPE_FILE	"/sys/bus/event_source/devices/uprobe/type"

/**
 * file_offset() - find an address of this program in its file
 * @addr: address
 *
 * Return: the offset; -1 if it is not known.
 */
static inline long long file_offset(const void *addr)
{
	unsigned long long begin, end, offset, at = (unsigned long)addr;
	FILE *f = fopen("/proc/self/maps", "re");
	long long found = -1;

	while (f && found < 0 &&
	       fscanf(f, "%llx-%llx %*s %llx%*[^\n]", &begin, &end, &offset) == 3)
		if (at >= begin && at < end)
			found = at - begin + offset;
	if (f)
		fclose(f);
	return found;
}

/**
 * open_uprobe() - put a uprobe on an instruction of this program
 * @addr: the instruction
 * @tid: the thread whose executions are counted
 * @ret: on the return from the function that begins there, instead
 *
 * Return: file descriptor of the event or a negative errno, -ENOENT if the kernel
 * has no uprobes.
 */
static inline int open_uprobe(const void *addr, pid_t tid, bool ret)
{
	struct perf_event_attr attr = {
		.size = sizeof(attr),
		/* Bit 0 in all kernels so far: .../uprobe/format/retprobe */
		.config = ret,
		.config1 = (unsigned long)"/proc/self/exe",
		.config2 = file_offset(addr),
	};
	FILE *f = fopen(TYPE_FILE, "re");

	if (!f)
		return -ENOENT;
	if (fscanf(f, "%u", &attr.type) != 1)
		attr.type = PERF_TYPE_MAX;
	fclose(f);
	return perf_try_once(&attr, tid, -1);
}

/**
 * start_uprobe() - open_uprobe(), or skip the test
 * @_metadata: the test's
 * @addr: as for open_uprobe()
 * @tid: as for open_uprobe().  The thread should exist before the event: one that
 *	is forked later would keep it open
 * @ret: as for open_uprobe()
 *
 * Return: file descriptor of the event.
 */
static inline int start_uprobe(struct __test_metadata *_metadata, const void *addr,
			       pid_t tid, bool ret)
{
	int fd;

	skip_if_no_changes(_metadata);
	if (file_offset(addr) < 0)
		SKIP(_exit(EXIT_SKIPPED), SKIP_NO_PROC);
	fd = open_uprobe(addr, tid, ret);
	if (fd == -ENOENT)
		SKIP(_exit(EXIT_SKIPPED), SKIP_NOT_BUILT_IN);
	if (fd == -NOT_SUPPORTED)
		SKIP(_exit(EXIT_SKIPPED), SKIP_NOT_USED);
	skip_if_refused(_metadata, fd < 0 ? fd : 0, "uprobe");
	return fd;
}

#endif /* HW_BREAKPOINT_UPROBE_H */

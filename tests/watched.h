/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Watched memory that the kernel accesses, for kernel_access_test and
 * implicit_access_test.
 */
#ifndef HW_BREAKPOINT_WATCHED_H
#define HW_BREAKPOINT_WATCHED_H

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "tracee.h"

/**
 * struct watched - watched memory, and an unwatched alias
 * @word: watched address
 * @alias: the same memory at another address
 */
struct watched {
	unsigned int *word;
	unsigned int *alias;
};

/**
 * watched_alloc() - allocate watched memory
 * @w: filled in
 *
 * The word is in the middle of a page, with room on both sides for any
 * structure.  The process exits with a failure if there is no memory.
 */
static inline void watched_alloc(struct watched *w)
{
	char *page = shared_alloc(4096), *alias;

	/* Size 0: a second mapping of the same pages, mremap(2) */
	alias = mremap(page, 0, 4096, MREMAP_MAYMOVE);
	if (alias == MAP_FAILED) {
		perror("# no alias");
		exit(1);
	}
	w->word = (unsigned int *)(page + 1024);
	w->alias = (unsigned int *)(alias + 1024);
}

#endif /* HW_BREAKPOINT_WATCHED_H */

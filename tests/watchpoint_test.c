// SPDX-License-Identifier: GPL-2.0
/*
 * Watchpoints: the full matrix of hits and misses.
 *
 * Every slot, type and length, at every aligned offset in a window of 16 bytes,
 * against stores and loads of 1, 2, 4 and 8 bytes at every offset in reach.  An
 * access hits if any byte of it is watched, aligned or not: bp_hits().  The
 * misses are the negative controls: the byte before, the byte after, the load
 * under a write-only watchpoint.
 *
 * The tracee makes all accesses in a row, and the tracer expects exactly the
 * traps that are due, so that a trap too many or too few is detected at once,
 * with its access.
 */
#include "harness.h"
#include "probes.h"

#define WINDOW	16	/* bytes; every place a watchpoint can have */
#define REACH	8	/* bytes before and after it that an access may touch */
#define OFFSETS	(REACH + WINDOW + REACH - 8 + 1)
#define CELLS	(OFFSETS * PROBE_ACCESSES)

/*
 * One cache line in the middle of a page: for accesses across either see
 * access_test.
 */
struct line {
	unsigned char before[16];
	unsigned char window[WINDOW];
	unsigned char after[32];
};

struct watch {
	struct line *line;
	bool aligned;
	unsigned int slot;
	enum bp_type type;
	unsigned int len;
	unsigned int place;
};

/*
 * Access number @n, from 1 to CELLS: which probe, and its offset in the window
 */
static const struct probe *cell(unsigned long n, int *at)
{
	*at = (int)((n - 1) % OFFSETS) - REACH;
	return &probe_access[(n - 1) / OFFSETS];
}

static bool cell_exists(const struct watch *w, unsigned long n)
{
	int at;
	const struct probe *probe = cell(n, &at);

	return (at % (int)probe->size == 0) == w->aligned;
}

static void access_all_cells(struct tracee *t)
{
	struct watch *w = t->arg;
	const struct probe *probe;
	unsigned long n;
	int at;

	for (;;) {
		for (n = 1; n <= CELLS; n++) {
			if (!cell_exists(w, n))
				continue;
			probe = cell(n, &at);
			*t->progress = n;
			probe->fn(w->line->window + at, n);
		}
		*t->progress = n;
		tracee_sync();
	}
}

static void describe_cell(struct tracee *t, unsigned long n, char *buf,
			  size_t size)
{
	struct watch *w = t->arg;
	const struct probe *probe;
	int at;

	if (!n || n > CELLS)
		return;
	probe = cell(n, &at);
	snprintf(buf, size, "%s of %u bytes at %+d, DR%u watches %s of %u at +%u",
		 probe->store ? "store" : "load", probe->size, at, w->slot,
		 w->type == BP_WRITE ? "writes" : "reads and writes", w->len,
		 w->place);
}

FIXTURE(watchpoint) {
	struct tracee t;
	struct watch w;
};

FIXTURE_VARIANT(watchpoint) {
	unsigned int slot;
	enum bp_type type;
	unsigned int len;
};

#define WATCH(nr, rw, bytes)						\
	{ .slot = (nr), .type = (rw), .len = (bytes) }

FIXTURE_VARIANT_ADD(watchpoint, dr0_write_1) WATCH(0, BP_WRITE, 1);
FIXTURE_VARIANT_ADD(watchpoint, dr0_write_2) WATCH(0, BP_WRITE, 2);
FIXTURE_VARIANT_ADD(watchpoint, dr0_write_4) WATCH(0, BP_WRITE, 4);
FIXTURE_VARIANT_ADD(watchpoint, dr0_write_8) WATCH(0, BP_WRITE, 8);
FIXTURE_VARIANT_ADD(watchpoint, dr0_rw_1) WATCH(0, BP_RW, 1);
FIXTURE_VARIANT_ADD(watchpoint, dr0_rw_2) WATCH(0, BP_RW, 2);
FIXTURE_VARIANT_ADD(watchpoint, dr0_rw_4) WATCH(0, BP_RW, 4);
FIXTURE_VARIANT_ADD(watchpoint, dr0_rw_8) WATCH(0, BP_RW, 8);
FIXTURE_VARIANT_ADD(watchpoint, dr1_write_1) WATCH(1, BP_WRITE, 1);
FIXTURE_VARIANT_ADD(watchpoint, dr1_write_2) WATCH(1, BP_WRITE, 2);
FIXTURE_VARIANT_ADD(watchpoint, dr1_write_4) WATCH(1, BP_WRITE, 4);
FIXTURE_VARIANT_ADD(watchpoint, dr1_write_8) WATCH(1, BP_WRITE, 8);
FIXTURE_VARIANT_ADD(watchpoint, dr1_rw_1) WATCH(1, BP_RW, 1);
FIXTURE_VARIANT_ADD(watchpoint, dr1_rw_2) WATCH(1, BP_RW, 2);
FIXTURE_VARIANT_ADD(watchpoint, dr1_rw_4) WATCH(1, BP_RW, 4);
FIXTURE_VARIANT_ADD(watchpoint, dr1_rw_8) WATCH(1, BP_RW, 8);
FIXTURE_VARIANT_ADD(watchpoint, dr2_write_1) WATCH(2, BP_WRITE, 1);
FIXTURE_VARIANT_ADD(watchpoint, dr2_write_2) WATCH(2, BP_WRITE, 2);
FIXTURE_VARIANT_ADD(watchpoint, dr2_write_4) WATCH(2, BP_WRITE, 4);
FIXTURE_VARIANT_ADD(watchpoint, dr2_write_8) WATCH(2, BP_WRITE, 8);
FIXTURE_VARIANT_ADD(watchpoint, dr2_rw_1) WATCH(2, BP_RW, 1);
FIXTURE_VARIANT_ADD(watchpoint, dr2_rw_2) WATCH(2, BP_RW, 2);
FIXTURE_VARIANT_ADD(watchpoint, dr2_rw_4) WATCH(2, BP_RW, 4);
FIXTURE_VARIANT_ADD(watchpoint, dr2_rw_8) WATCH(2, BP_RW, 8);
FIXTURE_VARIANT_ADD(watchpoint, dr3_write_1) WATCH(3, BP_WRITE, 1);
FIXTURE_VARIANT_ADD(watchpoint, dr3_write_2) WATCH(3, BP_WRITE, 2);
FIXTURE_VARIANT_ADD(watchpoint, dr3_write_4) WATCH(3, BP_WRITE, 4);
FIXTURE_VARIANT_ADD(watchpoint, dr3_write_8) WATCH(3, BP_WRITE, 8);
FIXTURE_VARIANT_ADD(watchpoint, dr3_rw_1) WATCH(3, BP_RW, 1);
FIXTURE_VARIANT_ADD(watchpoint, dr3_rw_2) WATCH(3, BP_RW, 2);
FIXTURE_VARIANT_ADD(watchpoint, dr3_rw_4) WATCH(3, BP_RW, 4);
FIXTURE_VARIANT_ADD(watchpoint, dr3_rw_8) WATCH(3, BP_RW, 8);

FIXTURE_SETUP(watchpoint)
{
	self->w.line = shared_alloc(4096);
	self->w.line += 2048 / sizeof(*self->w.line);
	self->w.slot = variant->slot;
	self->w.type = variant->type;
	self->w.len = variant->len;
	self->t.body = access_all_cells;
	self->t.arg = &self->w;
	self->t.describe = describe_cell;
}

FIXTURE_TEARDOWN(watchpoint)
{
	tracee_stop(&self->t);
}

/* All accesses of one pass, with the watchpoint at its present offset */
static int expect_pass(struct tracee *t, const struct watch *w)
{
	unsigned long n;
	int at;

	for (n = 1; n <= CELLS; n++) {
		const struct probe *probe = cell(n, &at);
		struct trap trap = {
			.ip = probe->next, .slots = 1U << w->slot,
			.progress = n,
		};

		if (!cell_exists(w, n) ||
		    !bp_hits(w->type, w->place, w->len, at, probe->size,
			     probe->store))
			continue;
		if (probe->store) {
			trap.mem = w->line->window + at;
			trap.mem_size = probe->size;
			trap.mem_value = probe->size == 1 ? n & 0xff : n;
		}
		if (tracee_expect_trap(t, &trap))
			return -1;
	}
	return tracee_expect_sync(t, n);
}

static void matrix(struct __test_metadata *_metadata, struct tracee *t,
		   struct watch *w)
{
	unsigned int place;

	start_tracee(_metadata, t, TRACEE_TRACEME);

	for (place = 0; place < WINDOW; place += w->len) {
		w->place = place;
		ASSERT_EQ(0, tracee_arm(t, w->slot, w->type, w->len,
					w->line->window + place));
		ASSERT_EQ(0, expect_pass(t, w));
	}
}

TEST_F(watchpoint, aligned)
{
	self->w.aligned = true;
	matrix(_metadata, &self->t, &self->w);
}

/* Separate, for emulators that only compare the aligned words */
TEST_F(watchpoint, unaligned)
{
	matrix(_metadata, &self->t, &self->w);
}

TEST_HARNESS_MAIN

/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Several tracees at once, each with the ledger of its own traps.
 *
 * Every member of a crew watches two execute targets and two words of its own,
 * in all four slots, and touches them and what the next member watches, round
 * after round.  What it owes at each step follows from the step alone, so any
 * number of members can run in any order and every trap is still exact.
 */
#ifndef HW_BREAKPOINT_CREW_H
#define HW_BREAKPOINT_CREW_H

#include <stdbool.h>
#include <sys/types.h>

#include "tracee.h"

#define CREW_MAX	64	/* members with addresses of their own */

/**
 * struct crew_area - what one member watches and touches; a page of its own
 * @sink: where its targets store
 * @written: under its write watchpoint
 * @read: under its rw watchpoint
 * @switches: how often the armed member has come in behind another armed one
 * @moves: how often it was moved to another CPU
 * @from: the armed thread behind which it came in last
 * @since: when that was, in ns of CLOCK_MONOTONIC
 * @baton: of the first member's area only: whose turn it is
 * @rest: up to a page
 */
struct crew_area {
	unsigned long sink;
	unsigned int written;
	unsigned int read;
	unsigned long switches;
	unsigned long moves;
	unsigned long long since;
	int from;
	int baton;
	char rest[4096 - 3 * sizeof(long) - sizeof(long long) -
		  4 * sizeof(int)];
};

/**
 * enum crew_pace - what a member does between two accesses
 * @CREW_FREE: nothing
 * @CREW_YIELD: sched_yield(), so that the others on its CPU come in between
 * @CREW_BATON: passes a baton to the next member and waits for it to return
 * @CREW_MOVE: moves itself to the next CPU it may use
 */
enum crew_pace {
	CREW_FREE,
	CREW_YIELD,
	CREW_BATON,
	CREW_MOVE,
};

/**
 * struct crew_member - one tracee of several
 * @area: shared areas of the whole crew, from crew_areas()
 * @nr: which member this is, below @of; its addresses follow from it
 * @of: how many members there are
 * @rounds: of five traps each, where armed
 * @armed: owes traps; otherwise it just touches what the others watch
 * @pace: what it does between two accesses
 * @moved: its tracer moves it to another CPU at every trap
 * @spare: slots left to others, 0 to 4: what they would watch is not armed
 * @stops: somebody sends it SIGSTOP and SIGCONT, which owe nothing
 * @step: what the ledger has come to
 */
struct crew_member {
	struct crew_area *area;
	unsigned int nr;
	unsigned int of;
	unsigned int rounds;
	bool armed;
	enum crew_pace pace;
	bool moved;
	unsigned int spare;
	bool stops;
	unsigned long step;
};

#define CREW_TRAPS	5	/* traps that a round owes */

struct crew_area *crew_areas(void);
pid_t crew_switched(pid_t tid, int cpu);
void crew_access(const struct crew_member *m, unsigned long step);
int crew_arm(struct tracee *t);
int crew_start(struct tracee *t, struct crew_member *m, enum tracee_how how);
int crew_event(struct tracee *t, const struct stop *s);
int crew_run(struct tracee *set, unsigned int n);
int crew_side_by_side(unsigned int n, int (*run)(unsigned int nr, void *arg),
		      void *arg);
void crew_ready(void);

#endif /* HW_BREAKPOINT_CREW_H */

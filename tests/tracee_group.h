/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Several tracees at once, each with its expected events.
 *
 * Every tracee of a group watches two execute targets and two words of its own,
 * in all four slots, and accesses them and what the next tracee watches, for a
 * number of rounds.  The expected event follows from the number of the access
 * alone, so any number of tracees can run in any order and every trap is still
 * exact.
 */
#ifndef HW_BREAKPOINT_TRACEE_GROUP_H
#define HW_BREAKPOINT_TRACEE_GROUP_H

#include <stdbool.h>
#include <sys/types.h>

#include "tracee.h"

#define GROUP_MAX	64	/* tracees with different addresses */

/**
 * struct group_area - what one tracee watches and accesses; a page
 * @sink: where its targets store
 * @written: under its write watchpoint
 * @read: under its rw watchpoint
 * @switches: number of switches from another armed thread
 * @moves: number of migrations to another CPU
 * @switched_at: time of the last switch, in ns of CLOCK_MONOTONIC
 * @switched_from: the armed thread before the last switch
 * @token: in the first area only: the tracee that has the token
 * @rest: up to a page
 */
struct group_area {
	unsigned long sink;
	unsigned int written;
	unsigned int read;
	unsigned long switches;
	unsigned long moves;
	unsigned long long switched_at;
	int switched_from;
	int token;
	char rest[4096 - 3 * sizeof(long) - sizeof(long long) -
		  4 * sizeof(int)];
};

/**
 * enum group_pace - what a tracee does between two accesses
 * @PACE_FREE: nothing
 * @PACE_YIELD: sched_yield(), so that others run on its CPU in between
 * @PACE_TOKEN: passes a token to the next tracee and waits for its return
 * @PACE_MOVE: moves itself to the next CPU that it may use
 */
enum group_pace {
	PACE_FREE,
	PACE_YIELD,
	PACE_TOKEN,
	PACE_MOVE,
};

/**
 * struct group_tracee - one tracee of a group
 * @area: shared areas of the whole group, from group_areas()
 * @nr: its number, below @of; its addresses follow from it
 * @of: number of tracees
 * @rounds: number of rounds, each with GROUP_TRAPS_PER_ROUND traps if armed
 * @armed: it has slots; otherwise it only accesses what the others watch
 * @pace: what it does between two accesses
 * @moved: its tracer moves it to another CPU at every trap
 * @spare: number of slots, 0 to 4, that it leaves to others
 * @stops: it gets SIGSTOP and SIGCONT, whose stops are ignored
 * @step: number of the next access
 */
struct group_tracee {
	struct group_area *area;
	unsigned int nr;
	unsigned int of;
	unsigned int rounds;
	bool armed;
	enum group_pace pace;
	bool moved;
	unsigned int spare;
	bool stops;
	unsigned long step;
};

#define GROUP_TRAPS_PER_ROUND	5	/* expected traps of a round */

struct group_area *group_areas(void);
pid_t group_switched_from(pid_t tid, int cpu);
void group_access(const struct group_tracee *m, unsigned long step);
int group_arm(struct tracee *t);
int group_start(struct tracee *t, struct group_tracee *m, enum tracee_how how);
int group_event(struct tracee *t, const struct stop *s);
int group_run(struct tracee *set, unsigned int n);
int run_side_by_side(unsigned int n, int (*run)(unsigned int nr, void *arg),
		     void *arg);
void side_by_side_ready(void);

#endif /* HW_BREAKPOINT_TRACEE_GROUP_H */

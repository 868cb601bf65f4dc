/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A process and its child or thread, for the tests of what a new task inherits
 * and of what remains of one that has exited.
 */
#ifndef HW_BREAKPOINT_LIFETIME_H
#define HW_BREAKPOINT_LIFETIME_H

#include <sched.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "probes.h"
#include "tracee.h"

#define STACK	16384

/**
 * struct family - shared by the processes of a test
 * @word: watched by the parent's slot 0; its slot 3 is on execute target 0
 * @own: watched by the child's slot 1
 * @sink: where the target stores
 * @progress: progress of the child
 * @child: thread id of the child, from the kernel
 * @done: the child has finished
 * @status: wait status of the child, from its parent
 * @flags: for clone()
 * @traced: the child stops for the tracer
 * @stack: of the child
 */
struct family {
	unsigned int word;
	unsigned int own;
	unsigned long sink;
	unsigned long progress;
	int child;
	int done;
	int status;
	int flags;
	bool traced;
	char stack[STACK] __attribute__((aligned(16)));
};

#define HAS_THREAD(flags)	((flags) & CLONE_THREAD)
#define THREAD_FLAGS							\
	(CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | \
	 CLONE_SYSVSEM)

/* Two passes over the watched words and the target */
static inline int child(void *arg)
{
	struct family *l = arg;
	int pass;

	if (!HAS_THREAD(l->flags))
		prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (pass = 0; pass < 2; pass++) {
		l->progress = 1 + 3 * pass;
		probe_store4(&l->word, 10 + pass);
		probe_call_target(0, &l->sink, pass);
		l->progress = 2 + 3 * pass;
		probe_store4(&l->own, 20 + pass);
		l->progress = 3 + 3 * pass;
		if (l->traced)
			tracee_sync();
	}
	__atomic_store_n(&l->done, 1, __ATOMIC_RELEASE);
	return 0;
}

/* The body of the tracee: accesses, clone(), and the same accesses again */
static inline void parent(struct tracee *t)
{
	struct family *l = t->arg;
	sigset_t set;
	pid_t pid;

	/* Its delivery would be one more stop */
	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigprocmask(SIG_BLOCK, &set, NULL);

	*t->progress = 1;
	probe_store4(&l->word, 1);
	*t->progress = 2;
	probe_call_target(0, &l->sink, 2);
	*t->progress = 3;
	pid = clone(child, l->stack + STACK, l->flags | CLONE_PARENT_SETTID, l,
		    &l->child);
	if (pid < 0)
		_exit(1);
	while (!__atomic_load_n(&l->done, __ATOMIC_ACQUIRE)) {
		let_others_run();
		/*
		 * A thread that dies kills its process; the status of a process
		 * is checked
		 */
		if (!HAS_THREAD(l->flags) &&
		    waitpid(pid, &l->status, __WALL | WNOHANG) == pid) {
			pid = 0;
			break;
		}
	}
	if (pid && !HAS_THREAD(l->flags))
		waitpid(pid, &l->status, __WALL);
	*t->progress = 4;
	probe_store4(&l->word, 4);
	*t->progress = 5;
	probe_call_target(0, &l->sink, 5);
	*t->progress = 6;
	tracee_sync();
}

#endif /* HW_BREAKPOINT_LIFETIME_H */

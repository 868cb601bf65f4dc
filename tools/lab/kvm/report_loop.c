// SPDX-License-Identifier: GPL-2.0
/*
 * The loop of the report of January 2016, written anew: a tracer puts an
 * execute breakpoint into DR0 of its child and waits for it, again and again,
 * until the child once runs straight through.
 *
 * Usage: report_loop ADDRESS SECONDS
 *   ADDRESS  0 or 1: which of two places; the report needed two copies with
 *            different ones
 *   SECONDS  give up after so many; only the loop's end depends on it
 *
 * Prints a line; exit status 1 where a breakpoint was lost, 2 where it cannot be
 * set at all.
 */
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void __attribute__((noinline)) first(void)
{
	asm volatile("nop");
}

static void __attribute__((noinline)) second(void)
{
	asm volatile("nop; nop");
}

static void (*const places[])(void) = { first, second };

static int set_dr(pid_t pid, int n, unsigned long val)
{
	return ptrace(PTRACE_POKEUSER, pid,
		      offsetof(struct user, u_debugreg) + n * sizeof(long),
		      val);
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

int main(int argc, char **argv)
{
	void (*place)(void) = places[argc > 1 && atoi(argv[1]) == 1];
	double start = now(), limit = argc > 2 ? atof(argv[2]) : 60;
	unsigned long n = 0;
	int status;
	pid_t pid;

	pid = fork();
	if (!pid) {
		ptrace(PTRACE_TRACEME, 0, 0, 0);
		raise(SIGSTOP);
		for (;;) {
			place();
			/* Not reached without a stop at the breakpoint */
			raise(SIGUSR1);
		}
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		return 2;
	if (set_dr(pid, 0, (unsigned long)place) || set_dr(pid, 7, 1)) {
		perror("report_loop");
		kill(pid, SIGKILL);
		return 2;
	}
	while (now() - start < limit) {
		/* First the breakpoint, then the signal after it */
		if (ptrace(PTRACE_CONT, pid, 0, 0) ||
		    waitpid(pid, &status, 0) != pid || !WIFSTOPPED(status))
			break;
		if (WSTOPSIG(status) != SIGTRAP) {
			printf("report_loop: lost after %lu traps, %.2f s\n", n,
			       now() - start);
			kill(pid, SIGKILL);
			return 1;
		}
		n++;
		if (ptrace(PTRACE_CONT, pid, 0, 0) ||
		    waitpid(pid, &status, 0) != pid || !WIFSTOPPED(status) ||
		    WSTOPSIG(status) != SIGUSR1)
			break;
	}
	kill(pid, SIGKILL);
	if (now() - start < limit) {
		printf("report_loop: stopped with status %#x after %lu traps\n",
		       status, n);
		return 2;
	}
	printf("report_loop: none lost of %lu traps, %.2f s\n", n,
	       now() - start);
	return 0;
}

// SPDX-License-Identifier: GPL-2.0
/*
 * What verified traps cost, and how it scales.
 *
 *   bench ratio	a verified trap against the cheapest thing a tracer can do,
 *			PTRACE_SINGLESTEP and waitpid() with nothing looked at
 *   bench cpus		all CPUs together against one
 *   bench flat		1, 10, 100 and 1,000 armed tracees under one tracer
 *   bench memory	what each of 1,000 tracees with four slots takes
 *   bench switches	switches between armed threads, against two copies of the
 *			loop of the report of 2016
 *
 * Each prints what is compared, the ratio and its limit.  The sides of a ratio
 * take turns of some milliseconds, and the medians count: whatever else the
 * machine does meets all sides alike.
 */
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tracee_group.h"
#include "firing.h"
#include "probes.h"
#include "skip.h"
#include "tracee.h"

#define SIDES		64	/* the bits of a mask */
#define THE_END		(SIDES - 1)
#define MAX_WORKERS	64
#define TURNS		41
#define ENOUGH		15	/* seconds, after which fewer turns must do */
#define FEWEST		5
#define TRAPS		2000	/* verified traps in a turn */
#define MANY		1000
#define TURN_MS		50	/* of switches */

/* A turn: who works, and what came of it; in memory that all share */
static struct turns {
	int turn;		/* counted up, times SIDES, plus whose turn it is */
	int left;		/* workers that have not finished it yet */
	double rate[MAX_WORKERS];
} *turns;

static double results[8][TURNS], ratios[8][TURNS];

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec + ts.tv_nsec / 1e9;
}

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static int taken;

/* Is turn @i to be taken? */
static bool another(int i)
{
	static double begin;

	if (!i)
		begin = now();
	taken = i;
	return i < TURNS && (i < FEWEST || now() - begin < ENOUGH);
}

static double median(double *v)
{
	qsort(v, taken, sizeof(*v), by_value);
	return v[taken / 2];
}

static void wait_while(int *word, int val)
{
	while (__atomic_load_n(word, __ATOMIC_ACQUIRE) == val)
		syscall(SYS_futex, word, FUTEX_WAIT, val, NULL, NULL, 0);
}

static void wake(int *word)
{
	syscall(SYS_futex, word, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

/* Worker: the next turn of one of @sides, a mask; false at the end */
static bool my_turn(int *turn, unsigned long long sides)
{
	for (;;) {
		wait_while(&turns->turn, *turn);
		*turn = __atomic_load_n(&turns->turn, __ATOMIC_ACQUIRE);
		if (*turn % SIDES == THE_END)
			return false;
		if (sides >> *turn % SIDES & 1)
			return true;
	}
}

static void turn_done(unsigned int worker, double rate)
{
	turns->rate[worker] = rate;
	if (!__atomic_sub_fetch(&turns->left, 1, __ATOMIC_ACQ_REL))
		wake(&turns->left);
}

/* Give @workers workers of @side a turn; what all of them came to */
static double take_turn(int side, int workers)
{
	int i, next = turns->turn / SIDES * SIDES + SIDES + side;
	double sum = 0;

	memset(turns->rate, 0, sizeof(turns->rate));
	turns->left = workers;
	__atomic_store_n(&turns->turn, next, __ATOMIC_RELEASE);
	wake(&turns->turn);
	while ((i = __atomic_load_n(&turns->left, __ATOMIC_ACQUIRE)))
		syscall(SYS_futex, &turns->left, FUTEX_WAIT, i, NULL, NULL, 0);
	for (i = 0; i < MAX_WORKERS; i++)
		sum += turns->rate[i];
	return sum;
}

static void end_turns(void)
{
	signal(SIGCHLD, SIG_DFL);
	take_turn(THE_END, 0);
	while (wait(NULL) > 0)
		;
}

/* A worker that dies has said why, and must not be waited for */
static void worker_died(int sig)
{
	(void)sig;
	_exit(1);
}

static void worker(int (*run)(unsigned int nr), unsigned int nr)
{
	pid_t pid;

	signal(SIGCHLD, worker_died);
	pid = fork();
	if (pid < 0)
		die("fork");
	if (pid)
		return;
	signal(SIGCHLD, SIG_DFL);
	_exit(run(nr));
}

/* All tracees: a visit of target 0, again and again */
static void visit_for_ever(struct tracee *t)
{
	unsigned long *sink = t->arg;

	for (;;) {
		++*t->progress;
		probe_call_target(0, sink, 0);
	}
}

static void start_visitor(struct tracee *t, unsigned int slots)
{
	unsigned int i;

	*t = (struct tracee){ .body = visit_for_ever,
			      .arg = shared_alloc(sizeof(long)) };
	if (tracee_start(t, TRACEE_TRACEME))
		die("start");
	for (i = 0; i < slots; i++)
		if (tracee_arm(t, i, BP_EXECUTE, 1, probe_target(i)))
			die("arm");
}

static double trap_rate(struct tracee *t, unsigned long *n)
{
	double begin = now();
	int i;

	for (i = 0; i < TRAPS; i++)
		if (tracee_expect_hit(t, 1, probe_target(0), ++*n))
			exit(1);
	return TRAPS / (now() - begin);
}

static double step_rate(struct tracee *t)
{
	double begin = now();
	int i, status;

	for (i = 0; i < TRAPS; i++)
		if (ptrace(PTRACE_SINGLESTEP, t->tid, NULL, NULL) ||
		    waitpid(t->tid, &status, __WALL) != t->tid)
			die("single-step");
	return TRAPS / (now() - begin);
}

static void bench_ratio(int *cpus, int ncpus)
{
	struct tracee stepped, trapped;
	unsigned long n = 0;
	int i;

	(void)ncpus;
	pin_to_cpu(0, cpus[0]);
	start_visitor(&stepped, 0);
	start_visitor(&trapped, 1);
	for (i = 0; another(i); i++) {
		results[0][i] = step_rate(&stepped);
		results[1][i] = trap_rate(&trapped, &n);
		ratios[0][i] = results[1][i] / results[0][i];
	}
	printf("bare single-steps %.0f/s, verified traps %.0f/s|%.2f|>= 0.7\n",
	       median(results[0]), median(results[1]), median(ratios[0]));
}

/* Side 0: the CPUs in turn; side n: CPU n - 1 alone */
static int *worker_cpus;

static int trap_on_cpu(unsigned int nr)
{
	unsigned long n = 0;
	struct tracee t;
	int turn = 0;

	pin_to_cpu(0, worker_cpus[nr]);
	start_visitor(&t, 1);
	while (my_turn(&turn, 1 | 2ULL << nr))
		turn_done(nr, trap_rate(&t, &n));
	return 0;
}

static void bench_cpus(int *cpus, int ncpus)
{
	int i;

	if (ncpus > THE_END - 1)
		ncpus = THE_END - 1;
	if (ncpus < 2) {
		printf("one CPU only|-|>= 1.7\n");
		return;
	}
	worker_cpus = cpus;
	for (i = 0; i < ncpus; i++)
		worker(trap_on_cpu, i);
	for (i = 0; another(i); i++) {
		results[0][i] = take_turn(1 + i % ncpus, 1);
		results[1][i] = take_turn(0, ncpus);
		ratios[0][i] = results[1][i] / results[0][i];
	}
	end_turns();
	printf("one CPU %.0f/s, all %d %.0f/s|%.2f|>= %.1f\n",
	       median(results[0]), ncpus, median(results[1]),
	       median(ratios[0]), 0.85 * ncpus);
}

/* A process with many threads, each of which is a tracee */
struct threads {
	struct tracee *t;
	unsigned int n;
};

static void *visitor(void *arg)
{
	visit_for_ever(arg);
	return NULL;
}

/*
 * Their stacks lie side by side in huge pages, and no power of two apart: else
 * all of them would share a few sets of the caches.
 */
#define STACK	(16384 + 17 * 64)

static void run_threads(struct tracee *leader)
{
	const struct threads *all = leader->arg;
	char *stacks = mmap(NULL, all->n * STACK, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	pthread_attr_t attr;
	pthread_t thread;
	unsigned int i;

	if (stacks == MAP_FAILED)
		_exit(1);
	madvise(stacks, all->n * STACK, MADV_HUGEPAGE);
	pthread_attr_init(&attr);
	for (i = 0; i < all->n; i++)
		if (pthread_attr_setstack(&attr, stacks + i * STACK, STACK) ||
		    pthread_create(&thread, &attr, visitor, &all->t[i]))
			_exit(1);
	for (;;)
		pause();
}

/* They die with the leader, and that with us */
static void start_threads(struct tracee *t, unsigned int n)
{
	struct threads all = { .t = t, .n = n };
	struct tracee *leader = calloc(1, sizeof(*leader));
	char *progress = shared_alloc(n * 64);
	unsigned int i;
	unsigned long tid;
	int status;

	for (i = 0; i < n; i++)
		t[i] = (struct tracee){
			.arg = progress + i * 64 + 32,
			.progress = (unsigned long *)(progress + i * 64) };
	leader->body = run_threads;
	leader->arg = &all;
	if (tracee_start(leader, TRACEE_TRACEME) ||
	    ptrace(PTRACE_SETOPTIONS, leader->tid, NULL,
		   PTRACE_O_EXITKILL | PTRACE_O_TRACECLONE))
		die("start");
	for (i = 0; i < n; i++) {
		if (tracee_cont(leader) ||
		    waitpid(leader->tid, &status, __WALL) != leader->tid ||
		    status >> 16 != PTRACE_EVENT_CLONE ||
		    ptrace(PTRACE_GETEVENTMSG, leader->tid, NULL, &tid) ||
		    waitpid(tid, &status, __WALL) != (pid_t)tid ||
		    tracee_adopt(&t[i], tid))
			die("thread");
		if (tracee_arm(&t[i], 0, BP_EXECUTE, 1, probe_target(0)))
			die("arm");
	}
	if (tracee_cont(leader))
		die("continue");
}

/*
 * As many tracees as 10 to the power of @nr, all of them running: processes;
 * or with nothing armed, stepped and not looked at, which is what the machine
 * itself takes for so many of them; or threads of one process.
 */
#define STEPPED	4
#define THREADS	8

static int go_on(struct tracee *t, bool step)
{
	return tracee_resume(t, step ? PTRACE_SINGLESTEP : PTRACE_CONT, 0);
}

static int trap_many(unsigned int nr)
{
	unsigned int i, n = 1;
	bool step = nr / 4 * 4 == STEPPED;
	unsigned long *visits, count;
	struct tracee *t, *who;
	int turn = 0;

	for (i = 0; i < nr % 4; i++)
		n *= 10;
	t = calloc(n, sizeof(*t));
	visits = calloc(n, sizeof(*visits));
	if (!t || !visits)
		die("memory");
	pin_to_cpu(0, worker_cpus[0]);
	if (nr >= THREADS)
		start_threads(t, n);
	for (i = 0; i < n && nr < THREADS; i++)
		start_visitor(&t[i], step ? 0 : 1);
	while (my_turn(&turn, 1ULL << nr)) {
		double begin = now();
		struct stop s;

		/* As many are let go as have trapped: in the end, all stand */
		for (i = 0; i < n && i < TRAPS; i++)
			if (go_on(&t[i], step))
				die("continue");
		for (count = 0; count < TRAPS; count++) {
			struct trap want = { .ip = probe_target(0), .slots = 1 };

			who = tracee_wait_any(t, n, &s);
			if (!who)
				exit(1);
			want.progress = ++visits[who - t];
			if (!step && tracee_check_trap(who, &s, &want))
				exit(1);
			if (count + n < TRAPS && go_on(who, step))
				die("continue");
		}
		turn_done(nr, TRAPS / (now() - begin));
	}
	for (i = 0; i < n && nr < THREADS; i++)
		tracee_stop(&t[i]);
	return 0;
}

static void bench_flat(int *cpus, int ncpus)
{
	static const int sides[] = {
		0, 1, 2, 3, STEPPED, STEPPED + 3, THREADS, THREADS + 3 };
	int i, j;

	(void)ncpus;
	worker_cpus = cpus;
	for (j = 0; j < 8; j++)
		worker(trap_many, sides[j]);
	for (i = 0; another(i); i++) {
		for (j = 0; j < 8; j++) {
			results[j][i] = take_turn(sides[j], 1);
			ratios[j][i] = results[j][i] /
				       results[j < 4 ? 0 : j & 6][i];
		}
	}
	end_turns();
	printf("tracees 1: %.0f/s, 10: %.0f/s, 100: %.0f/s, 1000: %.0f/s; ",
	       median(results[0]), median(results[1]), median(results[2]),
	       median(results[3]));
	printf("1000 to 1: processes %.2f, steps not looked at %.2f, threads|%.2f|>= 0.8\n",
	       median(ratios[3]), median(ratios[5]), median(ratios[7]));
}

/* The sum of the fields of @path, in kB, that begin with one of @names */
static long sum_of(const char *path, const char *const *names)
{
	FILE *f = fopen(path, "re");
	char line[256], name[64];
	long kb, sum = 0;
	int i;

	while (f && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%63[^:]: %ld kB", name, &kb) != 2)
			continue;
		for (i = 0; names[i]; i++)
			if (!strcmp(name, names[i]))
				sum += kb;
	}
	if (f)
		fclose(f);
	return sum;
}

static void bench_memory(int *cpus, int ncpus)
{
	static const char *const kernel[] = {
		"Slab", "KernelStack", "PageTables", "Percpu", NULL };
	static const char *const own[] = {
		"Private_Clean", "Private_Dirty", NULL };
	static struct tracee t[MANY];
	long before = sum_of("/proc/meminfo", kernel), of_kernel, of_own = 0;
	char path[64];
	int i;

	(void)cpus;
	(void)ncpus;
	for (i = 0; i < MANY; i++) {
		start_visitor(&t[i], DR_SLOTS);
		if (tracee_expect_hit(&t[i], 1, probe_target(0), 1))
			exit(1);
	}
	of_kernel = sum_of("/proc/meminfo", kernel) - before;
	for (i = 0; i < MANY; i++) {
		snprintf(path, sizeof(path), "/proc/%d/smaps_rollup", t[i].tid);
		of_own += sum_of(path, own);
	}
	for (i = 0; i < MANY; i++)
		tracee_stop(&t[i]);
	printf("kB each: own pages %ld, kernel's %ld|%ld kB|< 1024 kB\n",
	       of_own / MANY, of_kernel / MANY, (of_own + of_kernel) / MANY);
}

/*
 * Two copies of the loop of the report, with different addresses, each where
 * the scheduler puts it (side 0), or both on one CPU (side 1); and groups that
 * hand each CPU round at every access (side 2).
 */
static unsigned long *report_switches;

static void report_child(struct tracee *t)
{
	unsigned long *sink = t->arg;

	for (;;) {
		if (group_switched_from(t->tid, sched_getcpu()))
			report_switches[t->id]++;
		probe_call_target(t->id, sink, 0);
		syscall(SYS_tgkill, getpid(), t->tid, SIGUSR1);
	}
}

static int report_loop(unsigned int worker)
{
	unsigned int nr = worker % 2;
	struct tracee t = { .body = report_child, .id = nr,
			    .arg = shared_alloc(sizeof(long)) };
	int turn = 0, status, i;

	if (worker >= 2)
		pin_to_cpu(0, worker_cpus[0]);
	if (tracee_start(&t, TRACEE_TRACEME) ||
	    tracee_arm(&t, 0, BP_EXECUTE, 1, probe_target(nr)))
		die("start");
	while (my_turn(&turn, 1ULL << worker / 2)) {
		unsigned long before = report_switches[nr];
		double begin = now();

		do {
			for (i = 0; i < 2; i++)
				if (ptrace(PTRACE_CONT, t.tid, NULL, NULL) ||
				    waitpid(t.tid, &status, 0) != t.tid ||
				    WSTOPSIG(status) != (i ? SIGUSR1 : SIGTRAP))
					die("report loop");
		} while (now() < begin + TURN_MS / 1e3);
		turn_done(worker, (report_switches[nr] - before) / (now() - begin));
	}
	tracee_stop(&t);
	return 0;
}

#define GROUP	8

static int hand_over(unsigned int nr)
{
	unsigned int rounds = 500 / GROUP, i;
	struct group_area *area = group_areas();
	struct group_tracee m[GROUP];
	struct tracee t[GROUP];
	unsigned long sum;
	double begin;
	int turn = 0;

	while (my_turn(&turn, 4)) {
		for (i = 0; i < GROUP; i++) {
			m[i] = (struct group_tracee){
				.area = area, .nr = i, .of = GROUP,
				.rounds = rounds, .armed = true,
				.pace = PACE_YIELD };
			area[i].switches = 0;
			t[i] = (struct tracee){ 0 };
			if (group_start(&t[i], &m[i], TRACEE_TRACEME) ||
			    pin_to_cpu(t[i].tid, worker_cpus[nr - 4]))
				die("start");
		}
		begin = now();
		if (group_run(t, GROUP))
			exit(1);
		begin = now() - begin;
		for (sum = 0, i = 0; i < GROUP; i++) {
			sum += area[i].switches;
			tracee_stop(&t[i]);
		}
		turn_done(nr, sum / begin);
	}
	return 0;
}

static void bench_switches(int *cpus, int ncpus)
{
	double one;
	int i;

	worker_cpus = cpus;
	group_areas();
	report_switches = shared_alloc(2 * sizeof(*report_switches));
	for (i = 0; i < 4; i++)
		worker(report_loop, i);
	for (i = 0; i < ncpus; i++)
		worker(hand_over, 4 + i);
	for (i = 0; another(i); i++) {
		results[0][i] = take_turn(0, 2);
		results[1][i] = take_turn(1, 2);
		results[2][i] = take_turn(2, ncpus);
	}
	end_turns();
	one = median(results[0]);
	printf("report's loop twice %.0f/s, on one CPU %.0f/s, groups %.0f/s|%.0f|>= 20\n",
	       one, median(results[1]), median(results[2]),
	       median(results[2]) / (one > 1 ? one : 1));
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		void (*run)(int *cpus, int ncpus);
	} benches[] = {
		{ "ratio", bench_ratio }, { "cpus", bench_cpus },
		{ "flat", bench_flat }, { "memory", bench_memory },
		{ "switches", bench_switches }, { NULL, NULL },
	};
	int cpus[MAX_WORKERS - 4], n = allowed_cpus(cpus, MAX_WORKERS - 4);
	unsigned int i;

	if (firing_dead(BY_PTRACE, NEEDS_ALL)) {
		fprintf(stderr, "nothing to measure: " SKIP_NEVER_FIRES "\n");
		return 4;
	}
	turns = shared_alloc(sizeof(*turns));
	for (i = 0; benches[i].name; i++) {
		if (argc == 2 && !strcmp(argv[1], benches[i].name)) {
			benches[i].run(cpus, n);
			return 0;
		}
	}
	fprintf(stderr, "Usage: bench ratio | cpus | flat | memory | switches\n");
	return 2;
}

// SPDX-License-Identifier: GPL-2.0
/*
 * Soak: tracees under a random background load, for minutes or days.
 *
 * soak TIME [--tracers N] [--tracees M] [--seed S] [--keep-going] [--choices]
 *
 * Some bugs need load and time: that of 2016 took up to an hour.  Each tracer
 * runs iteration after iteration: a group of tracees whose way of attaching,
 * CPUs, pace, armed slots and stressor are chosen at random from the seed.
 * Every trap is exact, as in the tests.  At the first event that is not the
 * expected one, it reports it together with the events of its neighbours, and
 * stops.
 *
 * The choices depend only on the seed, the numbers of tracers and tracees, and
 * the number of the iteration: the same seed makes the same choices, though not
 * with the same interleaving.
 *
 * Started by run_tests.sh --soak; not part of the default run.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "stressor.h"
#include "tracee_group.h"
#include "firing.h"
#include "environment.h"
#include "skip.h"

#define MAX_TRACERS	64

/*
 * Iterations of a cycle.  In its last quarter each thread leaves a slot to
 * others, and the first tracer runs the stressor that takes one from every
 * thread.  Tracers wait for each other at both ends of that phase.
 */
#define CYCLE		32
#define SHARED_PHASE	(CYCLE * 3 / 4)

enum where { ON_ONE_CPU, ON_A_CPU, ANYWHERE, WHERES };

/* The choices of an iteration */
struct choice {
	unsigned long long seed;
	unsigned int n, rounds, base;
	enum where where;
	enum group_pace pace;
	bool fifo;
	int stressor;	/* kind, or -1 */
	struct {
		enum tracee_how how;
		bool armed, moved;
		unsigned int spare;
	} m[GROUP_MAX];
};

/* The results of one tracer; in shared memory */
struct tracer {
	pid_t pid;
	bool exited;
	unsigned long iterations;
	unsigned long traps;
	unsigned long switches;
	unsigned long moves;
	unsigned long missed;
	unsigned long unexpected;
	unsigned long wrong;
	unsigned long memory;	/* in KB */
	unsigned long files;	/* that are open */
	unsigned long long seed;
	struct choice choice;
	struct {
		unsigned long iterations, runs, refused;
	} stressor[STRESSOR_KINDS];
	struct tracee t[GROUP_MAX];
	struct group_tracee m[GROUP_MAX];
};

static struct {
	double seconds;
	unsigned int tracers;
	unsigned int tracees;
	unsigned long long seed;
	bool keep_going;
	bool choices;
} opt = { .tracers = 4, .tracees = 4 };

static struct tracer *tracers;
static int *stop;

/* The CPUs that are usable at the start; the last one may go offline */
static int cpus[64], ncpus;

/* SplitMix64 (Steele, Lea, Flood 2014): one word of state, any seed will do */
static unsigned long long random_below(unsigned long long *state, unsigned long long n)
{
	unsigned long long z = *state += 0x9e3779b97f4a7c15ULL;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ z >> 27) * 0x94d049bb133111ebULL;
	return (z ^ z >> 31) % n;
}

static double now(void)
{
	return monotonic_ns() / 1e9;
}

/* The steal time, from /proc/stat: time that the hypervisor gave to others */
static void report_steal(void)
{
	char line[256];
	FILE *f = fopen("/proc/stat", "re");

	while (f && fgets(line, sizeof(line), f) && !strncmp(line, "cpu", 3)) {
		char cpu[16];
		unsigned long long steal;

		if (sscanf(line, "%15s %*u %*u %*u %*u %*u %*u %*u %llu", cpu,
			   &steal) == 2)
			fprintf(stderr, "#   %s: steal %llu ticks\n", cpu,
				steal);
	}
	if (f)
		fclose(f);
}

/* The CPU that a tracee has last recorded; -1 if it never did */
static int last_cpu(const struct tracee *t)
{
	return t->events ? t->log[(t->events - 1) % TRACEE_EVENTS].cpu : -1;
}

/* The last context switch of the tracee that had a wrong event */
static void record_switch(const struct tracee *t, const struct group_tracee *m)
{
	unsigned long long seen = t->log[(t->events - 1) % TRACEE_EVENTS].time;
	const struct group_area *own = &m->area[m->nr];

	fprintf(stderr, "#   tracee %u, on CPU %d, moved %lu times by soak\n", t->id,
		last_cpu(t), own->moves);
	if (own->switches)
		fprintf(stderr, "#   %lu switches, the last from thread %d, %lld us before\n",
			own->switches, own->switched_from,
			(long long)(seen - own->switched_at) / 1000);
}

/* One line with the random choices */
static void print_choice(FILE *f, unsigned int nr, const struct tracer *me)
{
	static const char * const where[WHERES] = {
		"on one CPU", "on its tracer's CPU", "on any CPU" };
	static const char * const pace[] = { "free", "yield", "token", "move" };
	static const char * const how[] = { "traceme", "attach", "seize" };
	const struct choice *c = &me->choice;
	unsigned int i;

	fprintf(f, "# tracer %u, iteration %lu: %u rounds, %s, %s%s, stressor %s", nr,
		me->iterations, c->rounds, where[c->where], pace[c->pace],
		c->fifo ? ", SCHED_FIFO" : "",
		c->stressor < 0 ? "none" : stressor_kinds[c->stressor].name);
	for (i = 0; i < c->n; i++)
		fprintf(f, "; tracee %u %s %s%s, %u slots",
			(c->base + i) % GROUP_MAX, how[c->m[i].how],
			c->m[i].armed ? "armed" : "unarmed",
			c->m[i].moved ? " moved" : "",
			DR_SLOTS - c->m[i].spare);
	fprintf(f, "\n");
	fflush(f);
}

/*
 * The rest of the report; the event itself has been reported.  Followed by the
 * last events of all tracees that were last on the same CPU, of any tracer.
 */
static void record(unsigned int nr, const struct tracer *me, unsigned int n)
{
	unsigned int i, j;
	int cpu = -1;

	print_choice(stderr, nr, me);
	fprintf(stderr, "# seed of the iteration %#llx, of the run %llu\n",
		me->choice.seed, opt.seed);
	report_steal();
	for (i = 0; i < n; i++) {
		const struct tracee *t = &me->t[i];

		if (!t->events || !(t->missed + t->unexpected + t->wrong))
			continue;
		cpu = last_cpu(t);
		record_switch(t, &me->m[i]);
	}
	for (i = 0; i < opt.tracers; i++) {
		for (j = 0; j < opt.tracees; j++) {
			struct tracee *t = &tracers[i].t[j];

			if (!t->tid || !t->events || (i == nr && j >= n) ||
			    (cpu >= 0 && last_cpu(t) >= 0 && last_cpu(t) != cpu))
				continue;
			fprintf(stderr, "#   last events of a tracee of tracer %u\n", i);
			tracee_report_events(t);
		}
	}
}

/* Choose the next iteration */
static void choose(unsigned int nr, struct tracer *me)
{
	bool shared = me->iterations % CYCLE >= SHARED_PHASE;
	unsigned long long *seed = &me->seed;
	struct choice *c = &me->choice;
	unsigned int i;

	*c = (struct choice){ .seed = *seed };
	c->n = 1 + random_below(seed, opt.tracees);
	c->rounds = 20 + random_below(seed, 60);
	c->base = random_below(seed, GROUP_MAX);
	c->where = random_below(seed, WHERES);
	c->pace = random_below(seed, PACE_MOVE + 1);
	c->fifo = !random_below(seed, 8);
	/* The token is passed only if all of them are there */
	if (c->pace == PACE_TOKEN)
		c->base = 0;
	/* The last two kinds are for one tracer only */
	c->stressor = random_below(seed, STRESSOR_CPU_EVENTS);
	if (random_below(seed, 2))
		c->stressor = -1;
	if (!nr && shared)
		c->stressor = STRESSOR_CPU_EVENTS;
	else if (!nr && !random_below(seed, 4))
		c->stressor = STRESSOR_HOTPLUG;
	/* Hotplug takes time */
	if (c->stressor == STRESSOR_HOTPLUG)
		c->rounds *= 8;
	for (i = 0; i < c->n; i++) {
		c->m[i].how = random_below(seed, 3);
		c->m[i].armed = random_below(seed, 8);
		c->m[i].moved = random_below(seed, 2) && c->where == ANYWHERE;
		c->m[i].spare = random_below(seed, 4) ? 0 : random_below(seed, 4);
		if (shared && !c->m[i].spare)
			c->m[i].spare = 1;
	}
}

/* Wait until no other tracer is in an earlier phase of the cycle */
static void wait_for_phase(const struct tracer *me)
{
	struct timespec tick = { .tv_nsec = 1000000 };
	unsigned int i = 0;

	if (me->iterations % CYCLE && me->iterations % CYCLE != SHARED_PHASE)
		return;
	while (i < opt.tracers && !__atomic_load_n(stop, __ATOMIC_RELAXED)) {
		if (__atomic_load_n(&tracers[i].exited, __ATOMIC_RELAXED) ||
		    __atomic_load_n(&tracers[i].iterations, __ATOMIC_RELAXED) >=
		    me->iterations)
			i++;
		else
			nanosleep(&tick, NULL);
	}
}

/* Start the group of an iteration, stopped and armed */
static int start_group(unsigned int nr, struct tracer *me,
		       struct group_area *area)
{
	struct sched_param prio = { .sched_priority = 1 };
	const struct choice *c = &me->choice;
	unsigned int i;
	int err = 0;

	memset(me->t, 0, sizeof(me->t));
	for (i = 0; i < c->n && !err; i++) {
		struct group_tracee *m = &me->m[i];

		*m = (struct group_tracee){
			.area = area, .rounds = c->rounds, .pace = c->pace,
			.nr = (c->base + i) % GROUP_MAX,
			.of = c->pace == PACE_TOKEN ? c->n : GROUP_MAX,
			.armed = c->m[i].armed, .moved = c->m[i].moved,
			.spare = c->m[i].spare,
			.stops = c->stressor == STRESSOR_STOPS };
		err = group_start(&me->t[i], m, c->m[i].how);
		/* Refused if the CPU is offline: then on any other */
		if (!err && c->where != ANYWHERE)
			pin_to_cpu(me->t[i].tid,
				   cpus[c->where == ON_A_CPU ? nr % ncpus : 0]);
		/* If permitted, and the tracer can use another CPU */
		if (!err && c->fifo && ncpus > 1)
			sched_setscheduler(me->t[i].tid, SCHED_FIFO, &prio);
	}
	return err;
}

/* Run with the chosen stressor, if any; 1 if something was wrong */
static int run_group(unsigned int nr, struct tracer *me)
{
	const struct choice *choice = &me->choice;
	struct stressor c = { .t = me->t, .n = choice->n };
	int kind = choice->stressor, err, ret;

	if (kind >= 0) {
		err = stressor_start(&c, &stressor_kinds[kind]);
		if (err)
			return err;
	}
	err = group_run(me->t, choice->n);
	if (err)
		record(nr, me, choice->n);
	if (kind < 0)
		return err;
	ret = stressor_stop(&c);
	me->stressor[kind].iterations++;
	me->stressor[kind].runs += c.iterations;
	if (ret == STRESSOR_REFUSED) {
		me->stressor[kind].refused++;
	} else if (ret) {
		fprintf(stderr, "# stressor %s failed\n",
			stressor_kinds[kind].name);
		me->wrong++;
		err = 1;
	}
	return err;
}

/* One iteration, from start to exit */
static int iterate(unsigned int nr, struct tracer *me)
{
	struct group_area *area = group_areas();
	unsigned int i;
	int err;

	reset_slot_retries();
	choose(nr, me);
	if (opt.choices)
		print_choice(stdout, nr, me);
	err = start_group(nr, me, area);
	if (err) {
		fprintf(stderr, "# tracer %u cannot start: %s\n", nr,
			strerror(abs(err)));
	} else {
		err = run_group(nr, me);
		/* A call has failed: an iteration that was not right, like any other */
		if (err < 0) {
			fprintf(stderr, "# tracer %u: %s\n", nr, strerror(-err));
			me->wrong++;
			err = 1;
		}
	}
	for (i = 0; i < me->choice.n; i++) {
		struct tracee *t = &me->t[i];

		tracee_stop(t);
		me->traps += t->traps;
		t->traps = 0;
		me->missed += t->missed;
		me->unexpected += t->unexpected;
		me->wrong += t->wrong;
		me->switches += area[me->m[i].nr].switches;
		me->moves += area[me->m[i].nr].moves;
	}
	munmap(area, GROUP_MAX * sizeof(*area));
	__atomic_add_fetch(&me->iterations, 1, __ATOMIC_RELAXED);
	return err;
}

/* What a leak would let grow, between two iterations */
static void measure(struct tracer *me)
{
	FILE *statm = fopen("/proc/self/statm", "re");
	unsigned long pages, files = 0;

	if (statm && fscanf(statm, "%*u %lu", &pages) == 1)
		me->memory = pages * (getpagesize() / 1024);
	if (statm)
		fclose(statm);
	for (int fd = 0; fd < 1024; fd++)
		files += fcntl(fd, F_GETFD) >= 0;
	me->files = files;
}

static void trace(unsigned int nr)
{
	struct tracer *me = &tracers[nr];
	unsigned long long state = opt.seed;
	unsigned int i;

	/*
	 * The parent asks all to stop, even if a terminal signals all of us: a
	 * tracee would stop for the signal, ignored or not, which is not
	 * expected.
	 */
	setpgid(0, 0);
	signal(SIGINT, SIG_IGN);
	signal(SIGTERM, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	tracee_events_shown = TRACEE_EVENTS;
	for (i = 0; i <= nr; i++)
		me->seed = random_below(&state, ~0ULL);
	for (;;) {
		int err;

		wait_for_phase(me);
		if (__atomic_load_n(stop, __ATOMIC_RELAXED))
			break;
		err = iterate(nr, me);
		measure(me);
		if (err && err != 1)
			_exit(1);
		if (err && !opt.keep_going) {
			__atomic_store_n(stop, 1, __ATOMIC_RELAXED);
			_exit(1);
		}
	}
	_exit(0);
}

static void add_up(struct tracer *sum)
{
	unsigned int i, j;

	*sum = (struct tracer){ 0 };
	for (i = 0; i < opt.tracers; i++) {
		sum->iterations += tracers[i].iterations;
		sum->traps += tracers[i].traps;
		sum->switches += tracers[i].switches;
		sum->moves += tracers[i].moves;
		sum->missed += tracers[i].missed;
		sum->unexpected += tracers[i].unexpected;
		sum->wrong += tracers[i].wrong;
		sum->memory += tracers[i].memory;
		sum->files += tracers[i].files;
		for (j = 0; j < GROUP_MAX; j++)
			sum->traps += tracers[i].t[j].traps;
		for (j = 0; j < STRESSOR_KINDS; j++) {
			sum->stressor[j].iterations += tracers[i].stressor[j].iterations;
			sum->stressor[j].runs += tracers[i].stressor[j].runs;
			sum->stressor[j].refused += tracers[i].stressor[j].refused;
		}
	}
}

/* Which stressors have run, and which were refused */
static void report_stressors(const struct tracer *sum)
{
	unsigned int j;

	for (j = 0; j < STRESSOR_KINDS; j++) {
		if (!sum->stressor[j].iterations)
			fprintf(stderr, "#   stressor %s: never chosen\n",
				stressor_kinds[j].name);
		else
			fprintf(stderr, "#   stressor %s: %lu iterations, %lu runs, %lu refused\n",
				stressor_kinds[j].name, sum->stressor[j].iterations,
				sum->stressor[j].runs, sum->stressor[j].refused);
	}
}

/* Without libm; 0 <= @x <= 1 */
static double square_root(double x)
{
	double root = 1;
	int i;

	for (i = 0; i < 60; i++)
		root = (root + x / root) / 2;
	return root;
}

/*
 * How often an event was not the expected one, with the Wilson score interval for a
 * confidence of 95% (Wilson 1927, "Probable Inference")
 */
static void report_rate(const char *kind, unsigned long k, unsigned long n)
{
	const double z2 = 1.96 * 1.96;
	double p, middle, half;

	if (!n)
		return;
	p = (double)k / n;
	middle = (p + z2 / (2 * n)) / (1 + z2 / n);
	half = square_root(z2 * (p * (1 - p) / n + z2 / (4.0 * n * n))) / (1 + z2 / n);
	fprintf(stderr, "#   %s: %lu of %lu, %.1e, with 95%% confidence between %.1e and %.1e\n",
		kind, k, n, p, k ? middle - half : 0, middle + half);
}

static void report_rates(const struct tracer *sum)
{
	unsigned long n = sum->traps + sum->missed + sum->unexpected + sum->wrong;

	report_rate("missed", sum->missed, n);
	report_rate("spurious", sum->unexpected, n);
	report_rate("wrong", sum->wrong, n);
}

static void status(const char *before, const char *after, double elapsed)
{
	static struct tracer sum;

	add_up(&sum);
	fprintf(stderr, "%s%.0f s, %lu traps verified, %.0f traps/s, ", before,
		elapsed, sum.traps, sum.traps / elapsed);
	fprintf(stderr, "%lu switches between armed threads, %lu migrations, ",
		sum.switches, sum.moves);
	fprintf(stderr, "%lu missed, %lu spurious, %lu wrong, %lu KB, %lu files%s",
		sum.missed, sum.unexpected, sum.wrong, sum.memory, sum.files, after);
}

static void stop_all(int sig)
{
	(void)sig;
	__atomic_store_n(stop, 1, __ATOMIC_RELAXED);
}

static double parse_time(const char *text)
{
	static const char units[] = "smhd";
	static const double factors[] = { 1, 60, 60, 24 };
	char *end;
	double t = strtod(text, &end);
	const char *unit = *end ? strchr(units, *end) : NULL;
	int i;

	/* Each unit is a multiple of the next smaller one */
	for (i = unit ? unit - units + 1 : 0; i-- > 0;)
		t *= factors[i];
	end += !!unit;
	return *end || end == text || !(t > 0) ? -1 : t;
}

static void usage(const char *what, const char *arg)
{
	fprintf(stderr,
		"%s: %s\nUsage: soak TIME[s|m|h|d] [--tracers N] [--tracees M] [--seed S] [--keep-going] [--choices]\n",
		what, arg);
	exit(2);
}

static unsigned int parse_count(const char *what, const char *text,
				unsigned int max)
{
	char *end;
	unsigned long n = strtoul(text, &end, 0);

	if (*end || end == text || !n || n > max)
		usage(what, text);
	return n;
}

static void parse_options(int argc, char **argv)
{
	static const struct option longs[] = {
		{ "tracers", required_argument, NULL, 'n' },
		{ "tracees", required_argument, NULL, 'm' },
		{ "seed", required_argument, NULL, 's' },
		{ "keep-going", no_argument, NULL, 'k' },
		{ "choices", no_argument, NULL, 'c' },
		{ NULL, 0, NULL, 0 },
	};
	char *end;
	int c;

	opt.seed = time(NULL);
	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		switch (c) {
		case 'n':
			opt.tracers = parse_count("--tracers", optarg,
						  MAX_TRACERS);
			break;
		case 'm':
			opt.tracees = parse_count("--tracees", optarg, GROUP_MAX);
			break;
		case 's':
			opt.seed = strtoull(optarg, &end, 0);
			if (*end || end == optarg)
				usage("--seed", optarg);
			break;
		case 'k':
			opt.keep_going = true;
			break;
		case 'c':
			opt.choices = true;
			break;
		default:
			usage("soak", "unknown option");
		}
	}
	if (optind != argc - 1)
		usage("soak", "one TIME is needed");
	opt.seconds = parse_time(argv[optind]);
	if (opt.seconds < 0)
		usage("not a time", argv[optind]);
}

static void do_nothing(struct tracee *t)
{
	(void)t;
}

int main(int argc, char **argv)
{
	struct sigaction action = { .sa_handler = stop_all };
	struct tracee probe = { .body = do_nothing };
	static struct tracer sum;
	double begin, shown = 0;
	unsigned int i, left = 0;
	/* The console of an emulated machine is a terminal, and nobody sits there */
	bool tty = isatty(STDERR_FILENO) && !getenv("HW_BREAKPOINT_KTAP"), bad = false;
	int err, wstatus;
	pid_t pid;

	parse_options(argc, argv);
	ncpus = allowed_cpus(cpus, 64);
	printf("TAP version 13\n1..1\n");
	err = tracee_start(&probe, TRACEE_TRACEME);
	if (refused(err)) {
		printf("ok 1 soak # SKIP " SKIP_REFUSED "\n", "ptrace");
		return 4;
	}
	tracee_stop(&probe);
	if (firing_dead(BY_PTRACE, NEEDS_ALL)) {
		printf("ok 1 soak # SKIP " SKIP_NEVER_FIRES "\n");
		return 4;
	}
	printf("# soak: %u tracers, up to %u tracees each, seed %llu\n",
	       opt.tracers, opt.tracees, opt.seed);
	fflush(stdout);

	tracers = shared_alloc(MAX_TRACERS * sizeof(*tracers));
	stop = shared_alloc(sizeof(*stop));
	/*
	 * Before the tracers are forked: their context switches are counted
	 * together
	 */
	munmap(group_areas(), GROUP_MAX * sizeof(struct group_area));
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGHUP, &action, NULL);
	begin = now();
	for (i = 0; i < opt.tracers; i++) {
		/* The child must not write to shared memory */
		pid = fork();
		if (!pid)
			trace(i);
		tracers[i].pid = pid;
		if (pid < 0) {
			fprintf(stderr, "# fork: %s\n", strerror(errno));
			bad = true;
			stop_all(0);
			break;
		}
		left++;
	}

	while (left) {
		struct timespec tick = { .tv_nsec = 100000000 };
		double elapsed = now() - begin;

		if (elapsed >= opt.seconds)
			stop_all(0);
		if (elapsed - shown >= (tty ? 1 : 10)) {
			shown = elapsed;
			status(tty ? "\r# " : "# ", tty ? " " : "\n", elapsed);
		}
		while (left && (pid = waitpid(-1, &wstatus, WNOHANG)) > 0) {
			left--;
			for (i = 0; i < opt.tracers; i++)
				if (tracers[i].pid == pid)
					tracers[i].exited = true;
			if (!wstatus)
				continue;
			/* It has reported its failure, and may continue */
			bad = true;
			if (WIFSIGNALED(wstatus))
				fprintf(stderr, "# a tracer was killed by signal %d\n",
					WTERMSIG(wstatus));
			if (!opt.keep_going)
				stop_all(0);
		}
		if (left)
			nanosleep(&tick, NULL);
	}
	if (tty)
		fprintf(stderr, "\n");
	add_up(&sum);
	bad |= sum.missed || sum.unexpected || sum.wrong || !sum.traps;
	status("# soak ended: ", "", now() - begin);
	fprintf(stderr, ", %lu iterations, seed %llu\n", sum.iterations, opt.seed);
	report_rates(&sum);
	report_stressors(&sum);
	fprintf(stderr, "#   %s\n", environment());
	printf("%sok 1 soak\n", bad ? "not " : "");
	return bad;
}

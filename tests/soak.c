// SPDX-License-Identifier: GPL-2.0
/*
 * Soak: all storms as one long mixed load, for minutes or days.
 *
 *   soak TIME [--tracers N] [--tracees M] [--seed S] [--keep-going]
 *
 * Some bugs want company and patience: the one of 2016 took up to an hour.
 * Each tracer plays bout after bout: a crew of its own with how it attaches,
 * where it runs, at what pace, which slots are armed and in whose company all
 * drawn at random from the seed.  Every trap is exact, as in the tests.  At
 * the first event that is not, it writes the record of it and of the
 * neighbours, and stops.
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

#include "company.h"
#include "crew.h"
#include "environment.h"

#define MAX_TRACERS	64

/* What one tracer has come to; in memory that all share */
struct tracer {
	pid_t pid;
	unsigned long bouts;
	unsigned long traps;
	unsigned long switches;
	unsigned long moves;
	unsigned long missed;
	unsigned long unexpected;
	unsigned long wrong;
	unsigned long long seed;
	unsigned long long bout_seed;
	const char *company;
	struct tracee t[CREW_MAX];
	struct crew_member m[CREW_MAX];
};

static struct {
	double seconds;
	unsigned int tracers;
	unsigned int tracees;
	unsigned long long seed;
	bool keep_going;
} opt = { .tracers = 4, .tracees = 4 };

static struct tracer *tracers;
static int *told;

/* SplitMix64 (Steele, Lea, Flood 2014): one word of state, any seed will do */
static unsigned long long draw(unsigned long long *state, unsigned long long n)
{
	unsigned long long z = *state += 0x9e3779b97f4a7c15ULL;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ z >> 27) * 0x94d049bb133111ebULL;
	return (z ^ z >> 31) % n;
}

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec + ts.tv_nsec / 1e9;
}

/* What /proc/stat says of time that the hypervisor gave to others */
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

/* The CPU that a tracee was on last, as it said itself; -1 if it never did */
static int last_cpu(const struct tracee *t)
{
	return t->events ? t->log[(t->events - 1) % TRACEE_EVENTS].cpu : -1;
}

/* When the armed thread that was wrong came to have its CPU's registers */
static void record_switch(const struct tracee *t, const struct crew_member *m)
{
	unsigned long long seen = t->log[(t->events - 1) % TRACEE_EVENTS].time;
	const struct crew_area *own = &m->area[m->nr];

	fprintf(stderr, "#   tracee %u, on CPU %d, moved %lu times by us\n", t->id,
		last_cpu(t), own->moves);
	if (own->switches)
		fprintf(stderr, "#   %lu switches, the last behind thread %d, %lld us before\n",
			own->switches, own->from,
			(long long)(seen - own->since) / 1000);
}

/*
 * The rest of the record; the ledger has reported the event itself.  After it
 * the last events of all that were on the same CPU last, of whatever tracer.
 */
static void record(unsigned int nr, const struct tracer *me, unsigned int n)
{
	unsigned int i, j;
	int cpu = -1;

	fprintf(stderr, "# tracer %u, bout %lu, %u tracees, company %s\n", nr,
		me->bouts, n, me->company ? me->company : "none");
	fprintf(stderr, "# the bout began with seed %#llx, the run's is %llu\n",
		me->bout_seed, opt.seed);
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
			fprintf(stderr, "#   last events of tracer %u's\n", i);
			tracee_report_events(t);
		}
	}
}

/* One bout: a crew with everything drawn at random, from start to exit */
static int bout(unsigned int nr, struct tracer *me)
{
	unsigned long long bout_seed = me->seed;
	unsigned int i, n = 1 + draw(&me->seed, opt.tracees);
	unsigned int rounds = 20 + draw(&me->seed, 60);
	unsigned int spread = draw(&me->seed, 3);
	int cpus[64], ncpus = allowed_cpus(cpus, 64), err = 0, kind;
	struct company c = { .t = me->t, .n = n };
	/* A baton goes round only where all are there to take it */
	enum crew_pace pace = draw(&me->seed, CREW_MOVE + 1);
	unsigned int base = draw(&me->seed, CREW_MAX);
	bool company = !draw(&me->seed, 4);
	struct crew_area *area = crew_areas();

	me->bout_seed = bout_seed;
	kind = draw(&me->seed, COMPANY_KINDS);
	me->company = company ? company_kinds[kind].name : NULL;
	memset(me->t, 0, sizeof(me->t));
	for (i = 0; i < n && !err; i++) {
		struct crew_member *m = &me->m[i];

		*m = (struct crew_member){
			.area = area, .of = CREW_MAX, .rounds = rounds,
			.nr = (base + i) % CREW_MAX,
			.armed = draw(&me->seed, 8) != 0, .pace = pace,
			.moved = spread == 2 && draw(&me->seed, 2),
			.spare = draw(&me->seed, 4) ? 0 : draw(&me->seed, 4),
			.stops = company && kind == COMPANY_STOPS };
		if (pace == CREW_BATON) {
			m->nr = i;
			m->of = n;
		}
		err = crew_start(&me->t[i], m, draw(&me->seed, 3));
		if (!err && spread < 2)
			err = pin_to_cpu(me->t[i].tid,
					 cpus[spread ? nr % ncpus : 0]);
	}
	if (!err && company)
		err = company_start(&c, &company_kinds[kind]);
	if (!err) {
		err = crew_run(me->t, n);
		if (err)
			record(nr, me, n);
		if (company) {
			int ret = company_stop(&c);

			if (ret && ret != COMPANY_CANNOT)
				err = 1;
		}
	} else {
		fprintf(stderr, "# tracer %u cannot start: %s\n", nr,
			strerror(abs(err)));
	}
	for (i = 0; i < n; i++) {
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
	munmap(area, CREW_MAX * sizeof(*area));
	me->bouts++;
	return err;
}

static void trace(unsigned int nr)
{
	struct tracer *me = &tracers[nr];

	/*
	 * The end is told by the parent, also where a terminal tells us all: a
	 * tracee would stop for it, ignored or not, where nothing owes a stop.
	 */
	setpgid(0, 0);
	signal(SIGINT, SIG_IGN);
	signal(SIGTERM, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	tracee_events_shown = TRACEE_EVENTS;
	me->seed = opt.seed ^ (nr + 1) * 0x9e3779b97f4a7c15ULL;
	while (!__atomic_load_n(told, __ATOMIC_RELAXED)) {
		int err = bout(nr, me);

		if (err && err != 1)
			_exit(1);
		if (err && !opt.keep_going) {
			__atomic_store_n(told, 1, __ATOMIC_RELAXED);
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
		sum->bouts += tracers[i].bouts;
		sum->traps += tracers[i].traps;
		sum->switches += tracers[i].switches;
		sum->moves += tracers[i].moves;
		sum->missed += tracers[i].missed;
		sum->unexpected += tracers[i].unexpected;
		sum->wrong += tracers[i].wrong;
		for (j = 0; j < CREW_MAX; j++)
			sum->traps += tracers[i].t[j].traps;
	}
}

static void status(const char *before, const char *after, double elapsed)
{
	static struct tracer sum;

	add_up(&sum);
	fprintf(stderr, "%s%.0f s, %lu traps verified, %.0f traps/s, ", before,
		elapsed, sum.traps, sum.traps / elapsed);
	fprintf(stderr, "%lu switches between armed threads, %lu migrations, ",
		sum.switches, sum.moves);
	fprintf(stderr, "%lu missed, %lu spurious, %lu wrong%s", sum.missed,
		sum.unexpected, sum.wrong, after);
}

static void tell(int sig)
{
	(void)sig;
	__atomic_store_n(told, 1, __ATOMIC_RELAXED);
}

static double parse_time(const char *text)
{
	static const char units[] = "smhd";
	static const double factors[] = { 1, 60, 60, 24 };
	char *end;
	double t = strtod(text, &end);
	const char *unit = *end ? strchr(units, *end) : NULL;
	int i;

	/* Each unit is so many of the next smaller one */
	for (i = unit ? unit - units + 1 : 0; i-- > 0;)
		t *= factors[i];
	end += !!unit;
	return *end || end == text || !(t > 0) ? -1 : t;
}

static void usage(const char *what, const char *arg)
{
	fprintf(stderr,
		"%s: %s\nUsage: soak TIME[s|m|h|d] [--tracers N] [--tracees M] [--seed S] [--keep-going]\n",
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
			opt.tracees = parse_count("--tracees", optarg, CREW_MAX);
			break;
		case 's':
			opt.seed = strtoull(optarg, &end, 0);
			if (*end || end == optarg)
				usage("--seed", optarg);
			break;
		case 'k':
			opt.keep_going = true;
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

static void nothing(struct tracee *t)
{
	(void)t;
}

int main(int argc, char **argv)
{
	struct sigaction action = { .sa_handler = tell };
	struct tracee probe = { .body = nothing };
	static struct tracer sum;
	double begin, shown = 0;
	unsigned int i, left = 0;
	bool tty = isatty(STDERR_FILENO), bad = false;
	int err, wstatus;

	parse_options(argc, argv);
	printf("TAP version 13\n1..1\n");
	err = tracee_start(&probe, TRACEE_TRACEME);
	if (err == -EPERM || err == -EACCES || err == -ENOSYS) {
		printf("ok 1 soak # SKIP ptrace: %s\n", strerror(-err));
		return 4;
	}
	tracee_stop(&probe);
	printf("# soak: %u tracers, up to %u tracees each, seed %llu\n",
	       opt.tracers, opt.tracees, opt.seed);
	fflush(stdout);

	tracers = shared_alloc(MAX_TRACERS * sizeof(*tracers));
	told = shared_alloc(sizeof(*told));
	/* Before the tracers: their switches are counted as one */
	munmap(crew_areas(), CREW_MAX * sizeof(struct crew_area));
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGHUP, &action, NULL);
	begin = now();
	for (i = 0; i < opt.tracers; i++) {
		tracers[i].pid = fork();
		if (!tracers[i].pid)
			trace(i);
		if (tracers[i].pid < 0) {
			fprintf(stderr, "# fork: %s\n", strerror(errno));
			bad = true;
			tell(0);
			break;
		}
		left++;
	}

	while (left) {
		struct timespec tick = { .tv_nsec = 100000000 };
		double elapsed = now() - begin;

		if (elapsed >= opt.seconds)
			tell(0);
		if (elapsed - shown >= (tty ? 1 : 10)) {
			shown = elapsed;
			status(tty ? "\r# " : "# ", tty ? " " : "\n", elapsed);
		}
		while (left && waitpid(-1, &wstatus, WNOHANG) > 0) {
			left--;
			if (!wstatus)
				continue;
			/* One that failed has said so, and perhaps goes on */
			bad = true;
			if (WIFSIGNALED(wstatus))
				fprintf(stderr, "# a tracer was killed by signal %d\n",
					WTERMSIG(wstatus));
			if (!opt.keep_going)
				tell(0);
		}
		if (left)
			nanosleep(&tick, NULL);
	}
	if (tty)
		fprintf(stderr, "\n");
	add_up(&sum);
	bad |= sum.missed || sum.unexpected || sum.wrong || !sum.traps;
	status("# soak ended: ", "", now() - begin);
	fprintf(stderr, ", %lu bouts, seed %llu\n#   %s\n", sum.bouts, opt.seed,
		environment());
	printf("%sok 1 soak\n", bad ? "not " : "");
	return bad;
}

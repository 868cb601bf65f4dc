// SPDX-License-Identifier: GPL-2.0
/*
 * Soak: all storms as one long mixed load, for minutes or days.
 *
 *   soak TIME [--tracers N] [--tracees M] [--seed S] [--keep-going] [--choices]
 *
 * Some bugs want company and patience: the one of 2016 took up to an hour.
 * Each tracer plays bout after bout: a crew of its own with how it attaches,
 * where it runs, at what pace, which slots are armed and in whose company all
 * drawn at random from the seed.  Every trap is exact, as in the tests.  At
 * the first event that is not, it writes the record of it and of the
 * neighbours, and stops.
 *
 * What is drawn depends on nothing but the seed, the numbers of tracers and
 * tracees, and which bout it is: the same seed makes the same choices, though
 * not the same interleaving.
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
#include "firing.h"
#include "environment.h"

#define MAX_TRACERS	64

/*
 * Bouts of a season.  In its last quarter each thread leaves a slot to others,
 * and the first tracer has the company that takes one from every thread.
 * Tracers wait for each other where that begins and ends.
 */
#define SEASON		32
#define SHARED		(SEASON * 3 / 4)

enum where { ON_ONE_CPU, ON_A_CPU, ANYWHERE, WHERES };

/* What a bout is to be */
struct choice {
	unsigned long long seed;
	unsigned int n, rounds, base;
	enum where where;
	enum crew_pace pace;
	bool fifo;
	int company;	/* kind, or -1 */
	struct {
		enum tracee_how how;
		bool armed, moved;
		unsigned int spare;
	} m[CREW_MAX];
};

/* What one tracer has come to; in memory that all share */
struct tracer {
	pid_t pid;
	bool gone;
	unsigned long bouts;
	unsigned long traps;
	unsigned long switches;
	unsigned long moves;
	unsigned long missed;
	unsigned long unexpected;
	unsigned long wrong;
	unsigned long long seed;
	struct choice choice;
	struct {
		unsigned long bouts, done, refused;
	} company[COMPANY_KINDS];
	struct tracee t[CREW_MAX];
	struct crew_member m[CREW_MAX];
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
static int *told;

/* Those that may be used at the start; one of them may come and go */
static int cpus[64], ncpus;

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

/* One line, of what was drawn and nothing else */
static void print_choice(FILE *f, unsigned int nr, const struct tracer *me)
{
	static const char * const where[WHERES] = {
		"on one CPU", "on its tracer's CPU", "anywhere" };
	static const char * const pace[] = { "free", "yield", "baton", "move" };
	static const char * const how[] = { "traceme", "attach", "seize" };
	const struct choice *c = &me->choice;
	unsigned int i;

	fprintf(f, "# tracer %u, bout %lu: %u rounds, %s, %s%s, company %s", nr,
		me->bouts, c->rounds, where[c->where], pace[c->pace],
		c->fifo ? ", SCHED_FIFO" : "",
		c->company < 0 ? "none" : company_kinds[c->company].name);
	for (i = 0; i < c->n; i++)
		fprintf(f, "; member %u %s %s%s, %u slots",
			(c->base + i) % CREW_MAX, how[c->m[i].how],
			c->m[i].armed ? "armed" : "unarmed",
			c->m[i].moved ? " moved" : "",
			DR_SLOTS - c->m[i].spare);
	fprintf(f, "\n");
	fflush(f);
}

/*
 * The rest of the record; the ledger has reported the event itself.  After it
 * the last events of all that were on the same CPU last, of whatever tracer.
 */
static void record(unsigned int nr, const struct tracer *me, unsigned int n)
{
	unsigned int i, j;
	int cpu = -1;

	print_choice(stderr, nr, me);
	fprintf(stderr, "# the bout began with seed %#llx, the run's is %llu\n",
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
			fprintf(stderr, "#   last events of tracer %u's\n", i);
			tracee_report_events(t);
		}
	}
}

/* Draw what the next bout is to be */
static void choose(unsigned int nr, struct tracer *me)
{
	bool shared = me->bouts % SEASON >= SHARED;
	unsigned long long *seed = &me->seed;
	struct choice *c = &me->choice;
	unsigned int i;

	*c = (struct choice){ .seed = *seed };
	c->n = 1 + draw(seed, opt.tracees);
	c->rounds = 20 + draw(seed, 60);
	c->base = draw(seed, CREW_MAX);
	c->where = draw(seed, WHERES);
	c->pace = draw(seed, CREW_MOVE + 1);
	c->fifo = !draw(seed, 8);
	/* A baton goes round only where all are there to take it */
	if (c->pace == CREW_BATON)
		c->base = 0;
	/* The last two kinds are for one at a time */
	c->company = draw(seed, COMPANY_CPU_EVENTS);
	if (draw(seed, 2))
		c->company = -1;
	if (!nr && shared)
		c->company = COMPANY_CPU_EVENTS;
	else if (!nr && !draw(seed, 4))
		c->company = COMPANY_HOTPLUG;
	/* A CPU takes its time to go */
	if (c->company == COMPANY_HOTPLUG)
		c->rounds *= 8;
	for (i = 0; i < c->n; i++) {
		c->m[i].how = draw(seed, 3);
		c->m[i].armed = draw(seed, 8);
		c->m[i].moved = draw(seed, 2) && c->where == ANYWHERE;
		c->m[i].spare = draw(seed, 4) ? 0 : draw(seed, 4);
		if (shared && !c->m[i].spare)
			c->m[i].spare = 1;
	}
}

/* Wait until no other tracer is in an earlier part of the season */
static void meet(const struct tracer *me)
{
	struct timespec tick = { .tv_nsec = 1000000 };
	unsigned int i = 0;

	if (me->bouts % SEASON && me->bouts % SEASON != SHARED)
		return;
	while (i < opt.tracers && !__atomic_load_n(told, __ATOMIC_RELAXED)) {
		if (__atomic_load_n(&tracers[i].gone, __ATOMIC_RELAXED) ||
		    __atomic_load_n(&tracers[i].bouts, __ATOMIC_RELAXED) >=
		    me->bouts)
			i++;
		else
			nanosleep(&tick, NULL);
	}
}

/* The crew of a bout, stopped and armed */
static int start_crew(unsigned int nr, struct tracer *me,
		      struct crew_area *area)
{
	struct sched_param prio = { .sched_priority = 1 };
	const struct choice *c = &me->choice;
	unsigned int i;
	int err = 0;

	memset(me->t, 0, sizeof(me->t));
	for (i = 0; i < c->n && !err; i++) {
		struct crew_member *m = &me->m[i];

		*m = (struct crew_member){
			.area = area, .rounds = c->rounds, .pace = c->pace,
			.nr = (c->base + i) % CREW_MAX,
			.of = c->pace == CREW_BATON ? c->n : CREW_MAX,
			.armed = c->m[i].armed, .moved = c->m[i].moved,
			.spare = c->m[i].spare,
			.stops = c->company == COMPANY_STOPS };
		err = crew_start(&me->t[i], m, c->m[i].how);
		/* Refused where the CPU is away: then elsewhere */
		if (!err && c->where != ANYWHERE)
			pin_to_cpu(me->t[i].tid,
				   cpus[c->where == ON_A_CPU ? nr % ncpus : 0]);
		/* Where it may, and the tracer has a CPU without it */
		if (!err && c->fifo && ncpus > 1)
			sched_setscheduler(me->t[i].tid, SCHED_FIFO, &prio);
	}
	return err;
}

/* In the company that was chosen, if any; 1 where something was wrong */
static int run_crew(unsigned int nr, struct tracer *me)
{
	const struct choice *choice = &me->choice;
	struct company c = { .t = me->t, .n = choice->n };
	int kind = choice->company, err, ret;

	if (kind >= 0) {
		err = company_start(&c, &company_kinds[kind]);
		if (err)
			return err;
	}
	err = crew_run(me->t, choice->n);
	if (err)
		record(nr, me, choice->n);
	if (kind < 0)
		return err;
	ret = company_stop(&c);
	me->company[kind].bouts++;
	me->company[kind].done += c.did;
	if (ret == COMPANY_CANNOT) {
		me->company[kind].refused++;
	} else if (ret) {
		fprintf(stderr, "# company %s failed\n",
			company_kinds[kind].name);
		me->wrong++;
		err = 1;
	}
	return err;
}

/* One bout, from start to exit */
static int bout(unsigned int nr, struct tracer *me)
{
	struct crew_area *area = crew_areas();
	unsigned int i;
	int err;

	be_patient();
	choose(nr, me);
	if (opt.choices)
		print_choice(stdout, nr, me);
	err = start_crew(nr, me, area);
	if (err)
		fprintf(stderr, "# tracer %u cannot start: %s\n", nr,
			strerror(abs(err)));
	else
		err = run_crew(nr, me);
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
	munmap(area, CREW_MAX * sizeof(*area));
	__atomic_add_fetch(&me->bouts, 1, __ATOMIC_RELAXED);
	return err;
}

static void trace(unsigned int nr)
{
	struct tracer *me = &tracers[nr];
	unsigned long long state = opt.seed;
	unsigned int i;

	/*
	 * The end is told by the parent, also where a terminal tells us all: a
	 * tracee would stop for it, ignored or not, where nothing owes a stop.
	 */
	setpgid(0, 0);
	signal(SIGINT, SIG_IGN);
	signal(SIGTERM, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	tracee_events_shown = TRACEE_EVENTS;
	for (i = 0; i <= nr; i++)
		me->seed = draw(&state, ~0ULL);
	for (;;) {
		int err;

		meet(me);
		if (__atomic_load_n(told, __ATOMIC_RELAXED))
			break;
		err = bout(nr, me);
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
		for (j = 0; j < COMPANY_KINDS; j++) {
			sum->company[j].bouts += tracers[i].company[j].bouts;
			sum->company[j].done += tracers[i].company[j].done;
			sum->company[j].refused += tracers[i].company[j].refused;
		}
	}
}

/* In whose company, and which of it this machine refused */
static void report_company(const struct tracer *sum)
{
	unsigned int j;

	for (j = 0; j < COMPANY_KINDS; j++) {
		if (!sum->company[j].bouts)
			fprintf(stderr, "#   beside %s: never drawn\n",
				company_kinds[j].name);
		else
			fprintf(stderr, "#   beside %s: %lu bouts, %lu times, refused in %lu\n",
				company_kinds[j].name, sum->company[j].bouts,
				sum->company[j].done, sum->company[j].refused);
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
	pid_t pid;

	parse_options(argc, argv);
	ncpus = allowed_cpus(cpus, 64);
	printf("TAP version 13\n1..1\n");
	err = tracee_start(&probe, TRACEE_TRACEME);
	if (err == -EPERM || err == -EACCES || err == -ENOSYS) {
		printf("ok 1 soak # SKIP ptrace: %s\n", strerror(-err));
		return 4;
	}
	tracee_stop(&probe);
	if (firing_dead(BY_PTRACE, NEEDS_ALL)) {
		printf("ok 1 soak # SKIP " FIRING_SKIP "\n");
		return 4;
	}
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
		/* The child must not write into what is shared */
		pid = fork();
		if (!pid)
			trace(i);
		tracers[i].pid = pid;
		if (pid < 0) {
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
		while (left && (pid = waitpid(-1, &wstatus, WNOHANG)) > 0) {
			left--;
			for (i = 0; i < opt.tracers; i++)
				if (tracers[i].pid == pid)
					tracers[i].gone = true;
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
	fprintf(stderr, ", %lu bouts, seed %llu\n", sum.bouts, opt.seed);
	report_company(&sum);
	fprintf(stderr, "#   %s\n", environment());
	printf("%sok 1 soak\n", bad ? "not " : "");
	return bad;
}

// SPDX-License-Identifier: GPL-2.0
/*
 * The report of a failure: everything that can be found out about a tracee.
 *
 * A report is built in one buffer and written at once, so that concurrent
 * tracers do not mix their lines.
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "environment.h"
#include "probes.h"
#include "tracee.h"

/* How many of the last events a report shows, up to TRACEE_EVENTS */
unsigned int tracee_events_shown = TRACEE_EVENTS_SHOWN;

struct report {
	char text[16384];
	size_t len;
};

/* Full name of the running test, from harness.h; empty in programs without it */
char test_name[TEST_NAME_SIZE];

static void __attribute__((format(printf, 2, 3)))
append(struct report *r, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(r->text + r->len, sizeof(r->text) - r->len, fmt, ap);
	va_end(ap);
	if (n > 0)
		r->len += n;
	if (r->len >= sizeof(r->text))
		r->len = sizeof(r->text) - 1;
}

/* Not by dprintf(), which allocates memory */
static void __attribute__((format(printf, 2, 0)))
print_line(const char *name, const char *fmt, va_list ap)
{
	char line[512];
	size_t n;

	n = snprintf(line, sizeof(line) - 1, *name ? "# %s: " : "# ", name);
	vsnprintf(line + n, sizeof(line) - 1 - n, fmt, ap);
	n = strlen(line);
	line[n++] = '\n';
	if (write(STDERR_FILENO, line, n) < 0)
		return;
}

/**
 * test_err() - print a diagnostic line
 * @fmt: what to print, without the "# " and the end of the line
 *
 * The line begins with the name of the test, so that it stays with it if somebody
 * splits the log, and is written at once, to standard error.  May be called by
 * signal handlers.
 */
void test_err(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	print_line(test_name, fmt, ap);
	va_end(ap);
}

/**
 * driver_msg() - print a line for run_tests.sh
 * @fmt: as for test_err(), but the line has no name of a test
 */
void driver_msg(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	print_line("", fmt, ap);
	va_end(ap);
}

/* Which probe or target an address belongs to */
static void append_place(struct report *r, unsigned long ip)
{
	const struct probe *probe;
	unsigned long off;

	for (probe = probe_access; probe < probe_access + PROBE_ACCESSES;
	     probe++) {
		if (ip == (unsigned long)probe->at)
			append(r, " (on %s)", probe->name);
		else if (ip == (unsigned long)probe->next)
			append(r, " (after %s)", probe->name);
	}
	off = ip - (unsigned long)probe_targets;
	if (off < PROBE_TARGETS * PROBE_TARGET_SIZE)
		append(r, " (target %lu + %lu)", off / PROBE_TARGET_SIZE,
		       off % PROBE_TARGET_SIZE);
}

static void append_status(struct report *r, int status)
{
	if (WIFEXITED(status))
		append(r, "exit with code %d", WEXITSTATUS(status));
	else if (WIFSIGNALED(status))
		append(r, "killed by signal %d", WTERMSIG(status));
	else if (status >> 16)
		append(r, "stop by signal %d, event %d", WSTOPSIG(status),
		       status >> 16);
	else
		append(r, "stop by signal %d", WSTOPSIG(status));
}

static bool read_file(const char *path, char *buf, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return false;
	n = read(fd, buf, size - 1);
	close(fd);
	buf[n > 0 ? n : 0] = '\0';
	return n > 0;
}

/* Field 39 of /proc/TID/stat: the CPU it last ran on (proc(5)); -1 if unknown */
static int cpu_of(const char *tid)
{
	char path[64], buf[1024], *s;
	int field;

	snprintf(path, sizeof(path), "/proc/%.16s/stat", tid);
	if (!read_file(path, buf, sizeof(buf)))
		return -1;
	s = strrchr(buf, ')');
	for (field = 2; s && field < 39; field++)
		s = strchr(s + 1, ' ');
	return s ? atoi(s) : -1;
}

/* Other tracees on the same CPU: their slots use the same registers */
static void append_other_tracees(struct report *r, pid_t tid, int cpu)
{
	char path[64], buf[2048], name[32], *s;
	struct dirent *d;
	int shown = 0;
	DIR *dir;

	dir = opendir("/proc");
	if (!dir)
		return;
	append(r, "#   other tracees on that CPU:");
	while ((d = readdir(dir)) && shown < 16) {
		if (d->d_name[0] < '1' || d->d_name[0] > '9' ||
		    atoi(d->d_name) == tid || cpu_of(d->d_name) != cpu)
			continue;
		snprintf(path, sizeof(path), "/proc/%.16s/status", d->d_name);
		if (!read_file(path, buf, sizeof(buf)))
			continue;
		s = strstr(buf, "\nTracerPid:\t");
		if (!s || s[12] == '0' || sscanf(buf, "Name:\t%31s", name) != 1)
			continue;
		append(r, " %.16s (%s, tracer %d)", d->d_name, name,
		       atoi(s + 12));
		shown++;
	}
	closedir(dir);
	append(r, "%s\n", shown ? "" : " none");
}

static void append_cpu(struct report *r, pid_t tid)
{
	char path[64], buf[8192], id[16], *s;
	int cpu;

	snprintf(id, sizeof(id), "%d", tid);
	cpu = cpu_of(id);
	if (cpu < 0)
		return;
	snprintf(path, sizeof(path), "/proc/%d/sched", tid);
	s = NULL;
	if (read_file(path, buf, sizeof(buf)))
		s = strstr(buf, "nr_migrations");
	if (s)
		s = strchr(s, ':');
	append(r, "#   last ran on CPU %d, moved %s%.*s times\n", cpu,
	       s ? "" : "an unknown number of",
	     s ? (int)strcspn(s + 1 + strspn(s + 1, " "), "\n") : 0,
	     s ? s + 1 + strspn(s + 1, " ") : "");
	append_other_tracees(r, tid, cpu);
}

static void append_registers(struct report *r, struct tracee *t)
{
	unsigned long dr[8] = { 0 };
	unsigned int n;

	for (n = 0; n < 8; n++)
		if (n != 4 && n != 5 && tracee_peek(t, n, &dr[n]))
			return;
	append(r, "#   as read back: DR0 %#lx DR1 %#lx DR2 %#lx DR3 %#lx\n",
	       dr[0], dr[1], dr[2], dr[3]);
	append(r, "#                 DR6 %#lx DR7 %#lx\n", dr[6], dr[7]);
}

static void append_access(struct report *r, struct tracee *t, const char *what,
			  unsigned long n)
{
	char text[256] = "";

	if (t->describe)
		t->describe(t, n, text, sizeof(text));
	append(r, "#   %s access %lu%s%s\n", what, n, *text ? ": " : "", text);
}

/* The last events: how long ago, and on which CPU if the tracee records it */
static void append_events(struct report *r, struct tracee *t)
{
	unsigned long long now = monotonic_ns();
	unsigned long i = 0;

	if (t->events > tracee_events_shown)
		i = t->events - tracee_events_shown;
	for (; i < t->events; i++) {
		unsigned int e = i % TRACEE_EVENTS;
		long long ns = now - t->log[e].time;

		append(r, "#   event %lu, %lld us ago", i, ns / 1000);
		if (t->log[e].cpu >= 0)
			append(r, " on CPU %d", t->log[e].cpu);
		append(r, ": ");
		append_status(r, t->log[e].status);
		append(r, ", access %lu, DR6 %#lx, ip %#lx", t->log[e].progress,
		       t->log[e].dr6, t->log[e].ip);
		append_place(r, t->log[e].ip);
		append(r, "\n");
	}
}

static void on_unexpected_sigtrap(int sig, siginfo_t *info, void *context)
{
	ucontext_t *uc = context;

	test_err("unexpected SIGTRAP: code %d, addr %p, ip %#lx (code 1: a #DB with no slot in DR6)",
		 info->si_code, info->si_addr,
		 (unsigned long)uc->uc_mcontext.gregs[UC_IP]);
	raise(sig);
}

/**
 * report_unexpected_sigtrap() - print the details of a SIGTRAP before dying of it
 *
 * For processes in which nothing is armed, or which only have counting perf
 * events.  The default action would end the test without a message.  A handler
 * that the test has installed itself is kept.
 */
void report_unexpected_sigtrap(void)
{
	struct sigaction action = {
		.sa_sigaction = on_unexpected_sigtrap,
		.sa_flags = SA_SIGINFO | SA_RESETHAND,
	};
	struct sigaction old;

	if (!sigaction(SIGTRAP, NULL, &old) && old.sa_handler == SIG_DFL)
		sigaction(SIGTRAP, &action, NULL);
}

/**
 * tracee_report_events() - print the last events of a tracee
 * @t: tracee; may belong to another process, in shared memory
 *
 * Written to standard error, like tracee_report().
 */
void tracee_report_events(struct tracee *t)
{
	struct report r = { .len = 0 };

	append(&r, "#   tracee %u, thread %d, %lu traps verified\n", t->id,
	       abs(t->tid), t->traps);
	append_events(&r, t);
	if (write(STDERR_FILENO, r.text, r.len) < 0)
		abort();
}

/**
 * tracee_report() - report a failure
 * @t: tracee; NULL for none
 * @s: the event that was wrong; NULL for none
 * @fmt: what is wrong
 *
 * Written to standard error, as KTAP diagnostics.  The tracee may be stopped,
 * running or gone: what cannot be read is left out.
 */
void tracee_report(struct tracee *t, const struct stop *s, const char *fmt, ...)
{
	struct report r = { .len = 0 };
	va_list ap;
	int n;

	append(&r, *test_name ? "# %s: " : "# ", test_name);
	va_start(ap, fmt);
	n = vsnprintf(r.text + r.len, sizeof(r.text) - r.len, fmt, ap);
	va_end(ap);
	r.len += n > 0 && (size_t)n < sizeof(r.text) - r.len ? n : 0;
	append(&r, "\n");

	if (t)
		append(&r, "#   tracee %u, thread %d, %lu traps verified\n",
		       t->id, abs(t->tid), t->traps);
	if (t && s) {
		append(&r, "#   seen: ");
		append_status(&r, s->status);
		if (WIFSTOPPED(s->status)) {
			/* By tracee_wait_trap() */
			if (WSTOPSIG(s->status) == SIGSTOP &&
			    s->info.si_code == SI_TKILL &&
			    s->info.si_pid == getpid())
				append(&r, " of the watchdog");
			append(&r, ", code %d, si_addr %p, DR6 %#lx\n",
			       s->info.si_code, s->info.si_addr, s->dr6);
			append(&r, "#   seen: ip %#lx", s->ip);
			append_place(&r, s->ip);
		}
		append(&r, "\n");
		append_access(&r, t, "seen:", s->progress);
	} else if (t && t->progress) {
		append_access(&r, t, "now at", *t->progress);
	}
	if (t && t->tid > 0) {
		append_registers(&r, t);
		append_cpu(&r, t->tid);
	}
	if (t)
		append_events(&r, t);
	append(&r, "#   %s\n", environment());

	if (write(STDERR_FILENO, r.text, r.len) < 0)
		abort();
}

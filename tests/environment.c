// SPDX-License-Identifier: GPL-2.0
/*
 * The environment that a test program runs in, printed as diagnostic lines.
 *
 * Whether a breakpoint fires depends on the kernel, the CPU and the hypervisor,
 * so a result is of little use without them.
 */
#include <cpuid.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "environment.h"
#include "firing.h"

static char kernel[200], cpu[160], hypervisor[16], cpus[64], all[512];

/**
 * environment() - describe the environment in one line
 *
 * For failure reports, which are often quoted without the head of the log.
 *
 * Return: kernel, CPU model, hypervisor signature, CPUs and bitness, without a
 * newline; an empty string before constructors have run.
 */
const char *environment(void)
{
	return all;
}

/**
 * environment_hangs_on_step_and_hit() - whether a step with a data hit hangs
 *
 * With QEMU's software emulation (seen with 7.2) the virtual CPU loops for ever
 * when a single-stepped instruction hits a watchpoint.  A test that does so must
 * be skipped there.
 *
 * Return: true under that emulator.
 */
bool environment_hangs_on_step_and_hit(void)
{
	return environment_is_tcg();
}

/**
 * environment_may_change() - whether tests may change the state of the whole system
 *
 * That is: take a CPU offline for a moment, create a cgroup, put a uprobe on their own
 * program.  Everything is undone, and with HW_BREAKPOINT_NO_SYSTEM_CHANGES in the
 * environment not even tried.
 */
bool environment_may_change(void)
{
	return !getenv("HW_BREAKPOINT_NO_SYSTEM_CHANGES");
}

/**
 * environment_is_tcg() - whether this is QEMU's software emulation
 *
 * Return: true if the hypervisor signature is TCG's.
 */
bool environment_is_tcg(void)
{
	return !strcmp(hypervisor, "TCGTCGTCGTCG");
}

/*
 * CPUID 0x80000002..4 (Intel SDM vol. 2A, CPUID, "Processor Brand String"), 48
 * bytes; /proc may not be mounted.
 */
static void cpu_model(char model[49])
{
	unsigned int regs[12] = {}, leaf;
	char *p;

	for (leaf = 0; leaf < 3; leaf++)
		if (!__get_cpuid(0x80000002 + leaf, &regs[4 * leaf],
				 &regs[4 * leaf + 1], &regs[4 * leaf + 2],
				 &regs[4 * leaf + 3]))
			break;
	memcpy(model, regs, 48);
	model[48] = '\0';

	/* Some CPUs pad on the left */
	p = model + strspn(model, " ");
	memmove(model, p, strlen(p) + 1);
	for (p = model + strlen(model); p > model && p[-1] == ' ';)
		*--p = '\0';
}

/* The microcode revision is only available from /proc/cpuinfo */
static void cpu_revision(char revision[32])
{
	FILE *f = fopen("/proc/cpuinfo", "re");
	char line[256];

	if (!f)
		return;
	while (fgets(line, sizeof(line), f))
		if (sscanf(line, "microcode : %31s", revision) == 1)
			break;
	fclose(f);
}

/**
 * environment_has_pidfd() - whether pidfd_open(2) can be used
 *
 * Return: false if the kernel does not have it, or seccomp refuses it.
 */
bool environment_has_pidfd(void)
{
	int fd = syscall(SYS_pidfd_open, getpid(), 0);

	if (fd >= 0)
		close(fd);
	return fd >= 0;
}

/**
 * environment_cpu_lacks() - whether the kernel does not use a CPU feature
 * @flag: its name in the flags line of /proc/cpuinfo
 *
 * CPUID may show a feature that the kernel does not use, mostly in guests.
 *
 * Return: true if /proc/cpuinfo does not list it; false if it does, or cannot be
 * read.
 */
bool environment_cpu_lacks(const char *flag)
{
	FILE *f = fopen("/proc/cpuinfo", "re");
	size_t size = 0, n = strlen(flag);
	char *line = NULL, *p;
	bool lacks = false;

	while (f && getline(&line, &size, f) > 0) {
		if (strncmp(line, "flags", 5))
			continue;
		for (p = line; (p = strstr(p, flag)); p += n)
			if (p[-1] == ' ' && (p[n] == ' ' || p[n] == '\n'))
				break;
		lacks = !p;
		break;
	}
	free(line);
	if (f)
		fclose(f);
	return lacks;
}

static void find_cpu(void)
{
	unsigned int family, model, eax, ebx, ecx, edx;
	char name[49], revision[32] = "unknown";

	/* Intel SDM vol. 2A, CPUID, "Version Information" */
	__cpuid(1, eax, ebx, ecx, edx);
	family = eax >> 8 & 0xf;
	model = eax >> 4 & 0xf;
	if (family == 6 || family == 0xf)
		model += (eax >> 16 & 0xf) << 4;
	if (family == 0xf)
		family += eax >> 20 & 0xff;

	cpu_model(name);
	cpu_revision(revision);
	snprintf(cpu, sizeof(cpu),
		 "%s (family %u model %u stepping %u, microcode %s)",
		 name, family, model, eax & 0xf, revision);
}

/*
 * Twelve bytes in EBX, ECX and EDX of CPUID 0x40000000 if CPUID.1:ECX[31] is set.
 * Both vendors reserve these for hypervisors (AMD APM vol. 3, appendix E,
 * Fn0000_0001_ECX and Fn4000_00[FF:00]).
 */
static void find_hypervisor(void)
{
	unsigned int eax, ebx, ecx, edx;
	char *p;

	__cpuid(1, eax, ebx, ecx, edx);
	if (!(ecx & 1u << 31)) {
		memcpy(hypervisor, "none", 5);
		return;
	}

	__cpuid(0x40000000, eax, ebx, ecx, edx);
	memcpy(hypervisor, &ebx, 4);
	memcpy(hypervisor + 4, &ecx, 4);
	memcpy(hypervisor + 8, &edx, 4);
	/* Characters that are safe in a KTAP line */
	for (p = hypervisor; *p; p++)
		if (*p < ' ' || *p > '~' || *p == '#')
			*p = '?';
	if (!*hypervisor)
		memcpy(hypervisor, "unnamed", 8);
}

static char ptrace_fires[160], perf_fires[160];

/**
 * print_environment() - print the environment as diagnostic lines
 */
void print_environment(void)
{
	printf("# kernel: %s\n# CPU: %s\n# hypervisor: %s\n# CPUs: %s\n# program: %zu-bit\n",
	       kernel, cpu, hypervisor, cpus, 8 * sizeof(long));
	printf("# ptrace breakpoints: %s\n# perf breakpoints: %s\n",
	       ptrace_fires, perf_fires);
}

static void __attribute__((constructor)) find_environment(void)
{
	struct utsname u = {};

	/*
	 * The harness of 6.1 leaves stdout fully buffered if it is no terminal:
	 * lines would be late, and out of order with those of stderr.
	 */
	setvbuf(stdout, NULL, _IOLBF, 0);

	/* Without the node name, which should not be in a public report */
	uname(&u);
	snprintf(kernel, sizeof(kernel), "%s %s %s", u.release, u.version,
		 u.machine);
	find_cpu();
	find_hypervisor();
	snprintf(cpus, sizeof(cpus), "%ld online of %ld",
		 sysconf(_SC_NPROCESSORS_ONLN), sysconf(_SC_NPROCESSORS_CONF));
	snprintf(all, sizeof(all),
		 "kernel %s, CPU %s, hypervisor %s, CPUs %s, program %zu-bit",
		 kernel, cpu, hypervisor, cpus, 8 * sizeof(long));

	firing_probe();
	firing_text(BY_PTRACE, ptrace_fires, sizeof(ptrace_fires));
	firing_text(BY_PERF, perf_fires, sizeof(perf_fires));

	/* run_tests.sh needs these lines only */
	if (getenv("HW_BREAKPOINT_ENVIRONMENT")) {
		print_environment();
		fflush(stdout);
		_exit(0);
	}
}

/**
 * iterations() - how often to repeat what rarely goes wrong
 * @n: number of times
 *
 * CI sets KSFT_MACHINE_SLOW for emulated and debug kernels.
 *
 * Return: @n, or a quarter of it, and at least one, if KSFT_MACHINE_SLOW=yes.
 */
unsigned int iterations(unsigned int n)
{
	const char *slow = getenv("KSFT_MACHINE_SLOW");

	return slow && !strcmp(slow, "yes") ? (n + 3) / 4 : n;
}

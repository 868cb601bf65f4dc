// SPDX-License-Identifier: GPL-2.0
/*
 * Where a test program runs: a few diagnostic lines ahead of its KTAP header.
 *
 * Whether a breakpoint fires depends on kernel, CPU and hypervisor alike, so a
 * result is worth little without them. Linked into every program and run
 * before main(); nothing has to call it.
 */
#include <cpuid.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "environment.h"
#include "firing.h"

static char kernel[200], cpu[160], hypervisor[16], cpus[64], all[512];

/**
 * environment() - where this runs, in one line
 *
 * The same as the diagnostic lines that the program began with, for the
 * message of a failure, which often travels without its head.
 *
 * Return: kernel, CPU model, hypervisor signature, CPUs and bitness, without a
 * newline. Never NULL, and empty only before constructors have run.
 */
const char *environment(void)
{
	return all;
}

/**
 * environment_hangs_on_step_and_hit() - may no step end in a data hit here?
 *
 * QEMU in software emulation (seen with 7.2) loops for ever, and the whole
 * virtual CPU with it, when an instruction is single-stepped and hits a
 * watchpoint. A test that does so has to skip there.
 *
 * Return: true under that emulator, known by its hypervisor signature.
 */
bool environment_hangs_on_step_and_hit(void)
{
	return environment_is_tcg();
}

/**
 * environment_is_tcg() - is this QEMU in software emulation?
 *
 * Return: true if the hypervisor signature says so.
 */
bool environment_is_tcg(void)
{
	return !strcmp(hypervisor, "TCGTCGTCGTCG");
}

/*
 * The processor's own name, CPUID 0x80000002..4 (Intel SDM vol. 2A, CPUID,
 * "Processor Brand String"): 48 bytes, and no /proc is needed for it.
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

	/* Padded with blanks, by some on the left */
	p = model + strspn(model, " ");
	memmove(model, p, strlen(p) + 1);
	for (p = model + strlen(model); p > model && p[-1] == ' ';)
		*--p = '\0';
}

/* The microcode revision is told by /proc/cpuinfo only, if at all. */
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
 * environment_cpu_lacks() - has the kernel left a feature out?
 * @flag: its name in the flags line of /proc/cpuinfo
 *
 * CPUID may promise what a kernel does not use, in a guest above all.
 *
 * Return: true where /proc/cpuinfo does not list it; false where it does, or
 * cannot be read.
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
 * Twelve bytes in EBX, ECX, EDX of CPUID 0x40000000, where CPUID.1:ECX[31] says
 * that there is a hypervisor. Both vendors leave these to the hypervisor (AMD
 * APM vol. 3, appendix E, Fn0000_0001_ECX and Fn4000_00[FF:00]).
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
	/* Nothing that would spoil a KTAP line */
	for (p = hypervisor; *p; p++)
		if (*p < ' ' || *p > '~' || *p == '#')
			*p = '?';
	if (!*hypervisor)
		memcpy(hypervisor, "unnamed", 8);
}

static void __attribute__((constructor)) print_environment(void)
{
	char ptrace_fires[160], perf_fires[160];
	struct utsname u = {};

	/*
	 * The harness of 6.1 leaves stdout fully buffered where it is no
	 * terminal: lines would come late, and out of order with stderr.
	 */
	setvbuf(stdout, NULL, _IOLBF, 0);

	/* Not the node's name: it says nothing, and reports are passed on. */
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

	printf("# kernel: %s\n# CPU: %s\n# hypervisor: %s\n# CPUs: %s\n# program: %zu-bit\n",
	       kernel, cpu, hypervisor, cpus, 8 * sizeof(long));
	printf("# ptrace breakpoints: %s\n# perf breakpoints: %s\n",
	       ptrace_fires, perf_fires);

	/* That was all that is asked for */
	if (getenv("HW_BREAKPOINT_ENVIRONMENT")) {
		fflush(stdout);
		_exit(0);
	}
}

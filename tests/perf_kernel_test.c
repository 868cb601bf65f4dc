// SPDX-License-Identifier: GPL-2.0
/*
 * Perf breakpoints on kernel addresses: who may set them, and where they must
 * be refused.
 *
 * A #DB on the way into the kernel, before the kernel can handle one, crashes
 * the machine, so certain data and code cannot be watched, not even by root
 * (within_cpu_entry() and arch_build_bp_info() in
 * arch/x86/kernel/hw_breakpoint.c). Events that must be refused are opened
 * disabled: nothing is armed if a kernel accepts them.
 *
 * Addresses come from /proc/kallsyms, which shows them to the privileged only;
 * it has the kernel's data with CONFIG_KALLSYMS_ALL only.
 */
#include <fcntl.h>
#include <linux/capability.h>
#include <stdlib.h>

#include "perf_event.h"
#include "probes.h"

#define CALLS		100
#define MAX_CPUS	64

#ifdef __x86_64__
#define SYSCALL_SYMBOL	"__x64_sys_getppid"
#else
#define SYSCALL_SYMBOL	"__ia32_sys_getppid"
#endif

static unsigned long word;

/* The addresses of @n symbols; 0 for those not shown */
static void find_symbols(const char *const *names, unsigned long long *addrs,
			 unsigned int n)
{
	FILE *f = fopen("/proc/kallsyms", "re");
	char line[256], *name;
	unsigned int i, left = n;

	memset(addrs, 0, n * sizeof(*addrs));
	/* "ADDRESS TYPE NAME", for a module's with a tab and "[MODULE]" */
	while (f && left && fgets(line, sizeof(line), f)) {
		name = strchr(line, ' ');
		if (!name || strlen(name) < 3)
			continue;
		name += 3;
		name[strcspn(name, "\t\n")] = '\0';
		for (i = 0; i < n; i++) {
			if (addrs[i] || strcmp(name, names[i]))
				continue;
			addrs[i] = strtoull(line, NULL, 16);
			left -= !!addrs[i];
		}
	}
	if (f)
		fclose(f);
}

/* A program header of a 64-bit ELF file, and its offset in the file: elf(5) */
struct program_header {
	__u32 type, flags;
	__u64 offset, vaddr, paddr, filesz, memsz, align;
};

#define PHOFF_AT	32	/* 8 bytes */
#define PHNUM_AT	56	/* 2 bytes */

/* Read @size bytes of the kernel's memory from /proc/kcore, an ELF core file */
static bool read_kernel(unsigned long long addr, void *buf, size_t size)
{
	int fd = open("/proc/kcore", O_RDONLY | O_CLOEXEC);
	unsigned long long phoff = 0;
	struct program_header p;
	unsigned short phnum = 0;
	bool done = false;

	if (fd < 0)
		return false;
	if (pread64(fd, &phoff, 8, PHOFF_AT) != 8 ||
	    pread64(fd, &phnum, 2, PHNUM_AT) != 2)
		phnum = 0;
	for (; phnum && !done; phnum--, phoff += sizeof(p)) {
		if (pread64(fd, &p, sizeof(p), phoff) != sizeof(p))
			break;
		if (addr >= p.vaddr && addr + size <= p.vaddr + p.filesz)
			done = pread64(fd, buf, size,
				       p.offset + addr - p.vaddr) ==
			       (ssize_t)size;
	}
	close(fd);
	return done;
}

FIXTURE(perf_kernel) {
	struct perf_event_attr attr;
};

FIXTURE_SETUP(perf_kernel)
{
	skip_if_perf_refused(_metadata);
	if (PERF_EXECUTE_LEN == 4)
		SKIP(_exit(EXIT_SKIPPED), SKIP_64_BIT_KERNEL);
	self->attr = perf_attr(HW_BREAKPOINT_W, &word, 8);
	self->attr.bp_addr &= ~7ULL;
	self->attr.disabled = 1;
	self->attr.exclude_kernel = 0;
	skip_if_refused(_metadata, perf_try_close(&self->attr, 0, -1),
			"breakpoint that counts the kernel's accesses");
}

FIXTURE_TEARDOWN(perf_kernel)
{
}

/* For a child: no capability but CAP_PERFMON */
static void keep_perfmon_only(void)
{
	struct __user_cap_header_struct h = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct d[2] = {};

	d[CAP_TO_INDEX(CAP_PERFMON)].effective = CAP_TO_MASK(CAP_PERFMON);
	d[CAP_TO_INDEX(CAP_PERFMON)].permitted = CAP_TO_MASK(CAP_PERFMON);
	if (syscall(SYS_capset, &h, d))
		_exit(EXIT_SKIPPED);
}

/*
 * perf_event_open(2) with CAP_PERFMON permits events that count in the kernel,
 * but a breakpoint on a kernel address needs CAP_SYS_ADMIN
 * (hw_breakpoint_parse() in kernel/events/hw_breakpoint.c): a #DB at the wrong
 * address does more than count.
 */
TEST_F(perf_kernel, needs_cap_sys_admin)
{
	static const unsigned int types[] = { HW_BREAKPOINT_W, HW_BREAKPOINT_RW };
	int status;
	pid_t pid;

	if (!kernel_is(5, 8))
		SKIP(return, SKIP_OLD_KERNEL);
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		unsigned int i;
		int err;

		keep_perfmon_only();
		/* What it is permitted, first */
		err = perf_try_close(&self->attr, 0, -1);
		if (err)
			_exit(EXIT_SKIPPED);
		for (i = 0; i < ARRAY_SIZE(types); i++) {
			self->attr.bp_type = types[i];
			/* An address of the direct mapping */
			self->attr.bp_addr = 0xffff888000001000ULL;
			err = perf_try_close(&self->attr, 0, -1);
			if (err != -EPERM) {
				test_err("type %u at %#llx without CAP_SYS_ADMIN: %d, not -EPERM",
					 types[i],
					(unsigned long long)self->attr.bp_addr,
					err);
				_exit(1);
			}
		}
		_exit(0);
	}
	status = reap(pid);
	if (WIFEXITED(status) && WEXITSTATUS(status) == EXIT_SKIPPED)
		SKIP(return, SKIP_REFUSED, "capset");
	ASSERT_EQ(0, status);
}

/*
 * Code that must not be probed by kprobes is refused for execute breakpoints as
 * well, above all the entry code.
 */
TEST_F(perf_kernel, entry_code_refused)
{
	static const char *const names[] = {
		"entry_SYSCALL_64", "asm_exc_debug", "asm_exc_nmi",
		"asm_exc_page_fault", "asm_exc_int3",
	};
	unsigned long long addrs[ARRAY_SIZE(names)];
	unsigned int i, known = 0;

	find_symbols(names, addrs, ARRAY_SIZE(names));
	self->attr.bp_type = HW_BREAKPOINT_X;
	for (i = 0; i < ARRAY_SIZE(names); i++) {
		self->attr.bp_addr = addrs[i];
		if (!self->attr.bp_addr)
			continue;
		known++;
		EXPECT_EQ(-EINVAL, perf_try_close(&self->attr, 0, -1)) {
			TH_LOG("%s at %#llx", names[i],
			       (unsigned long long)self->attr.bp_addr);
		}
	}
	if (!known)
		SKIP(return, SKIP_NO_SYMBOLS);
}

/* The number of addresses in [@addr, @addr + @size) that are accepted */
static int accepted_in(struct __test_metadata *_metadata,
		       struct perf_event_attr *attr, const char *name,
		       unsigned long long addr, unsigned int size)
{
	static const unsigned int lens[] = { 1, 8 };
	unsigned int i, off, bad = 0;

	for (i = 0; i < ARRAY_SIZE(lens); i++) {
		for (off = 0; off < size; off += 8) {
			attr->bp_len = lens[i];
			attr->bp_addr = addr + off;
			if (perf_try_close(attr, 0, -1) == -EINVAL)
				continue;
			TH_LOG("%s + %u, at %#llx, length %u: not refused",
			       name, off, addr + off, lens[i]);
			bad++;
		}
	}
	return bad;
}

/*
 * Paranoid entry (of #DB itself, of NMI) reads the GS base from it.
 *
 * Regression test for c4bed4b96918.
 */
TEST_F(perf_kernel, per_cpu_offsets_refused)
{
	static const char *const name = "__per_cpu_offset";
	long cpus = sysconf(_SC_NPROCESSORS_CONF);
	unsigned long long addr;

	find_symbols(&name, &addr, 1);
	if (!addr)
		SKIP(return, SKIP_NO_SYMBOLS);
	ASSERT_EQ(0, accepted_in(_metadata, &self->attr, name, addr,
				 8 * cpus));
}

/*
 * Per-CPU data that is accessed on entry: the GDT, the TSS with the stack
 * pointers, the TLB state that NMI entry reads, the copy of DR7 that #DB entry
 * reads before it disarms.
 *
 * Regression test for 97417cb9ad4e, f9fe0b89f054, fdef24dfccb7 and
 * 3943abf2dbfa.
 */
TEST_F(perf_kernel, entry_data_refused)
{
	static const char *const names[] = {
		"__per_cpu_offset", "gdt_page", "cpu_tss_rw", "cpu_tlbstate",
		"cpu_dr7",
	};
	static const unsigned int sizes[] = { 0, 128, 104, 8, 8 };
	unsigned int i, cpu, cpus = sysconf(_SC_NPROCESSORS_CONF), known = 0;
	unsigned long long addrs[ARRAY_SIZE(names)], base;

	find_symbols(names, addrs, ARRAY_SIZE(names));
	if (!addrs[0])
		SKIP(return, SKIP_NO_SYMBOLS);
	for (i = 1; i < ARRAY_SIZE(names); i++) {
		for (cpu = 0; addrs[i] && cpu < cpus && cpu < MAX_CPUS; cpu++) {
			if (!read_kernel(addrs[0] + 8 * cpu, &base, 8))
				SKIP(return, SKIP_REFUSED, "/proc/kcore");
			known++;
			ASSERT_EQ(0, accepted_in(_metadata, &self->attr,
						 names[i], addrs[i] + base,
						 sizes[i])) {
				TH_LOG("of CPU %u", cpu);
			}
		}
	}
	if (!known)
		SKIP(return, SKIP_NO_SYMBOLS);
}

/*
 * Where it is permitted, an execute breakpoint in the kernel counts each call
 * once. RF has to be set on the return from #DB, or the CPU hangs; that it is
 * set is tried in user space first.
 */
TEST_F(perf_kernel, counts_each_system_call)
{
	static const char *const name = SYSCALL_SYMBOL;
	unsigned long long addr;
	unsigned int i;
	int fd;

	find_symbols(&name, &addr, 1);
	if (!addr)
		SKIP(return, SKIP_NO_SYMBOLS);
	self->attr = perf_attr(HW_BREAKPOINT_X, probe_target(0),
			       PERF_EXECUTE_LEN);
	fd = perf_try(&self->attr, 0, -1);
	ASSERT_LE(0, fd);
	probe_call_target(0, &word, 1);
	ASSERT_EQ(1, perf_count(fd));
	close(fd);

	self->attr.bp_addr = addr;
	self->attr.exclude_kernel = 0;
	fd = perf_try(&self->attr, 0, -1);
	if (fd == -EINVAL)
		SKIP(return, SKIP_NOT_BUILT_IN);
	ASSERT_LE(0, fd);
	for (i = 0; i < CALLS; i++)
		syscall(SYS_getppid);
	EXPECT_EQ(CALLS, perf_count(fd));
	/* And not calls by others */
	syscall(SYS_getuid);
	EXPECT_EQ(CALLS, perf_count(fd));
	close(fd);
}

#ifdef __x86_64__
/*
 * Text is patched through a temporary mm, with the breakpoints disabled: the kernel
 * writes to an address of that mm that may be watched in this one.  It is
 * TASK_UNMAPPED_BASE plus the offset of the text in its page; with
 * CONFIG_RANDOMIZE_BASE it differs at each boot and is not known, and then this cannot
 * fail (poking_init() in arch/x86/mm/init.c).
 *
 * Only an event that counts the kernel's accesses can show it.
 *
 * Regression test for 9020d3956317.
 */
#define POKING_PAGE	((((1ULL << 47) - 4096) / 3 + 4095) & ~4095ULL)

TEST_F(perf_kernel, temporary_mm_not_watched)
{
	struct perf_event_attr *attr = &self->attr;
	unsigned int off, i;
	int fd[DR_SLOTS];

	attr->disabled = 0;
	for (off = 0; off < 4096; off += 8 * DR_SLOTS) {
		for (i = 0; i < DR_SLOTS; i++) {
			attr->bp_addr = POKING_PAGE + off + 8 * i;
			fd[i] = perf_open(_metadata, attr, 0, -1);
		}
		ASSERT_EQ(0, patch_text());
		for (i = 0; i < DR_SLOTS; i++) {
			EXPECT_EQ(0, perf_count(fd[i])) {
				TH_LOG("%#llx is watched while text is patched",
				       POKING_PAGE + off + 8 * i);
			}
			close(fd[i]);
		}
	}
}
#endif

TEST_HARNESS_MAIN

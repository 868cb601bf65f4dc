// SPDX-License-Identifier: GPL-2.0
/*
 * A 64-bit tracer with a 32-bit tracee, and vice versa.
 *
 * The two have a different struct user, different registers and a different
 * siginfo, and the kernel has another path for each tracer
 * (compat_arch_ptrace() in arch/x86/kernel/ptrace.c), but the breakpoints are
 * the same.  The tracee is the program of the other bitness, in the same
 * directory: an environment variable tells it to act as the tracee, before
 * main().
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"
#include "probes.h"

#define PAGE		4096
#define WANTED		"HW_BREAKPOINT_COMPAT_TRACEE"

/* Suffixes of the names; NAME_32 itself is a link to launch_32 */
#ifdef __x86_64__
#define OTHER_BITNESS	"32"
#define OWN_SUFFIX	"_64"
#define OTHER_SUFFIX	"_32.elf"
#else
#define OTHER_BITNESS	"64"
#define OWN_SUFFIX	"_32.elf"
#define OTHER_SUFFIX	"_64"
#endif

/* One pass: accesses 1 to 4 call targets, 5 to 8 load, 9 to 12 store */
#define LOADS		DR_SLOTS
#define STORES		(2 * DR_SLOTS)
#define PASS		(3 * DR_SLOTS)

/* Shared by both; all addresses are the tracee's and below 4 GiB */
struct shared {
	unsigned long long progress;
	unsigned long long word[DR_SLOTS];
	unsigned long long word_at[DR_SLOTS];
	unsigned long long target_at[DR_SLOTS];
	unsigned long long load_next;
	unsigned long long store_next;
};

#ifndef MAP_32BIT
#define MAP_32BIT	0
#endif

static struct shared *map_shared(int fd, int flags)
{
	void *p = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | flags,
		       fd, 0);

	return p == MAP_FAILED ? NULL : p;
}

/* Code at addresses that fit a 32-bit tracer: "nop; ret", every 16 bytes */
static char *low_code(void)
{
	unsigned char *code = mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
				   MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1,
				   0);
	unsigned int i;

	if (code == MAP_FAILED)
		return NULL;
	for (i = 0; i < DR_SLOTS; i++) {
		code[16 * i] = 0x90;
		code[16 * i + 1] = 0xc3;
	}
	return mprotect(code, PAGE, PROT_READ | PROT_EXEC) ? NULL :
	       (char *)code;
}

static void run_tracee(int fd)
{
	struct shared *shared = map_shared(fd, MAP_32BIT);
	char *code = low_code();
	unsigned int i;

	if (!shared || !code)
		_exit(2);
	for (i = 0; i < DR_SLOTS; i++) {
		shared->word_at[i] = (unsigned long)&shared->word[i];
		shared->target_at[i] = (unsigned long)code + 16 * i;
	}
	shared->load_next = (unsigned long)probe_load4_next;
	shared->store_next = (unsigned long)probe_store4_next;
	for (;;) {
		tracee_sync();
		for (i = 0; i < DR_SLOTS; i++) {
			shared->progress = 1 + i;
			((void (*)(void))(unsigned long)(code + 16 * i))();
		}
		for (i = 0; i < DR_SLOTS; i++) {
			shared->progress = 1 + LOADS + i;
			probe_load4(&shared->word[i], 0);
		}
		for (i = 0; i < DR_SLOTS; i++) {
			shared->progress = 1 + STORES + i;
			probe_store4(&shared->word[i], i);
		}
		shared->progress = PASS + 1;
	}
}

/* Before all others, so that nothing is printed */
static void __attribute__((constructor(101))) tracee_if_wanted(void)
{
	const char *fd = getenv(WANTED);

	if (fd) {
		run_tracee(atoi(fd));
		_exit(0);
	}
}

/* The path of the program of the other bitness, from this one's own */
static bool other_program(char *path, size_t size)
{
	const char *self = (const char *)getauxval(AT_EXECFN);
	int len = (self ? (int)strlen(self) : 0) - (int)strlen(OWN_SUFFIX);

	if (len < 0 || strcmp(self + len, OWN_SUFFIX))
		return false;
	snprintf(path, size, "%.*s%s", len, self, OTHER_SUFFIX);
	return !access(path, X_OK);
}

FIXTURE(compat) {
	struct tracee t;
	struct shared *shared;
	int fd;
};

/* Fork, execute the other program, and run it to its first tracee_sync() */
static int start_other_bitness(struct tracee *t, int fd, const char *path)
{
	char number[16];
	int status;
	pid_t pid;

	snprintf(number, sizeof(number), "%d", fd);
	pid = fork();
	if (pid < 0)
		return -errno;
	if (!pid) {
		if (setenv(WANTED, number, 1) ||
		    ptrace(PTRACE_TRACEME, 0, NULL, NULL))
			_exit(errno);
		execl(path, path, NULL);
		_exit(errno);
	}
	if (waitpid(pid, &status, __WALL) != pid)
		return -ECHILD;
	if (WIFEXITED(status))
		return -WEXITSTATUS(status);
	if (!WIFSTOPPED(status) || WSTOPSIG(status) != SIGTRAP)
		return -ECHILD;
	if (ptrace(PTRACE_SETOPTIONS, pid, NULL, PTRACE_O_EXITKILL))
		return -errno;
	return tracee_adopt(t, pid);
}

FIXTURE_SETUP(compat)
{
	char path[4096];
	int err;

	if (!other_program(path, sizeof(path)))
		SKIP(_exit(EXIT_SKIPPED), SKIP_OTHER_BITNESS);
	skip_if_cannot_trace(_metadata);
	/* Not close-on-exec: the tracee inherits it */
	self->fd = syscall(SYS_memfd_create, "compat32_test", 0);
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, ftruncate(self->fd, PAGE));
	self->shared = map_shared(self->fd, 0);
	ASSERT_NE(NULL, self->shared);

	/* Mapped separately: tracee_stop() unmaps it */
	self->t.progress = (unsigned long *)map_shared(self->fd, 0);
	ASSERT_NE(NULL, self->t.progress);
	err = start_other_bitness(&self->t, self->fd, path);
	if (err == -ENOEXEC || err == -ENOENT || err == -ELIBBAD)
		SKIP(_exit(EXIT_SKIPPED), SKIP_OTHER_BITNESS);
	ASSERT_EQ(0, err);
	ASSERT_EQ(0, tracee_expect_sync(&self->t, 0));
	if (sizeof(long) == 4 && self->shared->word_at[0] >> 32)
		SKIP(_exit(EXIT_SKIPPED), SKIP_REFUSED, "memory below 4 GiB");
}

FIXTURE_TEARDOWN(compat)
{
	tracee_stop(&self->t);
	if (self->shared)
		close(self->fd);
}

/* An address that the tracee has reported */
static const void *reported_address(unsigned long long addr)
{
	return (const void *)(unsigned long)addr;
}

/* One slot: what is armed on its own target or word, if anything */
struct slot {
	bool armed;
	enum bp_type type;
	unsigned int len;
};

static int arm(struct tracee *t, const struct shared *shared,
	       const struct slot *slot, unsigned int i)
{
	return tracee_arm(t, i, slot[i].type, slot[i].len,
			  reported_address(slot[i].type == BP_EXECUTE ?
			       shared->target_at[i] : shared->word_at[i]));
}

/* Run one pass, with exactly the traps of @slot */
static int expect_pass(struct tracee *t, const struct shared *shared,
		       const struct slot *slot)
{
	unsigned long n;

	for (n = 1; n <= PASS; n++) {
		unsigned int i = (n - 1) % DR_SLOTS;
		enum bp_type type = slot[i].type;
		const void *ip;

		if (n <= LOADS)
			ip = type == BP_EXECUTE ? reported_address(shared->target_at[i]) :
			     NULL;
		else if (n <= STORES)
			ip = type == BP_RW ? reported_address(shared->load_next) : NULL;
		else
			ip = type != BP_EXECUTE ? reported_address(shared->store_next) :
			     NULL;
		if (slot[i].armed && ip && tracee_expect_hit(t, 1U << i, ip, n))
			return -1;
	}
	return tracee_expect_sync(t, PASS + 1);
}

/* Each slot, with every type and length; then disabled, and nothing traps */
TEST_F(compat, each_slot_traps)
{
	static const struct slot kinds[] = {
		{ true, BP_EXECUTE, 1 },
		{ true, BP_WRITE, 1 }, { true, BP_WRITE, 2 },
		{ true, BP_WRITE, 4 }, { true, BP_WRITE, 8 },
		{ true, BP_RW, 1 }, { true, BP_RW, 2 },
		{ true, BP_RW, 4 }, { true, BP_RW, 8 },
	};
	struct slot slot[DR_SLOTS] = { };
	struct tracee *t = &self->t;
	unsigned int i, j;

	for (i = 0; i < DR_SLOTS; i++) {
		for (j = 0; j < ARRAY_SIZE(kinds); j++) {
			slot[i] = kinds[j];
			ASSERT_EQ(0, arm(t, self->shared, slot, i));
			ASSERT_EQ(0, expect_pass(t, self->shared, slot));
		}
		slot[i].armed = false;
		ASSERT_EQ(0, tracee_disarm(t, i));
		ASSERT_EQ(0, expect_pass(t, self->shared, slot));
	}
}

TEST_F(compat, all_slots_trap)
{
	struct slot slot[DR_SLOTS] = {
		{ true, BP_RW, 4 }, { true, BP_EXECUTE, 1 },
		{ true, BP_WRITE, 2 }, { true, BP_EXECUTE, 1 },
	};
	struct tracee *t = &self->t;
	unsigned int i, round;
	unsigned long val;

	for (i = 0; i < DR_SLOTS; i++) {
		ASSERT_EQ(0, arm(t, self->shared, slot, i)) {
			TH_LOG("slot %u", i);
		}
	}
	for (round = 0; round < 3; round++) {
		ASSERT_EQ(0, expect_pass(t, self->shared, slot)) {
			TH_LOG("round %u", round);
		}
	}
	for (i = 0; i < DR_SLOTS; i++) {
		ASSERT_EQ(0, tracee_peek(t, i, &val));
		ASSERT_EQ((unsigned long)(slot[i].type == BP_EXECUTE ?
					  self->shared->target_at[i] :
					  self->shared->word_at[i]), val);
	}
}

/* All bits of a register that fit the tracer's word read back */
TEST_F(compat, registers_read_back)
{
	const unsigned long addr[] = {
		0, 1, 0x7fffffff, 0x80000000, 0xc0000000, 0xffffe000,
		0xfffffff8, 0xffffffff,
	};
	struct slot none[DR_SLOTS] = { };
	struct tracee *t = &self->t;
	unsigned int i, j, bit;
	unsigned long val;

	for (j = 0; j < ARRAY_SIZE(addr); j++) {
		for (i = 0; i < DR_SLOTS; i++) {
			ASSERT_EQ(0, tracee_poke(t, i, addr[j]));
			ASSERT_EQ(0, tracee_peek(t, i, &val));
			ASSERT_EQ(addr[j], val);
		}
	}
	for (bit = 0; bit < 8 * sizeof(long); bit++) {
		ASSERT_EQ(0, tracee_poke(t, 6, 1UL << bit));
		ASSERT_EQ(0, tracee_peek(t, 6, &val));
		ASSERT_EQ(1UL << bit, val);
		if (bit < 8 || (bit >= 16 && bit < 32))
			continue;
		ASSERT_EQ(0, tracee_poke(t, 7, 1UL << bit));
		ASSERT_EQ(0, tracee_peek(t, 7, &val));
		ASSERT_EQ(1UL << bit, val);
	}
	ASSERT_EQ(0, tracee_poke(t, 7, 0));
	ASSERT_EQ(0, expect_pass(t, self->shared, none));
}

/* A refused write does not change the slots of the other bitness either */
TEST_F(compat, refused_write_changes_nothing)
{
	struct slot slot[DR_SLOTS] = {
		{ true, BP_WRITE, 4 }, { true, BP_RW, 8 },
		{ true, BP_EXECUTE, 1 }, { true, BP_WRITE, 2 },
	};
	struct tracee *t = &self->t;
	unsigned long before[8], val;
	unsigned int i, n;

	for (i = 0; i < DR_SLOTS; i++) {
		ASSERT_EQ(0, arm(t, self->shared, slot, i)) {
			TH_LOG("slot %u", i);
		}
	}
	for (n = 0; n < 8; n++) {
		ASSERT_EQ(0, tracee_peek(t, n, &before[n])) {
			TH_LOG("number %u", n);
		}
	}
	ASSERT_EQ(-EINVAL, tracee_poke(t, 0, before[0] + 1));
	ASSERT_EQ(-EINVAL, tracee_poke(t, 1, before[1] + 4));
	ASSERT_EQ(-EINVAL, tracee_poke(t, 3, before[3] + 1));
	ASSERT_EQ(-EINVAL, tracee_poke(t, 7, DR7_LOCAL(1) |
				       DR7_FIELD(1, BP_IO)));
	ASSERT_EQ(-EIO, tracee_poke(t, 4, 0));
	ASSERT_EQ(-EIO, tracee_poke(t, 5, 0));
#ifdef __x86_64__
	for (i = 0; i < DR_SLOTS; i++) {
		ASSERT_EQ(-EINVAL, tracee_poke(t, i, 1UL << 56));
		ASSERT_EQ(-EINVAL, tracee_poke(t, i, 0xffffffff81000000));
		ASSERT_EQ(-EINVAL, tracee_poke(t, i, -8UL));
	}
#endif
	for (n = 0; n < 8; n++) {
		ASSERT_EQ(0, tracee_peek(t, n, &val));
		ASSERT_EQ(before[n], val);
	}
	ASSERT_EQ(0, expect_pass(t, self->shared, slot));
}

#ifdef __x86_64__
/*
 * The limit is the kernel's, not the tracee's (27747f8bc355): an address that a
 * 32-bit tracee does not have is accepted, reads back in full, and does not
 * match the one with the same lower half.
 */
TEST_F(compat, address_above_4g_never_traps)
{
	struct slot none[DR_SLOTS] = { };
	struct tracee *t = &self->t;
	unsigned long addr, val;
	unsigned int i;

	for (i = 0; i < DR_SLOTS; i++) {
		addr = self->shared->word_at[i] + (1UL << 32);
		ASSERT_EQ(0, tracee_arm(t, i, BP_RW, 4, (void *)addr));
		ASSERT_EQ(0, tracee_peek(t, i, &val));
		ASSERT_EQ(addr, val);
	}
	ASSERT_EQ(0, expect_pass(t, self->shared, none));
}
#endif

/* A step in the other bitness, off a breakpoint and onto the next */
TEST_F(compat, single_steps)
{
	struct slot slot[DR_SLOTS] = { };
	struct tracee *t = &self->t;
	struct trap trap = { .step = true, .progress = 1 };
	struct stop s;
	unsigned int i;

	for (i = 0; i < DR_SLOTS; i++) {
		slot[i] = (struct slot){ true, BP_EXECUTE, 1 };
		ASSERT_EQ(0, arm(t, self->shared, slot, i));
		ASSERT_EQ(0, tracee_expect_hit(t, 1U << i,
					       reported_address(self->shared->target_at[i]),
					       1 + i));
		ASSERT_EQ(0, tracee_resume(t, PTRACE_SINGLESTEP, 0));
		ASSERT_EQ(0, tracee_wait(t, &s));
		trap.ip = reported_address(self->shared->target_at[i] + 1);
		trap.progress = 1 + i;
		ASSERT_EQ(0, tracee_check_trap(t, &s, &trap));
		ASSERT_EQ(0, tracee_expect_sync(t, PASS + 1));
		ASSERT_EQ(0, tracee_disarm(t, i));
	}
}

TEST_HARNESS_MAIN

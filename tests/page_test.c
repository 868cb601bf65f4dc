// SPDX-License-Identifier: GPL-2.0
/*
 * Watched pages that are not mapped, protected, moved, huge, or filled in by
 * userfaultfd.
 */
#include <cpuid.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "harness.h"
#include "probes.h"
#include "insn.h"

FIXTURE(page) {
	struct tracee t;
	unsigned char *page;
	size_t size;
};

FIXTURE_SETUP(page)
{
	self->size = 4 * PAGE;
	self->page = mmap(NULL, self->size, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(-1, (long)self->page);
}

FIXTURE_TEARDOWN(page)
{
	tracee_stop(&self->t);
	munmap(self->page, self->size);
}

/* A store across the border of two pages that are both unmapped */
static void store_across_border(struct tracee *t)
{
	unsigned char *page = t->arg;

	for (;;) {
		madvise(page, 2 * PAGE, MADV_DONTNEED);
		*t->progress = 1;
		probe_store4(page + PAGE - 2, 1);
		*t->progress = 2;
		tracee_sync();
	}
}

TEST_F(page, store_across_two_unmapped)
{
	struct tracee *t = &self->t;
	int off;

	t->body = store_across_border;
	t->arg = self->page;
	start_tracee(_metadata, t, TRACEE_TRACEME);
	for (off = -2; off < 2; off++) {
		ASSERT_EQ(0, tracee_arm(t, 0, BP_WRITE, 1,
					self->page + PAGE + off));
		ASSERT_EQ(0, tracee_expect_hit(t, 1, probe_store4_next, 1));
		ASSERT_EQ(0, tracee_expect_sync(t, 2));
	}
	/* A slot on each half: still one trap */
	ASSERT_EQ(0, tracee_disarm(t, 0));
	ASSERT_EQ(0, tracee_arm(t, 2, BP_WRITE, 1, self->page + PAGE - 1));
	ASSERT_EQ(0, tracee_expect_hit(t, 4, probe_store4_next, 1));
	ASSERT_EQ(0, tracee_expect_sync(t, 2));
}

/* Gathers whose elements fault one after the other, across the page border */
static void gather_across_border(struct tracee *t)
{
	unsigned char *page = t->arg;

	for (;;) {
		madvise(page, 2 * PAGE, MADV_DONTNEED);
		*t->progress = 1;
		do_gather(page + PAGE - 16, 0);
		*t->progress = 2;
		tracee_sync();
	}
}

/*
 * A gather may stop in the middle, at its own ip, to deliver the trap of an
 * element before the fault of the next (SDM vol. 2, VPGATHERDD): one trap for
 * the element, at the instruction or after it.
 */
TEST_F(page, gather_across_two_unmapped)
{
	struct tracee *t = &self->t;
	static const int at[] = { -16, -8, 0, 8 };
	struct stop s;
	unsigned int i;

	if (!cpu_has(AVX2))
		SKIP(return, SKIP_NO_INSN);
	t->body = gather_across_border;
	t->arg = self->page;
	start_tracee(_metadata, t, TRACEE_TRACEME);
	for (i = 0; i < ARRAY_SIZE(at); i++) {
		struct trap hit = {
			.ip = do_gather_next, .slots = 2, .progress = 1,
		};

		ASSERT_EQ(0, tracee_arm(t, 1, BP_RW, 1,
					self->page + PAGE + at[i]));
		ASSERT_EQ(0, tracee_cont(t));
		ASSERT_EQ(0, tracee_wait(t, &s));
		if (s.ip == (unsigned long)do_gather_at)
			hit.ip = do_gather_at;
		ASSERT_EQ(0, tracee_check_trap(t, &s, &hit));
		ASSERT_EQ(0, tracee_expect_sync(t, 2));
	}
}

static unsigned char *forbidden;

static void unprotect(int sig)
{
	(void)sig;
	mprotect(forbidden, PAGE, PROT_READ | PROT_WRITE);
}

/* Protections of the page: first none at all, then read-only */
static void access_protected(struct tracee *t)
{
	struct sigaction action = { .sa_handler = unprotect };
	unsigned int i;

	forbidden = t->arg;
	sigaction(SIGSEGV, &action, NULL);
	forbidden[0] = 1;
	for (i = 0;; i++) {
		mprotect(forbidden, PAGE, i % 2 ? PROT_READ : PROT_NONE);
		*t->progress = 1;
		probe_store4(forbidden, i);
		*t->progress = 2;
		tracee_sync();
	}
}

/*
 * A refused access does not trap; the one that is repeated after the handler
 * does
 */
TEST_F(page, protected_then_writable)
{
	struct tracee *t = &self->t;
	const struct trap hit = {
		.ip = probe_store4_next, .slots = 8, .progress = 1,
	};
	struct stop s;
	unsigned int i;

	t->body = access_protected;
	t->arg = self->page;
	start_tracee(_metadata, t, TRACEE_TRACEME);
	ASSERT_EQ(0, tracee_arm(t, 3, BP_RW, 4, self->page));
	skip_if_dead(_metadata, BY_PTRACE, NEEDS_RW);
	/* Its own first store, without a label */
	ASSERT_EQ(0, tracee_cont(t));
	ASSERT_EQ(0, tracee_wait(t, &s));
	ASSERT_EQ(TRAP_HWBKPT, s.info.si_code);
	for (i = 0; i < 4; i++) {
		ASSERT_EQ(0, tracee_cont(t));
		ASSERT_EQ(0, tracee_wait(t, &s));
		ASSERT_TRUE(WIFSTOPPED(s.status));
		ASSERT_EQ(SIGSEGV, WSTOPSIG(s.status));
		ASSERT_EQ((unsigned long)probe_store4_at, s.ip);
		ASSERT_EQ(0, tracee_resume(t, PTRACE_CONT, SIGSEGV));
		ASSERT_EQ(0, tracee_wait(t, &s));
		ASSERT_EQ(0, tracee_check_trap(t, &s, &hit));
		ASSERT_EQ(0, tracee_expect_sync(t, 2));
	}
}

/* The watched page is moved away, and another one is mapped at its address */
static void move_page(struct tracee *t)
{
	unsigned char *page = t->arg, *other = page + 2 * PAGE;

	*t->progress = 1;
	probe_store4(page, 1);
	mremap(page, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, other);
	*t->progress = 2;
	probe_store4(other, 2);
	*t->progress = 3;
	if (mmap(page, PAGE, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != page)
		return;
	probe_store4(page, 3);
	*t->progress = 4;
	munmap(page, PAGE);
	if (mmap(page, PAGE, PROT_READ | PROT_WRITE,
		 MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != page)
		return;
	probe_load4(page, 0);
	*t->progress = 5;
	tracee_sync();
}

/* The slot watches the address, whatever is mapped there */
TEST_F(page, moved_and_replaced)
{
	struct tracee *t = &self->t;

	t->body = move_page;
	t->arg = self->page;
	start_tracee(_metadata, t, TRACEE_TRACEME);
	ASSERT_EQ(0, tracee_arm(t, 1, BP_RW, 4, self->page));
	ASSERT_EQ(0, tracee_expect_hit(t, 2, probe_store4_next, 1));
	ASSERT_EQ(0, tracee_expect_hit(t, 2, probe_store4_next, 3));
	ASSERT_EQ(0, tracee_expect_hit(t, 2, probe_load4_next, 4));
	ASSERT_EQ(0, tracee_expect_sync(t, 5));
}

/* A huge page, at its ends and in its middle */
#define HUGE	(2UL << 20)

static void access_huge(struct tracee *t)
{
	unsigned char *huge = t->arg;

	*t->progress = 1;
	probe_store4(huge + HUGE / 2, 1);
	*t->progress = 2;
	probe_load4(huge, 0);
	*t->progress = 3;
	probe_store4(huge + HUGE - 4, 1);
	*t->progress = 4;
	tracee_sync();
}

static bool is_huge(pid_t pid, unsigned char *addr)
{
	unsigned long from, to, kilobytes = 0;
	bool inside = false;
	char line[512];
	FILE *f;

	snprintf(line, sizeof(line), "/proc/%d/smaps", pid);
	f = fopen(line, "re");
	if (!f)
		return false;
	while (fgets(line, sizeof(line), f) && !kilobytes) {
		if (sscanf(line, "%lx-%lx ", &from, &to) == 2)
			inside = from <= (unsigned long)addr &&
				 (unsigned long)addr < to;
		else if (inside)
			sscanf(line, "AnonHugePages: %lu", &kilobytes);
	}
	fclose(f);
	return kilobytes;
}

TEST_F(page, huge_page)
{
	struct tracee *t = &self->t;
	unsigned char *huge;
	bool is;

	munmap(self->page, self->size);
	self->size = 2 * HUGE;
	self->page = mmap(NULL, self->size, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	ASSERT_NE(-1, (long)self->page);
	huge = (void *)(((unsigned long)self->page + HUGE - 1) & ~(HUGE - 1));
	madvise(huge, HUGE, MADV_HUGEPAGE);
	t->body = access_huge;
	t->arg = huge;
	start_tracee(_metadata, t, TRACEE_TRACEME);
	ASSERT_EQ(0, tracee_arm(t, 0, BP_RW, 4, huge + HUGE / 2));
	ASSERT_EQ(0, tracee_arm(t, 1, BP_RW, 1, huge + 3));
	ASSERT_EQ(0, tracee_arm(t, 2, BP_WRITE, 1, huge + HUGE - 1));
	ASSERT_EQ(0, tracee_expect_hit(t, 1, probe_store4_next, 1));
	is = is_huge(t->tid, huge);
	ASSERT_EQ(0, tracee_expect_hit(t, 2, probe_load4_next, 2));
	ASSERT_EQ(0, tracee_expect_hit(t, 4, probe_store4_next, 3));
	ASSERT_EQ(0, tracee_expect_sync(t, 4));
	if (!is)
		SKIP(return, SKIP_NOT_BUILT_IN);
}

/* A page that another thread of the tracee fills in at the first access */
static int open_userfaultfd(void)
{
	struct uffdio_api api = { .api = UFFD_API };
	int fd;

	/* UFFD_USER_MODE_ONLY, since 5.11: permitted without privilege */
	fd = syscall(SYS_userfaultfd, O_CLOEXEC | 1);
	if (fd >= 0 && ioctl(fd, UFFDIO_API, &api)) {
		close(fd);
		fd = -1;
	}
	return fd;
}

struct page_filler {
	unsigned char *page;
	int fd;
};

static void *fill_pages(void *arg)
{
	struct page_filler *page_filler = arg;
	unsigned char content[PAGE] __attribute__((aligned(PAGE)));
	struct uffdio_copy copy = {
		.dst = (unsigned long)page_filler->page,
		.src = (unsigned long)content,
		.len = PAGE,
	};
	struct pollfd ready = { .fd = page_filler->fd, .events = POLLIN };
	struct uffd_msg msg;

	memset(content, 0x5a, sizeof(content));
	for (;;) {
		poll(&ready, 1, -1);
		if (read(page_filler->fd, &msg, sizeof(msg)) == sizeof(msg))
			ioctl(page_filler->fd, UFFDIO_COPY, &copy);
	}
	return NULL;
}

static void access_filled(struct tracee *t)
{
	struct page_filler page_filler = { .page = t->arg, .fd = open_userfaultfd() };
	struct uffdio_register where = {
		.range.start = (unsigned long)page_filler.page, .range.len = PAGE,
		.mode = UFFDIO_REGISTER_MODE_MISSING,
	};
	pthread_t thread;
	unsigned int i;

	if (ioctl(page_filler.fd, UFFDIO_REGISTER, &where) ||
	    pthread_create(&thread, NULL, fill_pages, &page_filler))
		return;
	for (i = 0;; i++) {
		madvise(page_filler.page, PAGE, MADV_DONTNEED);
		*t->progress = 2 * i + 1;
		if (i % 2)
			probe_load4(page_filler.page, 0);
		else
			probe_store4(page_filler.page, 1);
		*t->progress = 2 * i + 2;
		tracee_sync();
	}
}

TEST_F(page, filled_by_userfaultfd)
{
	struct tracee *t = &self->t;
	int fd = open_userfaultfd();
	unsigned int i;

	skip_without_futex(_metadata);
	if (fd < 0)
		SKIP(return, SKIP_REFUSED, "userfaultfd");
	close(fd);
	t->body = access_filled;
	t->arg = self->page;
	start_tracee(_metadata, t, TRACEE_TRACEME);
	ASSERT_EQ(0, tracee_arm(t, 2, BP_RW, 4, self->page));
	for (i = 0; i < 4; i++) {
		ASSERT_EQ(0, tracee_expect_hit(t, 4, i % 2 ? probe_load4_next :
					       probe_store4_next, 2 * i + 1));
		ASSERT_EQ(0, tracee_expect_sync(t, 2 * i + 2));
	}
}

TEST_HARNESS_MAIN

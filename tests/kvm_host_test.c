// SPDX-License-Identifier: GPL-2.0
/*
 * Debug registers of KVM guests while other threads, other vCPUs or the host use
 * breakpoints on the same CPU, and breakpoints that the host sets in the guest.
 */
#include <linux/kvm.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "kvm_test.h"
#include "probe_job.h"
#include "step.h"

enum host_move {
	MOVE_SAME	= 1 << 0,
	MOVE_OTHER	= 1 << 1,
	MOVE_SLEEP	= 1 << 2,
	MOVE_CPU	= 1 << 3,
	MOVE_IOCTL	= 1 << 4,
};

#define MOVES	5

FIXTURE(after_exit) {
	struct vm vm;
	struct vcpu v;
	struct bp bp[DR_SLOTS];
	struct host host;
	int cpus[2];
	int n_cpus;
};

/* What the host does between the guest's exits; one exit for each entry */
FIXTURE_VARIANT(after_exit) {
	unsigned int moves[MOVES];
	unsigned int exits;
	bool user;
};

FIXTURE_VARIANT_ADD(after_exit, only) { .exits = 1 };

FIXTURE_VARIANT_ADD(after_exit, host_breakpoints) {
	.moves = { MOVE_SAME }, .exits = 1,
};

FIXTURE_VARIANT_ADD(after_exit, host_breakpoints_user) {
	.moves = { MOVE_SAME }, .exits = 1, .user = true,
};

FIXTURE_VARIANT_ADD(after_exit, another_thread) {
	.moves = { MOVE_OTHER }, .exits = 1,
};

FIXTURE_VARIANT_ADD(after_exit, another_thread_user) {
	.moves = { MOVE_OTHER }, .exits = 1, .user = true,
};

FIXTURE_VARIANT_ADD(after_exit, sleep) {
	.moves = { MOVE_SLEEP }, .exits = 1,
};

FIXTURE_VARIANT_ADD(after_exit, sleep_of_armed_thread) {
	.moves = { MOVE_SAME | MOVE_SLEEP }, .exits = 1,
};

FIXTURE_VARIANT_ADD(after_exit, another_cpu) {
	.moves = { MOVE_CPU }, .exits = 1,
};

FIXTURE_VARIANT_ADD(after_exit, debugregs_ioctl) {
	.moves = { MOVE_IOCTL }, .exits = 1,
};

FIXTURE_VARIANT_ADD(after_exit, everything_at_once) {
	.moves = { MOVE_SAME | MOVE_OTHER | MOVE_SLEEP | MOVE_CPU | MOVE_IOCTL },
	.exits = 1,
};

FIXTURE_VARIANT_ADD(after_exit, everything_in_turn) {
	.moves = { MOVE_SAME, MOVE_OTHER, MOVE_SLEEP, MOVE_CPU, MOVE_IOCTL },
	.exits = 5,
};

FIXTURE_SETUP(after_exit)
{
	unsigned int moves = 0, i;

	for (i = 0; i < MOVES; i++)
		moves |= variant->moves[i];
	self->n_cpus = allowed_cpus(self->cpus, 2);
	ASSERT_LT(0, self->n_cpus);
	if ((moves & MOVE_CPU) && self->n_cpus < 2)
		SKIP(return, SKIP_ONE_CPU);
	ASSERT_EQ(0, pin_to_cpu(0, self->cpus[0]));
	open_guest(_metadata, &self->vm, &self->v, false);
	self->v.user = variant->user;
	if (moves & (MOVE_SAME | MOVE_OTHER)) {
		self->host = host_set_of(0);
		arm_host(_metadata, &self->host);
		host_disarm(&self->host);
	}
}

FIXTURE_TEARDOWN(after_exit)
{
	host_disarm(&self->host);
	vcpu_destroy(&self->v);
	vm_destroy(&self->vm);
}

/*
 * KVM_GET_DEBUGREGS after an exit must return what the guest has written
 * without one; writing it back must change nothing, and other values must not
 * persist.
 */
static bool debugregs_round_trip(struct vcpu *v, const struct bp *bp)
{
	struct kvm_debugregs d, other = { .dr6 = DR6_NONE | 0xf,
					  .dr7 = GUEST_DR7_NONE };
	unsigned int i;

	for (i = 0; i < 2; i++) {
		if (ioctl(v->fd, KVM_GET_DEBUGREGS, &d) ||
		    d.db[0] != addr_of(bp[0].addr) ||
		    d.db[1] != addr_of(bp[1].addr) ||
		    d.db[2] != addr_of(bp[2].addr) ||
		    d.db[3] != addr_of(bp[3].addr) || d.dr6 != DR6_NONE ||
		    d.dr7 != dr7_of(bp, DR_SLOTS_ALL)) {
			vcpu_report(v, "KVM_GET_DEBUGREGS is not what the guest wrote, DR7 %#llx",
				    dr7_of(bp, DR_SLOTS_ALL));
			return false;
		}
		if (ioctl(v->fd, KVM_SET_DEBUGREGS, &other) ||
		    ioctl(v->fd, KVM_SET_DEBUGREGS, &d)) {
			vcpu_report(v, "KVM_SET_DEBUGREGS: %s", strerror(errno));
			return false;
		}
	}
	return true;
}

static void make_host_moves(struct __test_metadata *_metadata, struct vcpu *v,
			    const struct bp *bp, struct host *host, const int *cpus,
		       unsigned int moves)
{
	static const struct timespec nap = { .tv_nsec = 1000000 };
	int cpu = sched_getcpu();
	int other = cpu == cpus[0] ? cpus[1] : cpus[0];

	/* First, because it makes KVM load the guest's registers again */
	if (moves & MOVE_IOCTL)
		EXPECT_TRUE(debugregs_round_trip(v, bp));
	if (moves & MOVE_SAME) {
		*host = host_set_of(0);
		ASSERT_EQ(0, host_arm(host));
		host_access(host);
		EXPECT_TRUE(host_check(host, "armed after the exit"));
	}
	if (moves & MOVE_OTHER)
		EXPECT_TRUE(host_run_armed_thread(cpu));
	if (moves & MOVE_SLEEP)
		nanosleep(&nap, NULL);
	if (moves & MOVE_CPU) {
		/* While registers of another thread are still in the CPU */
		EXPECT_TRUE(host_run_armed_thread(other));
		ASSERT_EQ(0, pin_to_cpu(0, other));
		ASSERT_EQ(other, sched_getcpu());
	}
}

/*
 * Regression test for 70e4da7a8ff6 and 172b2386ed16.  No handler runs and no
 * debug register is accessed between the exit and the first access, so that
 * nothing repairs stale registers by chance.  Each slot is the first in turn.
 */
TEST_F(after_exit, next_access_traps)
{
	struct vcpu *v = &self->v;
	unsigned int round, exit, i;

	vcpu_forget_lazy(v);
	for (round = 0; round < 2 * DR_SLOTS; round++) {
		guest_set_of(v, self->bp, round / 2);
		guest_begin(v);
		guest_arm(v, self->bp, DR_SLOTS_ALL);
		guest_out(v, PORT_STEP);
		for (exit = 0; exit < variant->exits; exit++) {
			for (i = 0; i < DR_SLOTS; i++) {
				unsigned int slot = (round + i) % DR_SLOTS;

				guest_access(v, &self->bp[slot], 1 << slot);
			}
			guest_out(v, PORT_STEP);
		}
		guest_out(v, PORT_STEP);

		ASSERT_EQ(0, guest_start(v));
		ASSERT_TRUE(vcpu_run_to(v, PORT_STEP));
		vcpu_note_lazy(v, 6);
		for (exit = 0; exit < variant->exits; exit++) {
			make_host_moves(_metadata, v, self->bp, &self->host,
					self->cpus, variant->moves[exit]);
			ASSERT_TRUE(vcpu_run_to(v, PORT_STEP));

			/* And the host has lost nothing by the guest's run */
			if (self->host.n) {
				EXPECT_TRUE(host_check(&self->host,
						       "guest has run"));
				host_access(&self->host);
				EXPECT_TRUE(host_check(&self->host,
						       "back in the host"));
			}
			host_disarm(&self->host);
		}
		ASSERT_TRUE(guest_check(v, "after the exits"));
		ASSERT_TRUE(vcpu_run_to(v, PORT_STEP));
	}

	if (v->exits_at >= 0 && !v->lazy)
		SKIP(return, SKIP_NOT_USED);
}

FIXTURE(armed_host) {
	struct vm vm;
	struct vcpu v;
	struct bp bp[DR_SLOTS];
	struct host host;
	int cpus[2];
	int n_cpus;
};

FIXTURE_VARIANT(armed_host) {
	int n_cpus;
	bool user;
};

FIXTURE_VARIANT_ADD(armed_host, on_one_cpu) { .n_cpus = 1 };

FIXTURE_VARIANT_ADD(armed_host, on_one_cpu_user) { .n_cpus = 1, .user = true };

FIXTURE_VARIANT_ADD(armed_host, on_two_cpus) { .n_cpus = 2 };

FIXTURE_SETUP(armed_host)
{
	self->n_cpus = allowed_cpus(self->cpus, 2);
	ASSERT_LT(0, self->n_cpus);
	if (variant->n_cpus > self->n_cpus)
		SKIP(return, SKIP_ONE_CPU);
	ASSERT_EQ(0, pin_to_cpu(0, self->cpus[0]));
	open_guest(_metadata, &self->vm, &self->v, false);
	self->v.user = variant->user;
	self->host = host_set_of(0);
	arm_host(_metadata, &self->host);
	guest_set_of(&self->v, self->bp, 0);
}

FIXTURE_TEARDOWN(armed_host)
{
	host_disarm(&self->host);
	vcpu_destroy(&self->v);
	vm_destroy(&self->vm);
}

/* At every exit the host's registers are loaded, and none of the guest's is */
TEST_F(armed_host, host_and_guest_trap)
{
	struct vcpu *v = &self->v;
	unsigned int round, i;

	for (round = 0; round < 50; round++) {
		guest_begin(v);
		guest_arm(v, self->bp, DR_SLOTS_ALL);
		for (i = 0; i < DR_SLOTS; i++) {
			guest_out(v, PORT_STEP);
			guest_access(v, &self->bp[i], 1 << i);
		}
		guest_out(v, PORT_STEP);
		ASSERT_EQ(0, guest_start(v));
		for (i = 0; i < DR_SLOTS + 1; i++) {
			ASSERT_TRUE(vcpu_run_to(v, PORT_STEP));
			host_access(&self->host);
			ASSERT_EQ(0, pin_to_cpu(0, self->cpus[i % variant->n_cpus]));
		}
		ASSERT_TRUE(guest_check(v, "with an armed host"));
		ASSERT_TRUE(host_check(&self->host, "with an armed guest"));
	}
}

FIXTURE(same_address) {
	struct vm vm;
	struct vcpu v;
	struct bp bp[DR_SLOTS];
	struct host host;
};

FIXTURE_SETUP(same_address)
{
	ASSERT_LE(0, pin_to_current_cpu());
	open_guest(_metadata, &self->vm, &self->v, false);
	guest_set_of(&self->v, self->bp, 0);
	guest_begin(&self->v);
}

FIXTURE_TEARDOWN(same_address)
{
	host_disarm(&self->host);
	vcpu_destroy(&self->v);
	vm_destroy(&self->vm);
}

/* Addresses in DR0-DR3 have no effect while DR7 enables none of them */
TEST_F(same_address, disabled_in_guest_armed_in_host)
{
	struct vcpu *v = &self->v;
	unsigned int round;

	memcpy(self->host.bp, self->bp, sizeof(self->bp));
	arm_host(_metadata, &self->host);
	guest_arm(v, self->bp, 0);
	guest_set_dr(v, 7, dr7_of(self->bp, DR_SLOTS_ALL) & ~0xffULL);
	guest_out(v, PORT_STEP);
	guest_access_all(v, self->bp, 0);
	guest_out(v, PORT_STEP);
	for (round = 0; round < 20; round++) {
		ASSERT_EQ(0, guest_start(v));
		ASSERT_TRUE(vcpu_run_to(v, PORT_STEP));
		host_access(&self->host);
		ASSERT_TRUE(vcpu_run_to(v, PORT_STEP));
		ASSERT_TRUE(guest_check(v, "the host's traps in the guest"));
		host_access(&self->host);
		ASSERT_TRUE(host_check(&self->host,
				       "the guest accessed the same addresses"));
	}
}

/*
 * Nothing is armed in the host: a trap here, because the guest's DR7 was left
 * active, belongs to no event.  A data access is then silently ignored
 * (hw_breakpoint_handler() finds no event), an instruction traps for ever.
 */
TEST_F(same_address, armed_in_guest_alone)
{
	struct vcpu *v = &self->v;
	unsigned int n, i;

	for (n = 0; n < DR_SLOTS; n++) {
		guest_set_of(v, self->bp, n);
		guest_begin(v);
		guest_arm(v, self->bp, DR_SLOTS_ALL);
		guest_out(v, PORT_STEP);
		guest_access_all(v, self->bp, DR_SLOTS_ALL);
		guest_out(v, PORT_STEP);
		ASSERT_EQ(0, guest_start(v));
		ASSERT_TRUE(vcpu_run_to(v, PORT_STEP));
		for (i = 0; i < DR_SLOTS; i++) {
			ASSERT_TRUE(host_access_ends(&self->bp[i])) {
				TH_LOG("slot %u", i);
			}
		}
		ASSERT_TRUE(vcpu_run_to(v, PORT_STEP));
		ASSERT_TRUE(guest_check(v, "after the host's accesses"));
		for (i = 0; i < DR_SLOTS; i++) {
			ASSERT_TRUE(host_access_ends(&self->bp[i])) {
				TH_LOG("slot %u", i);
			}
		}
	}
}

/* Both are armed, in all four slots, at addresses that both access */
TEST_F(same_address, armed_in_both_differently)
{
	struct vcpu *v = &self->v;
	struct bp both[2][DR_SLOTS];
	unsigned int round, i;

	guest_set_of(v, both[0], 0);
	guest_set_of(v, both[1], 2);
	memcpy(self->host.bp, both[1], sizeof(both[1]));
	arm_host(_metadata, &self->host);
	guest_arm(v, both[0], DR_SLOTS_ALL);
	guest_out(v, PORT_STEP);
	guest_access_all(v, both[1], 0);
	guest_access_all(v, both[0], DR_SLOTS_ALL);
	guest_out(v, PORT_STEP);
	for (round = 0; round < 20; round++) {
		ASSERT_EQ(0, guest_start(v));
		guest_reset_log(v);
		for (i = 0; i < 2; i++) {
			unsigned int slot;

			ASSERT_TRUE(vcpu_run_to(v, PORT_STEP));
			for (slot = 0; slot < DR_SLOTS; slot++)
				host_access_one(&both[0][slot]);
			host_access(&self->host);
		}
		ASSERT_TRUE(guest_check(v, "with the host armed"));
		ASSERT_TRUE(host_check(&self->host, "with the guest armed"));
	}
}

/*
 * DR6 is never cleared by the CPU.  Bits that the guest left in it must not be
 * taken for the host's slots, and bits of the host's traps must not be read by
 * the guest.
 */
TEST_F(same_address, dr6_stays_separate)
{
	struct vcpu *v = &self->v;
	enum { PATTERNS = 5 };
	static const unsigned int bits[PATTERNS] = { 0xf, 0x400a, 5, 8, 0 };
	unsigned int i, slot;

	self->host = host_set_of(0);
	arm_host(_metadata, &self->host);
	for (i = 0; i < PATTERNS; i++) {
		guest_begin(v);
		guest_arm(v, self->bp, DR_SLOTS_ALL);
		guest_set_dr(v, 6, DR6_NONE | bits[i]);
		guest_out(v, PORT_STEP);
		guest_get_dr(v, 6, guest_saved(v, 0));
		guest_set_dr(v, 6, DR6_NONE);
		guest_out(v, PORT_STEP);
		guest_access_all(v, self->bp, DR_SLOTS_ALL);
		guest_out(v, PORT_STEP);
		ASSERT_EQ(0, guest_start(v));
		for (slot = 0; slot < 3; slot++) {
			ASSERT_TRUE(vcpu_run_to(v, PORT_STEP));
			host_access_one(&self->host.bp[slot]);
			self->host.expected[slot]++;
			ASSERT_TRUE(host_check(&self->host,
					       "with DR6 bits of the guest's"));
		}
		EXPECT_EQ(DR6_NONE | bits[i], *guest_saved(v, 0));
		ASSERT_TRUE(guest_check(v, "with DR6 bits of the host's"));
	}
}

/*
 * The same where nothing was armed in the host while the guest ran, so that KVM had
 * nothing to restore: a tracee that is armed then, on the CPU where the guest has left
 * bits in DR6, among them BS, sees exactly its own slot, or its own step (efdab992813f).
 */
TEST_F(same_address, guests_dr6_not_seen_by_tracee)
{
	struct vcpu *v = &self->v;
	unsigned int *word = shared_alloc(sizeof(*word));
	struct probe_job job = { .fn = probe_store4, .memory = word, .val = 1 };
	struct tracee t = { .body = run_probe_job, .arg = &job };
	unsigned int slot;

	start_tracee(_metadata, &t, TRACEE_TRACEME);
	for (slot = 0; slot < DR_SLOTS; slot++) {
		guest_begin(v);
		guest_set_dr(v, 6, DR6_NONE | DR6_BS | (DR_SLOTS_ALL & ~(1 << slot)));
		guest_out(v, PORT_STEP);
		guest_set_dr(v, 6, DR6_NONE | DR6_BS | DR_SLOTS_ALL);
		guest_out(v, PORT_STEP);
		guest_set_dr(v, 6, DR6_NONE | DR_SLOTS_ALL);
		guest_out(v, PORT_STEP);
		ASSERT_EQ(0, guest_start(v));

		ASSERT_TRUE(vcpu_run_to(v, PORT_STEP));
		ASSERT_EQ(0, tracee_arm(&t, slot, BP_WRITE, 4, word));
		ASSERT_EQ(0, tracee_expect_hit(&t, 1 << slot, probe_store4_next, 1));
		ASSERT_EQ(0, tracee_expect_sync(&t, 2));
		ASSERT_EQ(0, tracee_arm(&t, slot, BP_EXECUTE, 1, probe_store4_at));
		ASSERT_TRUE(vcpu_run_to(v, PORT_STEP));
		ASSERT_EQ(0, tracee_expect_hit(&t, 1 << slot, probe_store4_at, 1));
		ASSERT_EQ(0, tracee_disarm_all(&t));

		ASSERT_TRUE(vcpu_run_to(v, PORT_STEP));
		ASSERT_EQ(0, expect_step(&t, probe_store4_next, 1));
		ASSERT_EQ(0, tracee_expect_sync(&t, 2));
	}
	tracee_stop(&t);
}

#define N_VCPUS		4
#define ROUNDS		1000

FIXTURE(one_cpu) {
	struct vm vm[2];
	struct vcpu v[N_VCPUS];
	int cpu;
};

FIXTURE_SETUP(one_cpu)
{
	const char *failed = NULL;
	unsigned int i;

	self->cpu = pin_to_current_cpu();
	ASSERT_LE(0, self->cpu);
	for (i = 0; i < 2 && !failed; i++)
		failed = vm_create(&self->vm[i], i, false);
	for (i = 0; i < N_VCPUS && !failed; i++)
		failed = vcpu_create(&self->v[i], &self->vm[i / 2], i % 2);
	for (i = 0; i < N_VCPUS; i++) {
		struct vcpu *v = &self->v[i];
		struct bp bp[DR_SLOTS];
		const __u8 *again;

		skip_if_kvm_unusable(_metadata, v, failed);
		/* Arm once, then repeatedly: trap, exit */
		guest_set_of(v, bp, i);
		guest_begin(v);
		guest_arm(v, bp, DR_SLOTS_ALL);
		guest_out(v, PORT_STEP);
		again = v->pc;
		guest_access_all(v, bp, DR_SLOTS_ALL);
		guest_out(v, PORT_STEP);
		guest_jump(v, again);
		ASSERT_EQ(0, guest_start(v));
	}
}

FIXTURE_TEARDOWN(one_cpu)
{
	unsigned int i;

	for (i = 0; i < N_VCPUS; i++)
		vcpu_destroy(&self->v[i]);
	for (i = 0; i < 2; i++)
		vm_destroy(&self->vm[i]);
}

static bool one_round(struct vcpu *v, unsigned int round)
{
	char what[32];

	if (!vcpu_run_to(v, PORT_STEP))
		return false;
	/* The first exit follows arming, with no trap expected yet */
	if (!round)
		return true;
	snprintf(what, sizeof(what), "round %u", round);
	if (!guest_check(v, what))
		return false;
	guest_reset_log(v);
	return true;
}

/* One thread runs them in turn: every entry finds another vCPU's registers */
TEST_F(one_cpu, vcpus_in_turn)
{
	unsigned int round, i;

	for (round = 0; round < ROUNDS; round++)
		for (i = 0; i < N_VCPUS; i++) {
			ASSERT_TRUE(one_round(&self->v[i], round)) {
				TH_LOG("vCPU %u", i);
			}
		}
}

/* The same, and the thread itself is armed */
TEST_F(one_cpu, vcpus_in_turn_with_armed_host)
{
	struct host h = host_set_of(0);
	unsigned int round, i;

	arm_host(_metadata, &h);
	for (round = 0; round < ROUNDS / 4; round++) {
		for (i = 0; i < N_VCPUS; i++) {
			ASSERT_TRUE(one_round(&self->v[i], round));
			host_access(&h);
		}
		ASSERT_TRUE(host_check(&h, "with four vCPUs"));
	}
	host_disarm(&h);
}

/*
 * Each on its own thread, passing the turn to the next: every turn is a context
 * switch of the host.
 */
struct runner {
	struct vcpu *v;
	int cpu;
	sem_t token;
	sem_t *done;
	bool good;
};

static void *run_vcpus_in_turn(void *arg)
{
	struct runner *r = arg;
	unsigned int round;

	r->good = !pin_to_cpu(0, r->cpu);
	for (round = 0; round < ROUNDS; round++) {
		while (sem_wait(&r->token))
			;
		/* Keep in step even after a failure */
		if (r->good)
			r->good = one_round(r->v, round);
		sem_post(r->done);
	}
	return NULL;
}

static void run_threads_in_turn(struct __test_metadata *_metadata, struct vcpu *v,
				int cpu, struct tracee *t, unsigned int n_tracees,
			    const unsigned long *word)
{
	struct runner r[N_VCPUS] = {};
	pthread_t thread[N_VCPUS];
	unsigned int round, i;
	bool good = true;
	sem_t done;

	ASSERT_EQ(0, sem_init(&done, 0, 0));
	for (i = 0; i < N_VCPUS; i++) {
		r[i] = (struct runner){ .v = &v[i], .cpu = cpu, .done = &done };
		ASSERT_EQ(0, sem_init(&r[i].token, 0, 0));
		ASSERT_EQ(0, pthread_create(&thread[i], NULL, run_vcpus_in_turn,
					    &r[i]));
	}
	for (round = 0; round < ROUNDS; round++) {
		for (i = 0; i < N_VCPUS; i++) {
			sem_post(&r[i].token);
			while (sem_wait(&done))
				;
		}
		for (i = 0; i < n_tracees && good; i++) {
			struct trap trap = {
				.ip = probe_store4_next, .slots = 1 << i,
				.progress = round + 1, .mem = &word[i],
				.mem_size = 4, .mem_value = round,
			};

			good = !tracee_expect_trap(&t[i], &trap);
		}
	}
	for (i = 0; i < N_VCPUS; i++) {
		pthread_join(thread[i], NULL);
		EXPECT_TRUE(r[i].good);
	}
	EXPECT_TRUE(good);
}

TEST_F(one_cpu, vcpu_threads_in_turn)
{
	run_threads_in_turn(_metadata, self->v, self->cpu, NULL, 0, NULL);
}

static void neighbour(struct tracee *t)
{
	unsigned int round;

	for (round = 0; round < ROUNDS; round++) {
		*t->progress = round + 1;
		probe_store4(t->arg, round);
	}
}

/* Tracees of the suite on that CPU, each armed in another slot */
TEST_F(one_cpu, vcpu_threads_with_armed_tracees)
{
	unsigned long *word = shared_alloc(2 * sizeof(*word));
	struct tracee t[2] = {};
	unsigned int i;

	for (i = 0; i < 2; i++) {
		t[i].body = neighbour;
		t[i].arg = &word[i];
		t[i].id = i;
		start_tracee(_metadata, &t[i], TRACEE_TRACEME);
		EXPECT_EQ(0, tracee_arm(&t[i], i, BP_WRITE, 4, &word[i]));
	}
	run_threads_in_turn(_metadata, self->v, self->cpu, t, 2, word);
	for (i = 0; i < 2; i++)
		tracee_stop(&t[i]);
}

FIXTURE(guest_debug) {
	struct vm vm;
	struct vcpu v;
	struct bp own[DR_SLOTS];
	struct bp hosts[DR_SLOTS];
};

FIXTURE_SETUP(guest_debug)
{
	struct kvm_guest_debug off = {};

	ASSERT_LE(0, pin_to_current_cpu());
	open_guest(_metadata, &self->vm, &self->v, false);
	if (ioctl(self->v.fd, KVM_SET_GUEST_DEBUG, &off))
		SKIP(return, SKIP_OLD_KVM);
	guest_set_of(&self->v, self->own, 0);
	guest_set_of(&self->v, self->hosts, 1);
	guest_begin(&self->v);
}

FIXTURE_TEARDOWN(guest_debug)
{
	vcpu_destroy(&self->v);
	vm_destroy(&self->vm);
}

static int debug_guest(struct vcpu *v, unsigned int control,
		       const struct bp *bp)
{
	struct kvm_guest_debug dbg = { .control = control };
	unsigned int i;

	/* Otherwise the end of the OUT would be the first step */
	vcpu_complete_io(v);
	if (control)
		dbg.control |= KVM_GUESTDBG_ENABLE;
	for (i = 0; bp && i < DR_SLOTS; i++)
		dbg.arch.debugreg[i] = addr_of(bp[i].addr);
	if (bp)
		dbg.arch.debugreg[7] = dr7_of(bp, DR_SLOTS_ALL);
	return ioctl(v->fd, KVM_SET_GUEST_DEBUG, &dbg);
}

/* The next exit must be a #DB for the host */
static bool expect_debug(struct vcpu *v, __u64 dr6, const void *pc)
{
	int ret = vcpu_run(v);
	const struct kvm_debug_exit_arch *d = &v->run->debug.arch;

	if (!ret && v->run->exit_reason == KVM_EXIT_DEBUG &&
	    d->exception == V_DB && d->dr6 == dr6 && d->pc == addr_of(pc))
		return true;
	vcpu_report(v, "KVM_EXIT_DEBUG expected, pc %p DR6 %#llx; seen exit %u, pc %#llx DR6 %#llx",
		    pc, dr6, v->run->exit_reason, d->pc, d->dr6);
	return false;
}

/* Step over the instruction that has an execute breakpoint */
static int resume(struct vcpu *v)
{
	struct kvm_regs r;

	if (ioctl(v->fd, KVM_GET_REGS, &r))
		return -1;
	r.rflags |= RFLAGS_RF;
	return ioctl(v->fd, KVM_SET_REGS, &r);
}

/*
 * Breakpoints set by the host.  They replace the guest's own, which it can
 * still write and read; when the host has finished, the guest's trap again
 * without being written again.
 */
TEST_F(guest_debug, breakpoints_replace_guests_own)
{
	struct vcpu *v = &self->v;
	void *ip[DR_SLOTS];
	unsigned int i;

	guest_arm(v, self->own, DR_SLOTS_ALL);
	guest_access_all(v, self->own, DR_SLOTS_ALL);
	guest_out(v, PORT_STEP);
	guest_access_all(v, self->own, 0);
	guest_get_dr(v, 0, guest_saved(v, 0));
	guest_get_dr(v, 7, guest_saved(v, 7));
	for (i = 0; i < DR_SLOTS; i++) {
		guest_access(v, &self->hosts[i], 0);
		/* After the last instruction that guest_touch() has emitted */
		ip[i] = self->hosts[i].type == BP_EXECUTE ?
			self->hosts[i].addr : v->pc;
	}
	guest_out(v, PORT_STEP);
	guest_access_all(v, self->own, DR_SLOTS_ALL);
	guest_access_all(v, self->hosts, 0);
	guest_out(v, PORT_STEP);

	ASSERT_EQ(0, guest_start(v));
	ASSERT_TRUE(vcpu_run_to(v, PORT_STEP));
	ASSERT_EQ(0, debug_guest(v, KVM_GUESTDBG_USE_HW_BP, self->hosts));
	for (i = 0; i < DR_SLOTS; i++) {
		ASSERT_TRUE(expect_debug(v, DR6_NONE | 1 << i, ip[i]));
		if (self->hosts[i].type == BP_EXECUTE)
			ASSERT_EQ(0, resume(v));
	}
	ASSERT_TRUE(vcpu_run_to(v, PORT_STEP));
	EXPECT_EQ(addr_of(self->own[0].addr), *guest_saved(v, 0));
	EXPECT_EQ(dr7_of(self->own, DR_SLOTS_ALL), *guest_saved(v, 7));
	ASSERT_EQ(0, debug_guest(v, 0, NULL));
	ASSERT_TRUE(vcpu_run_to(v, PORT_STEP));
	ASSERT_TRUE(guest_check(v, "before and after the host debugged"));
}

/* Each instruction once, invisible to the guest */
TEST_F(guest_debug, single_step)
{
	struct vcpu *v = &self->v;
	const __u8 *pc[12];
	struct kvm_regs r;
	unsigned int i, n = 0;

	guest_arm(v, self->own, DR_SLOTS_ALL);
	guest_out(v, PORT_STEP);
	for (i = 0; i < 6; i++) {
		guest_emit_rax(v, i);
		pc[n++] = v->pc;
		GUEST_INSN(v, 0x90);
		pc[n++] = v->pc;
	}
	guest_access_all(v, self->own, DR_SLOTS_ALL);
	guest_out(v, PORT_STEP);

	ASSERT_EQ(0, guest_start(v));
	ASSERT_TRUE(vcpu_run_to(v, PORT_STEP));
	ASSERT_EQ(0, debug_guest(v, KVM_GUESTDBG_SINGLESTEP, NULL));
	for (i = 0; i < n; i++) {
		ASSERT_TRUE(expect_debug(v, DR6_NONE | DR6_BS, pc[i])) {
			TH_LOG("number %u", i);
		}
	}
	ASSERT_EQ(0, debug_guest(v, 0, NULL));
	ASSERT_EQ(0, ioctl(v->fd, KVM_GET_REGS, &r));
	EXPECT_EQ(0, r.rflags & RFLAGS_TF);
	ASSERT_TRUE(vcpu_run_to(v, PORT_STEP));
	ASSERT_TRUE(guest_check(v, "after the host's steps"));
}

/* A step over a store that the guest watches: one stop, both bits */
TEST_F(guest_debug, single_step_over_watched_store)
{
	struct vcpu *v = &self->v;
	struct bp bp[DR_SLOTS] = { { BP_WRITE, 4, guest_data(v, 0) } };
	const __u8 *pc[3];

	guest_arm(v, bp, 1);
	guest_out(v, PORT_STEP);
	guest_emit_rdi(v, guest_data(v, 0));
	pc[0] = v->pc;
	GUEST_INSN(v, 0x89, 0x07);
	pc[1] = v->pc;
	GUEST_INSN(v, 0x90);
	pc[2] = v->pc;
	guest_access(v, &bp[0], 1);
	guest_out(v, PORT_STEP);

	ASSERT_EQ(0, guest_start(v));
	ASSERT_TRUE(vcpu_run_to(v, PORT_STEP));
	ASSERT_EQ(0, debug_guest(v, KVM_GUESTDBG_SINGLESTEP, NULL));
	ASSERT_TRUE(expect_debug(v, DR6_NONE | DR6_BS, pc[0]));
	ASSERT_TRUE(expect_debug(v, DR6_NONE | DR6_BS | 1, pc[1]));
	ASSERT_TRUE(expect_debug(v, DR6_NONE | DR6_BS, pc[2]));
	ASSERT_EQ(0, debug_guest(v, 0, NULL));
	ASSERT_TRUE(vcpu_run_to(v, PORT_STEP));
	ASSERT_TRUE(guest_check(v, "after the host's steps"));
}

TEST_HARNESS_MAIN

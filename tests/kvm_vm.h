/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A small virtual machine monitor, for tests of the debug registers of a vCPU.
 *
 * No CPU switches DR0-DR3 at VM entry and exit: VMX and SVM switch DR7 (and SVM
 * DR6), and software must load and save DR0-DR3.  KVM does that lazily.  The
 * guest's first MOV DR exits; KVM then loads its registers, lets it write them
 * without further exits, and reads them back at the next exit, whatever its
 * reason (arch/x86/kvm/x86.c: KVM_DEBUGREG_WONT_EXIT).  In 2016 it read them
 * back and did not load them again: once a host thread with breakpoints, or
 * another guest, had run on that CPU, the guest's breakpoints were stale and
 * its traps were lost (172b2386ed16, 70e4da7a8ff6). Reproducing that took two
 * armed workloads, one in the host and one in the guest, and luck.
 *
 * Here a small virtual machine monitor controls each step: the guest writes its
 * registers and exits, something happens in the host, and the very next access
 * of the guest must trap.
 *
 * The guest's memory has the same address for the guest (linear and physical)
 * and for this process.  So both can access the same watched addresses, and a
 * breakpoint that leaks from one to the other is hit.  Guest code is assembled
 * instruction by instruction together with a list of the traps that are
 * expected of it.  The guest's handler logs its exceptions, and the two lists
 * must be equal.
 *
 * The guest runs in 64-bit mode with interrupts disabled.  It is its own
 * kernel, and enters ring 3 for the watched accesses if a test asks for it.  It
 * has no loops, and its handler stops after GUEST_LOG exceptions, so that it
 * exits after bounded work even under a broken KVM.
 */
#ifndef HW_BREAKPOINT_KVM_VM_H
#define HW_BREAKPOINT_KVM_VM_H

#include <linux/types.h>
#include <stdbool.h>
#include <stddef.h>

#include "debugreg.h"

struct kvm_run;

/*
 * A VM is 2 MB of address space, of which the first half is memory; the rest is
 * for accesses that KVM must emulate.  The page of a vCPU's stack tells its
 * handler where the data of that vCPU is.  Below 2 GB, for addresses in code, and
 * above the 1 GB after a static program where its heap may begin
 * (arch_randomize_brk() in arch/x86/kernel/process.c).
 */
#define VM_BASE		0x60000000UL
#define VM_SIZE		0x200000UL
#define VM_MEMORY	0x100000UL
#define VM_HOLE		0x180000UL

/* Offsets in a VM's memory */
#define AT_PML4		0x0000
#define AT_PDPT		0x1000
#define AT_PD		0x2000
#define AT_GDT		0x3000
#define AT_IDT		0x4000
#define AT_STUBS	0x5000
#define AT_HANDLER	0x6000
#define AT_VCPUS	0x10000

/* Offsets in a vCPU's area */
#define AREA_SIZE	0x10000
#define AT_COUNT	0x0
#define AT_EXECUTE	0x8
#define AT_LOG		0x80
#define AT_TSS		0xa00
#define AT_CODE		0x1000
#define AT_PROBES	0x7000
#define AT_DATA		0x8000
#define AT_SAVED	0x9000
#define AT_STACK_USER	0xbff0
#define AT_STACK	0xfff0

#define GUEST_LOG	64

/* Ports: a step of the program is complete; the guest cannot continue */
#define PORT_STEP	0x10
#define PORT_LOST	0xee
#define PORT_STRING	0x20

/* Vectors: SDM vol. 3A, "Exception and Interrupt Vectors" */
#define V_DB		1
#define V_NMI		2
#define V_BP		3
#define V_UD		6
#define V_IRQ		0x30
#define V_KERNEL	0x31	/* from ring 3 back to ring 0 */
#define VECTORS		0x32

/* Selectors; guest_to_user() and guest_to_kernel() change between them */
#define SEL_CODE	0x08
#define SEL_DATA	0x10
#define SEL_CODE_USER	0x1b
#define SEL_DATA_USER	0x23
#define SEL_TSS		0x28

/* MSRs of the x2APIC: SDM vol. 3A, "x2APIC Register Address Space" */
#define X2APIC_EOI	0x80b
#define X2APIC_SVR	0x80f
#define X2APIC_ICR	0x830

#define GUEST_DR7_NONE	0x400UL

#define RFLAGS_TF	0x100
#define RFLAGS_RF	0x10000

/**
 * struct event - one exception in the guest, logged or expected
 * @vector: of the exception or interrupt
 * @ip: saved rip
 * @flags: saved rflags; not compared
 * @dr6: as read by the handler; vector 1 only
 */
struct event {
	__u64 vector;
	__u64 ip;
	__u64 flags;
	__u64 dr6;
};

/* A breakpoint, in the guest or in the host */
struct bp {
	enum bp_type type;
	unsigned int len;
	void *addr;
};

/**
 * struct vm - a virtual machine
 * @kvm: /dev/kvm
 * @fd: the VM
 * @mem: its memory, at the same address for the guest and the host
 * @irqchip: whether it has an interrupt controller
 */
struct vm {
	int kvm;
	int fd;
	__u8 *mem;
	bool irqchip;
};

/**
 * struct vcpu - a vCPU, its program, and what is expected of it
 * @vm: its VM
 * @fd: the vCPU
 * @stats: its statistics, or negative
 * @exits_at: offset of the number of exits there, or negative
 * @run: shared with KVM
 * @run_size: size of @run in bytes
 * @area: its part of the VM's memory
 * @pc: where the next instruction is emitted
 * @expected: the exceptions that are expected
 * @n_expected: number of them
 * @exits: number of exits since the last entry; 0 if KVM does not count them
 * @fewest: the lowest such number since vcpu_forget_lazy()
 * @lazy: whether it has accessed its debug registers without an exit for each
 * @user: accesses are made in ring 3
 */
struct vcpu {
	struct vm *vm;
	int fd;
	int stats;
	long exits_at;
	struct kvm_run *run;
	size_t run_size;
	__u8 *area;
	__u8 *pc;
	struct event expected[GUEST_LOG];
	unsigned int n_expected;
	__u64 exits;
	__u64 fewest;
	bool lazy;
	bool user;
};

/* The same for the guest and for the host */
static inline __u64 addr_of(const void *p)
{
	return (unsigned long)p;
}

void vm_destroy(struct vm *vm);
const char *vm_create(struct vm *vm, unsigned int n, bool irqchip);
void vcpu_destroy(struct vcpu *v);
const char *vcpu_create(struct vcpu *v, struct vm *vm, unsigned int n);
void vcpu_complete_io(struct vcpu *v);
int vcpu_run(struct vcpu *v);

/* Append instructions to the program of a vCPU */
#define GUEST_INSN(v, ...)							\
	guest_emit(v, (__u8[]){ __VA_ARGS__ }, sizeof((__u8[]){ __VA_ARGS__ }))

void guest_emit(struct vcpu *v, const void *bytes, size_t n);
void guest_emit_imm64(struct vcpu *v, __u8 opcode, __u64 imm);
void guest_emit_rax(struct vcpu *v, __u64 val);
void guest_emit_rdi(struct vcpu *v, const void *p);
void guest_expect(struct vcpu *v, unsigned int vector, const void *ip, __u64 dr6);
void guest_expect_db(struct vcpu *v, unsigned int slots, const void *ip);
void guest_expect_step(struct vcpu *v);
void *guest_probe(struct vcpu *v, unsigned int n);
void *guest_data(struct vcpu *v, unsigned int offset);
__u64 *guest_saved(struct vcpu *v, unsigned int n);
void guest_reset_log(struct vcpu *v);
void guest_begin(struct vcpu *v);
void guest_set_dr(struct vcpu *v, unsigned int n, __u64 val);
void guest_get_dr(struct vcpu *v, unsigned int n, __u64 *to);
void *guest_store(struct vcpu *v, void *at, unsigned int len, __u64 val);
void *guest_load(struct vcpu *v, void *at, unsigned int len);
void guest_call(struct vcpu *v, void *at);
void guest_out(struct vcpu *v, __u8 port);
void guest_wrmsr(struct vcpu *v, __u32 msr, __u32 low, __u32 high);
void guest_set_tf(struct vcpu *v);
void guest_clear_tf(struct vcpu *v);
void guest_to_user(struct vcpu *v);
void guest_to_kernel(struct vcpu *v);
void guest_jump(struct vcpu *v, const void *to);
__u64 dr7_of(const struct bp *bp, unsigned int slots);
void guest_arm(struct vcpu *v, const struct bp *bp, unsigned int slots);
void guest_access(struct vcpu *v, const struct bp *bp, unsigned int slots);
void guest_access_all(struct vcpu *v, const struct bp *bp, unsigned int slots);
void guest_set_of(struct vcpu *v, struct bp *bp, unsigned int n);
void __attribute__((format(printf, 2, 3)))
vcpu_report(struct vcpu *v, const char *fmt, ...);
int guest_start(struct vcpu *v);
bool vcpu_run_to(struct vcpu *v, unsigned int port);
bool guest_check(struct vcpu *v, const char *when);
bool guest_run(struct vcpu *v, const char *what);
void vcpu_forget_lazy(struct vcpu *v);
void vcpu_note_lazy(struct vcpu *v, unsigned int dr_accesses);

/*
 * struct host: counting events on this thread, in user space only.  Each counts exactly the
 * accesses that were made: a trap of the guest that arrives in the host is one
 * too many, a register that was not loaded again one too few.
 */
struct host {
	struct bp bp[DR_SLOTS];
	int fd[DR_SLOTS];
	unsigned long expected[DR_SLOTS];
	unsigned int n;
};

struct host host_set_of(unsigned int n);
void host_disarm(struct host *h);
int host_arm(struct host *h);
void host_access_one(const struct bp *bp);
void host_access(struct host *h);
bool host_check(struct host *h, const char *when);
bool host_access_ends(const struct bp *bp);
bool host_run_armed_thread(int cpu);

#endif /* HW_BREAKPOINT_KVM_VM_H */

// SPDX-License-Identifier: GPL-2.0
/*
 * A small virtual machine monitor: VMs and vCPUs.  See kvm_vm.h.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "kvm_vm.h"

#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE	0x100000
#endif

#define DECLARE_LABEL(name) extern const char name[]

/* The guest's exception handler; the stubs have pushed error code and vector */
DECLARE_LABEL(guest_handler);
DECLARE_LABEL(guest_handler_end);

asm(".pushsection .rodata\n"
#ifndef __x86_64__
	".code64\n"
#endif
	"guest_handler:\n"
	"	push %rax\n"
	"	push %rcx\n"
	"	push %rdx\n"
	"	push %rdi\n"
	"	mov %rsp, %rdi\n"
	"	and $-0x10000, %rdi\n"
	"	mov (%rdi), %rcx\n"		/* AT_COUNT */
	"	incq (%rdi)\n"
	"	cmp $63, %rcx\n"
	"	ja 7f\n"
	"	shl $5, %rcx\n"
	"	mov 32(%rsp), %rax\n"		/* vector */
	"	mov %rax, 0x80(%rdi,%rcx)\n"
	"	mov 48(%rsp), %rdx\n"		/* rip */
	"	mov %rdx, 0x88(%rdi,%rcx)\n"
	"	mov 64(%rsp), %rdx\n"		/* rflags */
	"	mov %rdx, 0x90(%rdi,%rcx)\n"
	"	cmp $1, %eax\n"
	"	jne 2f\n"
	"	mov %dr6, %rdx\n"
	"	mov %rdx, 0x98(%rdi,%rcx)\n"
	/*
	 * A CPU sets RF in the saved flags of a fault, except for an
	 * instruction breakpoint, where the handler must do it (SDM vol. 3B,
	 * "Instruction-Breakpoint Exception Condition").
	 */
	"	test 8(%rdi), %rdx\n"		/* AT_EXECUTE */
	"	jz 1f\n"
	"	orl $0x10000, 64(%rsp)\n"
	"1:	mov $0xffff0ff0, %eax\n"
	"	mov %rax, %dr6\n"
	"	jmp 9f\n"
	"2:	cmp $2, %eax\n"
	"	je 9f\n"
	"	cmp $3, %eax\n"
	"	je 9f\n"
	"	cmp $6, %eax\n"
	"	je 6f\n"
	"	cmp $0x30, %eax\n"
	"	jne 7f\n"
	"	mov $0x80b, %ecx\n"
	"	xor %eax, %eax\n"
	"	xor %edx, %edx\n"
	"	wrmsr\n"
	"	jmp 9f\n"
	"6:	addq $2, 48(%rsp)\n"		/* after ud2 */
	"	jmp 9f\n"
	"7:	out %al, $0xee\n"
	"	jmp 7b\n"
	"9:	pop %rdi\n"
	"	pop %rdx\n"
	"	pop %rcx\n"
	"	pop %rax\n"
	"	add $16, %rsp\n"
	"	iretq\n"
	"guest_handler_end:\n"
#ifndef __x86_64__
	".code32\n"
#endif
	".popsection\n");

static void put(void *at, const void *bytes, size_t n)
{
	memcpy(at, bytes, n);
}

/*
 * Stubs and gates for every vector below VECTORS: push 0 if the CPU pushes no
 * error code, push the vector, jump to the handler.
 */
static void vm_fill(struct vm *vm)
{
	__u64 base = addr_of(vm->mem);
	__u64 *table;
	unsigned int i;

	table = (__u64 *)(vm->mem + AT_PML4);
	table[0] = (base + AT_PDPT) | 7;
	table = (__u64 *)(vm->mem + AT_PDPT);
	table[base >> 30] = (base + AT_PD) | 7;
	table = (__u64 *)(vm->mem + AT_PD);
	table[base / VM_SIZE % 512] = base | 0x87;

	table = (__u64 *)(vm->mem + AT_GDT);
	table[SEL_CODE / 8] = 0x00af9b000000ffffULL;
	table[SEL_DATA / 8] = 0x00cf93000000ffffULL;
	table[SEL_CODE_USER / 8] = 0x00affb000000ffffULL;
	table[SEL_DATA_USER / 8] = 0x00cff3000000ffffULL;

	for (i = 0; i < VECTORS; i++) {
		bool error_code = i == 8 || (i >= 10 && i <= 14) || i == 17;
		__u8 *stub = vm->mem + AT_STUBS + 16 * i;
		__u64 *gate = (__u64 *)(vm->mem + AT_IDT + 16 * i);
		__u64 entry = addr_of(stub);
		__s32 rel;

		if (!error_code) {
			put(stub, "\x6a\x00", 2);
			stub += 2;
		}
		put(stub, (__u8[]){ 0x6a, i, 0xe9 }, 3);
		rel = base + AT_HANDLER - addr_of(stub + 7);
		put(stub + 3, &rel, 4);

		/* Interrupt gates, that vector also for ring 3 */
		gate[0] = (entry & 0xffff) | SEL_CODE << 16 |
			  (i == V_KERNEL ? 0xeeULL : 0x8eULL) << 40 |
			  (entry & 0xffff0000) << 32;
		gate[1] = entry >> 32;
	}
	put(vm->mem + AT_HANDLER, guest_handler,
	    guest_handler_end - guest_handler);
	/*
	 * Continue after the INT, in ring 0: pop %rax; add $32, %rsp; jmp *%rax
	 */
	put(vm->mem + AT_STUBS + 16 * V_KERNEL,
	    "\x58\x48\x83\xc4\x20\xff\xe0", 7);
}

/**
 * vm_destroy() - free a VM
 * @vm: from vm_create(), which may have failed half-way
 */
void vm_destroy(struct vm *vm)
{
	if (vm->mem)
		munmap(vm->mem, VM_MEMORY);
	if (vm->fd > 0)
		close(vm->fd);
	if (vm->kvm > 0)
		close(vm->kvm);
	memset(vm, 0, sizeof(*vm));
}

/**
 * vm_create() - create a VM with its memory, tables and exception handler
 * @vm: filled in
 * @n: which of several VMs, 0 or 1; its address follows from it
 * @irqchip: with an interrupt controller, x2APIC
 *
 * Return: NULL; or the name of the step that failed, with errno set.
 */
const char *vm_create(struct vm *vm, unsigned int n, bool irqchip)
{
	struct kvm_userspace_memory_region region = {
		.guest_phys_addr = VM_BASE + n * VM_SIZE,
		.memory_size = VM_MEMORY,
		.userspace_addr = VM_BASE + n * VM_SIZE,
	};
	void *want = (void *)(unsigned long)region.userspace_addr;

	*vm = (struct vm){ .irqchip = irqchip };
	vm->kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (vm->kvm < 0)
		return "/dev/kvm";
	if (ioctl(vm->kvm, KVM_GET_API_VERSION, 0) != KVM_API_VERSION)
		return "KVM_GET_API_VERSION";
	vm->fd = ioctl(vm->kvm, KVM_CREATE_VM, 0);
	if (vm->fd < 0)
		return "KVM_CREATE_VM";

	/* Executable for the host too, which calls the guest's probes */
	vm->mem = mmap(want, VM_MEMORY, PROT_READ | PROT_WRITE | PROT_EXEC,
		       MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	if (vm->mem != want) {
		if (vm->mem != MAP_FAILED)
			munmap(vm->mem, VM_MEMORY);
		vm->mem = NULL;
		return "memory at a fixed address";
	}
	if (ioctl(vm->fd, KVM_SET_USER_MEMORY_REGION, &region))
		return "KVM_SET_USER_MEMORY_REGION";
	if (irqchip && ioctl(vm->fd, KVM_CREATE_IRQCHIP, 0))
		return "KVM_CREATE_IRQCHIP";
	vm_fill(vm);
	return NULL;
}

static void vcpu_find_stats(struct vcpu *v)
{
	struct kvm_stats_header head;
	struct kvm_stats_desc *d;
	__u32 i;

	v->exits_at = -1;
	v->stats = ioctl(v->fd, KVM_GET_STATS_FD, 0);
	if (v->stats < 0)
		return;
	if (pread(v->stats, &head, sizeof(head), 0) != sizeof(head))
		return;
	d = malloc(sizeof(*d) + head.name_size);
	for (i = 0; d && i < head.num_desc; i++) {
		size_t size = sizeof(*d) + head.name_size;

		if (pread(v->stats, d, size, head.desc_offset + i * size) !=
		    (ssize_t)size)
			break;
		if (!strcmp(d->name, "exits"))
			v->exits_at = head.data_offset + d->offset;
	}
	free(d);
}

/* Exits so far; 0 if KVM does not count them */
static __u64 vcpu_exits(struct vcpu *v)
{
	__u64 n;

	if (v->exits_at < 0 ||
	    pread(v->stats, &n, sizeof(n), v->exits_at) != sizeof(n))
		return 0;
	return n;
}

/**
 * vcpu_destroy() - free a vCPU
 * @v: from vcpu_create(), which may have failed half-way
 */
void vcpu_destroy(struct vcpu *v)
{
	if (v->run)
		munmap(v->run, v->run_size);
	if (v->stats > 0)
		close(v->stats);
	if (v->fd > 0)
		close(v->fd);
	memset(v, 0, sizeof(*v));
}

#define CPUID_MAX	256

/* All that KVM supports; needed for long mode and the x2APIC */
static const char *vcpu_cpuid(struct vcpu *v)
{
	struct kvm_cpuid2 *all;
	const char *failed = NULL;

	all = calloc(1, sizeof(*all) + CPUID_MAX * sizeof(all->entries[0]));
	if (!all)
		return "memory";
	all->nent = CPUID_MAX;
	if (ioctl(v->vm->kvm, KVM_GET_SUPPORTED_CPUID, all))
		failed = "KVM_GET_SUPPORTED_CPUID";
	else if (ioctl(v->fd, KVM_SET_CPUID2, all))
		failed = "KVM_SET_CPUID2";
	free(all);
	return failed;
}

/* Long mode, flat, paging enabled: SDM vol. 3A, "Initializing IA-32e Mode" */
static const char *vcpu_long_mode(struct vcpu *v)
{
	__u64 base = addr_of(v->vm->mem);
	struct kvm_segment code = {
		.limit = ~0, .selector = SEL_CODE, .type = 0xb, .present = 1, .s = 1,
		.l = 1, .g = 1,
	};
	struct kvm_segment data = {
		.limit = ~0, .selector = SEL_DATA, .type = 3, .present = 1, .s = 1,
		.db = 1, .g = 1,
	};
	struct kvm_segment tss = {
		.base = addr_of(v->area + AT_TSS), .limit = 0x67,
		.selector = SEL_TSS, .type = 0xb, .present = 1,
	};
	__u64 rsp0 = addr_of(v->area + AT_STACK);
	struct kvm_sregs s;

	if (ioctl(v->fd, KVM_GET_SREGS, &s))
		return "KVM_GET_SREGS";
	s.cs = code;
	s.ds = data;
	s.es = data;
	s.fs = data;
	s.gs = data;
	s.ss = data;
	s.tr = tss;
	put(v->area + AT_TSS + 4, &rsp0, sizeof(rsp0));
	s.gdt.base = base + AT_GDT;
	s.gdt.limit = 0x3f;
	s.idt.base = base + AT_IDT;
	s.idt.limit = 16 * VECTORS - 1;
	s.cr0 = 0x80010033;	/* PG WP NE ET MP PE */
	s.cr3 = base + AT_PML4;
	s.cr4 = 0x20;		/* PAE */
	s.efer = 0x500;		/* LMA LME */
	if (v->vm->irqchip)
		s.apic_base |= 0xc00;	/* x2APIC */
	if (ioctl(v->fd, KVM_SET_SREGS, &s))
		return "KVM_SET_SREGS";
	return NULL;
}

/**
 * vcpu_create() - create a vCPU in long mode, with an empty program
 * @v: filled in
 * @vm: its VM
 * @n: which of the vCPUs of @vm, from 0
 *
 * Return: NULL; or the name of the step that failed, with errno set.
 */
const char *vcpu_create(struct vcpu *v, struct vm *vm, unsigned int n)
{
	unsigned int i;
	const char *failed;

	*v = (struct vcpu){ .vm = vm };
	v->area = vm->mem + AT_VCPUS + n * AREA_SIZE;
	v->fd = ioctl(vm->fd, KVM_CREATE_VCPU, (unsigned long)n);
	if (v->fd < 0)
		return "KVM_CREATE_VCPU";
	v->run_size = ioctl(vm->kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
	v->run = mmap(NULL, v->run_size, PROT_READ | PROT_WRITE, MAP_SHARED,
		      v->fd, 0);
	if (v->run == MAP_FAILED) {
		v->run = NULL;
		return "the run area of the vCPU";
	}
	vcpu_find_stats(v);
	failed = vcpu_cpuid(v);
	if (!failed)
		failed = vcpu_long_mode(v);
	if (failed)
		return failed;

	/* Addresses to execute, the same for guest and host: nop, ret */
	for (i = 0; i < 16; i++)
		put(v->area + AT_PROBES + 16 * i, "\x90\xc3", 2);
	guest_begin(v);
	return NULL;
}

/**
 * vcpu_complete_io() - complete the instruction of the last exit
 * @v: a vCPU
 *
 * An instruction that exits for I/O is complete only when KVM_RUN is called
 * again (Documentation/virt/kvm/api.rst, kvm_run, KVM_EXIT_IO); this call
 * completes it and does not enter the guest.
 */
void vcpu_complete_io(struct vcpu *v)
{
	v->run->immediate_exit = 1;
	ioctl(v->fd, KVM_RUN, 0);
	v->run->immediate_exit = 0;
}

/**
 * vcpu_run() - KVM_RUN, restarted when a signal interrupts it
 * @v: a vCPU
 *
 * Return: as KVM_RUN; @v->exits is the number of exits since the entry.
 */
int vcpu_run(struct vcpu *v)
{
	unsigned int i;
	__u64 before = vcpu_exits(v);
	int ret = -1;

	for (i = 0; i < 1000; i++) {
		ret = ioctl(v->fd, KVM_RUN, 0);
		if (!ret || (errno != EINTR && errno != EAGAIN))
			break;
	}
	v->exits = vcpu_exits(v) - before;
	return ret;
}

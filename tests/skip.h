/* SPDX-License-Identifier: GPL-2.0 */
/*
 * All reasons for which a test is skipped.  They are constant, so that results of
 * different machines can be compared.
 */
#ifndef HW_BREAKPOINT_SKIP_H
#define HW_BREAKPOINT_SKIP_H

#include <errno.h>
#include <stdbool.h>

/* Breakpoints; run_tests.sh matches the first */
#define SKIP_NEVER_FIRES	"this type of breakpoint never fires here, see first_trap_test"
#define SKIP_SLOTS_TAKEN	"other processes use breakpoints"

/* With the name of what is refused: by seccomp, a capability, a sysctl or an LSM */
#define SKIP_REFUSED		"%s not permitted"
#define SKIP_NO_CHANGES		"changes to the system are switched off"

/**
 * refused() - whether an error says that the environment does not permit a call
 * @err: negative errno or 0
 *
 * Return: true for EPERM, EACCES and ENOSYS.
 */
static inline bool refused(int err)
{
	return err == -EPERM || err == -EACCES || err == -ENOSYS;
}

/* The machine */
#define SKIP_ONE_CPU		"one CPU only"
#define SKIP_NO_HOTPLUG		"no CPU can be taken offline"
#define SKIP_NO_INSN		"this CPU does not have the instruction"
#define SKIP_NO_BTF		"this CPU does not have block-step (DEBUGCTL.BTF)"
#define SKIP_NO_NMI		"no NMI arrived"
#define SKIP_TCG_HANGS		"QEMU's software emulation would hang"
#define SKIP_TCG_SVM		"QEMU's emulated SVM would hang (HW_BREAKPOINT_TCG_SVM=1 if it is fixed)"

/* The kernel */
#define SKIP_OLD_KERNEL		"this kernel is too old for it"
#define SKIP_NOT_BUILT_IN	"this kernel is built or booted without it"
#define SKIP_64_BIT_KERNEL	"a 32-bit program cannot try it on a 64-bit kernel"
#define SKIP_NO_CGROUP		"no usable cgroup"
#define SKIP_NO_PROC		"no /proc/self"
#define SKIP_NO_SYMBOLS		"/proc/kallsyms shows no addresses"
#define SKIP_NO_KVM		"no usable KVM"
#define SKIP_OLD_KVM		"this KVM does not have it"

/* The case */
#define SKIP_OTHER_BITNESS	"no program of the other bitness runs here"
#define SKIP_SYSRQ		"fills the log: only with HW_BREAKPOINT_SYSRQ=1"
#define SKIP_NOT_USED		"this machine never takes that path"
#define SKIP_NOT_APPLICABLE	"does not apply to this case"

#endif /* HW_BREAKPOINT_SKIP_H */

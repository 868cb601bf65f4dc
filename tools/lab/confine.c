// SPDX-License-Identifier: GPL-2.0
/*
 * Run a command with less than root has, as in a container:
 *
 *	confine [-b] [-u UID] [-s NUMBER64,NUMBER32,ERRNO] COMMAND...
 *
 * -b: beside a breakpoint of CPU 0; -u: as that user and group; -s: one system call
 * fails.
 */
#include <grp.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/hw_breakpoint.h>
#include <linux/perf_event.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define LOAD(field)							\
	BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
#define IS(value, then, otherwise)					\
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, then, otherwise)

static int refuse(const char *what)
{
	int nr, nr32, err;

	if (sscanf(what, "%d,%d,%d", &nr, &nr32, &err) != 3)
		return -1;

	struct sock_filter filter[] = {
		LOAD(arch),
		IS(AUDIT_ARCH_X86_64, 0, 2),
		LOAD(nr),
		IS(nr, 3, 2),
		LOAD(nr),
		IS(nr32, 1, 0),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | err),
	};
	struct sock_fprog program = { sizeof(filter) / sizeof(*filter), filter };

	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
	       prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
}

/* It has the slot until it ends */
static int take_slot(void)
{
	struct perf_event_attr attr = {
		.type = PERF_TYPE_BREAKPOINT, .size = sizeof(attr),
		.bp_type = HW_BREAKPOINT_W, .bp_len = HW_BREAKPOINT_LEN_4,
		.exclude_kernel = 1, .disabled = 1,
	};

	return syscall(SYS_perf_event_open, &attr, -1, 0, -1, 0) < 0;
}

int main(int argc, char **argv)
{
	int opt, uid;

	while ((opt = getopt(argc, argv, "+bu:s:")) > 0) {
		switch (opt) {
		case 'b':
			if (take_slot()) {
				perror("perf_event_open");
				return 2;
			}
			break;
		case 'u':
			uid = atoi(optarg);
			if (setgroups(0, NULL) || setgid(uid) || setuid(uid)) {
				perror("setuid");
				return 2;
			}
			break;
		case 's':
			if (refuse(optarg)) {
				perror("seccomp");
				return 2;
			}
			break;
		default:
			return 2;
		}
	}
	if (optind >= argc)
		return 2;
	execvp(argv[optind], argv + optind);
	perror(argv[optind]);
	return 2;
}

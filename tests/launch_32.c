// SPDX-License-Identifier: GPL-2.0
/*
 * NAME_test_32 is a link to this: run NAME_test_32.elf beside it, the real
 * 32-bit program, or skip where the kernel cannot run one.
 *
 * Without IA32 emulation execve() says ENOEXEC, for which a shell, and
 * execvp(), take the program for a shell script; it then ends with whatever
 * exit status that comes to.  None of the kernel's runners tells this from a
 * test, so that it has to be done here.  Built for the machine's own bitness.
 */
#include <errno.h>
#include <stdio.h>
#include <sys/auxv.h>
#include <unistd.h>

#define EXIT_FAILED	1
#define EXIT_SKIPPED	4

int main(int argc, char **argv)
{
	const char *self = (const char *)getauxval(AT_EXECFN);
	char path[4096];

	(void)argc;
	snprintf(path, sizeof(path), "%s.elf", self);
	execv(path, argv);

	/* ENOENT for a program that is there means that its loader is not */
	if (errno != ENOEXEC && errno != ELIBBAD &&
	    (errno != ENOENT || access(path, X_OK))) {
		perror(path);
		return EXIT_FAILED;
	}
	puts("TAP version 13\n1..0 # SKIP 32-bit programs cannot run here");
	return EXIT_SKIPPED;
}

# SPDX-License-Identifier: GPL-2.0
#
# run_tests   build and run the suite (tests/)
# emulated    the same in QEMU without KVM, where breakpoints fire; KERNEL=BZIMAGE
# check       test the tests: build variants, kernel trees, driver, faults, style;
#             CHECKS="driver lint" only these
# lint        only the style part of check
# lab         run the suite under kernels with a fault in them (tools/lab)
# coverage    which lines of the kernel's code the suite reaches, in the same lab
# bench       what verified traps cost here
# man         the manual page, from run_tests.sh --help; needs help2man
# install     INSTALL_PATH=DIR: programs and driver, to run elsewhere
# clean       remove what was built; "distclean" also what was fetched

all run_tests:
	$(MAKE) -C tests $@

emulated:
	@tools/emulated.sh

check:
	tools/check.sh $(CHECKS)

lint:
	tools/check.sh lint

lab:
	tools/lab/lab.sh

coverage:
	tools/lab/coverage.sh

bench:
	tools/bench.sh

man: hw_breakpoint_tests.1

hw_breakpoint_tests.1: run_tests.sh tools/man.inc
	tools/man.sh >$@.new && mv $@.new $@

install:
	@test -n "$(INSTALL_PATH)" || { echo "make install needs INSTALL_PATH=DIR" >&2; exit 2; }
	$(MAKE) -C tests OUTPUT="$(abspath $(INSTALL_PATH))"
	rm -f "$(INSTALL_PATH)"/*.o
	cp run_tests.sh tools/results.sh tools/decode.sh tools/screen.sh tests/settings "$(INSTALL_PATH)"
	mkdir -p "$(INSTALL_PATH)/known-failures"
	cp tools/known-failures/*.txt "$(INSTALL_PATH)/known-failures"
	! command -v help2man >/dev/null || tools/man.sh >"$(INSTALL_PATH)/hw_breakpoint_tests.1"
	$(MAKE) -s --no-print-directory -C tests OUTPUT="$(abspath $(INSTALL_PATH))" emit_tests | \
		sed 's/.*://' >"$(INSTALL_PATH)/kselftest-list.txt"

clean:
	$(MAKE) -C tests clean
	rm -f hw_breakpoint_tests.1

distclean: clean
	rm -rf .cache

.PHONY: all run_tests emulated check lint lab coverage bench man install clean distclean

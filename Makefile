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

install:
	@test -n "$(INSTALL_PATH)" || { echo "make install needs INSTALL_PATH=DIR" >&2; exit 2; }
	$(MAKE) -C tests OUTPUT="$(abspath $(INSTALL_PATH))"
	rm -f "$(INSTALL_PATH)"/*.o
	cp run_tests.sh tools/results.sh tests/settings "$(INSTALL_PATH)"
	mkdir -p "$(INSTALL_PATH)/known-failures"
	cp tools/known-failures/*.txt "$(INSTALL_PATH)/known-failures"
	$(MAKE) -s --no-print-directory -C tests OUTPUT="$(abspath $(INSTALL_PATH))" emit_tests | \
		sed 's/.*://' >"$(INSTALL_PATH)/kselftest-list.txt"

clean:
	$(MAKE) -C tests clean

distclean: clean
	rm -rf .cache

.PHONY: all run_tests emulated check lint lab coverage bench install clean distclean

# SPDX-License-Identifier: MIT
# export EXPORT=DIR: what the kernel's "make kselftest-install" would leave there. For a collection's Makefile, behind lib.mk.

.PHONY: export
export: all
	rm -rf $(EXPORT)
	mkdir -p $(EXPORT)
	cp -r $(KSELFTEST)/kselftest $(KSELFTEST)/run_kselftest.sh $(EXPORT)
	$(MAKE) install INSTALL_PATH=$(EXPORT)/ktlsd
	$(MAKE) -s emit_tests COLLECTION=ktlsd >$(EXPORT)/kselftest-list.txt

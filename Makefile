# SPDX-License-Identifier: MIT
# ktlsd. "make help" lists the targets. The two that matter first: make demo, make check.

VERSION := 0.1.0
O ?= build
PREFIX ?= /usr/local
SYSCONFDIR ?= /etc
UNITDIR ?= $(PREFIX)/lib/systemd/system
CC ?= gcc
PKG_CONFIG ?= pkg-config
CFLAGS ?= -O2 -g
HARDENING ?= -fstack-protector-strong -D_FORTIFY_SOURCE=2 -fPIE
WARNINGS := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla -Wformat=2
ALL_CFLAGS = -std=c11 -D_GNU_SOURCE -DKTLSD_VERSION='"$(VERSION)"' -Iuapi -Iuserspace/lib $(WARNINGS) $(CFLAGS)

has = $(shell $(PKG_CONFIG) --exists '$(1)' 2>/dev/null && echo yes)
HAVE_AGENT := $(and $(call has,liburing >= 2.5),$(call has,libssl >= 3.0),$(call has,inih),$(call has,json-c),\
	$(call has,libnl-genl-3.0),$(call has,libkeyutils))
HAVE_RING := $(call has,liburing >= 2.5)
HAVE_CTL := $(and $(HAVE_RING),$(call has,libssl >= 3.0),$(call has,json-c),$(call has,libnl-genl-3.0))
HAVE_BENCH := $(and $(wildcard userspace/bench/*.c),$(call has,libssl >= 3.0),$(call has,json-c),$(HAVE_RING))

LIB := $(O)/libktlsd.so $(O)/libktlsd.a $(O)/libktlsd.pc
RUN := $(O)/ktls-run $(O)/libktls-preload.so
EXAMPLES := $(O)/example-blocking $(O)/example-epoll-echo $(O)/example-client $(O)/example-peer
PROGRAMS := $(O)/ktls-inetd
ifneq ($(HAVE_AGENT),)
PROGRAMS += $(O)/ktlsd
endif
ifneq ($(HAVE_CTL),)
PROGRAMS += $(O)/ktlsctl
endif
ifneq ($(HAVE_BENCH),)
PROGRAMS += $(O)/ktls-bench
endif
ifneq ($(HAVE_RING),)
EXAMPLES += $(O)/example-uring-https
endif

.PHONY: all
all: $(LIB) $(RUN) $(PROGRAMS) $(EXAMPLES)
ifeq ($(HAVE_AGENT),)
	@echo "Built without the agent: it needs liburing >= 2.5, OpenSSL >= 3.0, libinih and json-c here."
	@echo "Install them (scripts/deps native, Debian 13), or build in the Debian 13 tree: make vm-build"
endif

# ---- objects: build/<folder>/<name>.o, rebuilt when a header changes ----

$(O)/%.o: userspace/%.c Makefile
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) $(HARDENING) $(OBJECT_CFLAGS) -MMD -MP -c -o $@ $<

objects = $(patsubst userspace/%.c,$(O)/%.o,$(wildcard $(1)))
-include $(shell find $(addprefix $(O)/,agent lib ctl bench inetd examples preload) -name '*.d' 2>/dev/null)

# ---- libktlsd: libc only ----

LIB_OBJECTS := $(call objects,userspace/lib/*.c)
SONAME := libktlsd.so.0
$(O)/lib/%.o: OBJECT_CFLAGS := -fPIC

$(O)/libktlsd.so: $(LIB_OBJECTS) userspace/lib/libktlsd.map
	$(CC) -shared -Wl,-soname,$(SONAME) -Wl,--version-script=userspace/lib/libktlsd.map -Wl,-z,defs,-z,relro,-z,now \
		$(CFLAGS) $(LDFLAGS) -o $@ $(LIB_OBJECTS)
	ln -sf libktlsd.so $(O)/$(SONAME)

$(O)/libktlsd.a: $(LIB_OBJECTS)
	rm -f $@
	$(AR) rcs $@ $^

$(O)/libktlsd.pc: userspace/lib/libktlsd.pc.in Makefile
	@mkdir -p $(@D)
	sed -e 's|@PREFIX@|$(PREFIX)|' -e 's|@VERSION@|$(VERSION)|' $< >$@

# ---- ktls-run, and what it preloads: libc only ----

# In the library, names of the C library mean the C library's own (userspace/preload/real.h). Its hooks have no use for headers
# that turn their names into something else.
PRELOAD_OBJECTS := $(call objects,userspace/preload/*.c)
PRELOAD_WRAPS := $(shell sed -n 's/^\tX.[A-Za-z_ *]*, \([a-z0-9_]*\),.*/-Wl,--wrap=\1/p' userspace/preload/real.h) -Wl,--wrap=getenv
$(PRELOAD_OBJECTS): OBJECT_CFLAGS := -fPIC -fvisibility=hidden -U_FORTIFY_SOURCE
$(O)/libktls-preload.so: $(PRELOAD_OBJECTS) $(O)/libktlsd.a
	$(CC) -shared -Wl,--exclude-libs,ALL $(PRELOAD_WRAPS) -Wl,-z,defs,-z,relro,-z,now $(CFLAGS) $(LDFLAGS) -o $@ $^

$(O)/preload/run/%.o: OBJECT_CFLAGS = -DKTLSD_LIBDIR='"$(LIBDIR)"'
$(O)/ktls-run: $(call objects,userspace/preload/run/*.c) $(O)/preload/fitness.o
	$(LINK) -o $@ $^

# ---- programs ----

LINK = $(CC) -pie $(CFLAGS) -Wl,-z,relro,-z,now $(LDFLAGS)
pkg = $(shell $(PKG_CONFIG) --libs $(1))
SYSTEMD := $(call has,libsystemd)

ifneq ($(SYSTEMD),)
$(O)/agent/%.o: OBJECT_CFLAGS := -DHAVE_SYSTEMD
endif
AGENT_OBJECTS := $(call objects,userspace/agent/*.c userspace/agent/*/*.c) \
	$(addprefix $(O)/lib/,message.o probe.o records.o socket.o)
AGENT_LIBRARIES = $(call pkg,libssl libcrypto liburing inih json-c libnl-genl-3.0 libkeyutils $(if $(SYSTEMD),libsystemd)) -lpthread
$(addprefix $(O)/agent/kernel/,family.o registered.o): OBJECT_CFLAGS += $(shell $(PKG_CONFIG) --cflags libnl-genl-3.0)
$(O)/ktlsd: $(AGENT_OBJECTS)
	$(LINK) -o $@ $^ $(AGENT_LIBRARIES)

$(O)/ctl/%.o: OBJECT_CFLAGS = $(shell $(PKG_CONFIG) --cflags libnl-genl-3.0)
$(O)/ktlsctl: $(call objects,userspace/ctl/*.c) $(addprefix $(O)/agent/,trial.o proof.o kernel/registered.o) $(O)/libktlsd.a
	$(LINK) -o $@ $^ $(call pkg,libssl libcrypto liburing json-c libnl-genl-3.0)

$(O)/ktls-bench: $(call objects,userspace/bench/*.c) $(O)/libktlsd.a
	$(LINK) -o $@ $^ $(call pkg,libssl libcrypto liburing json-c) -lpthread -lm

$(O)/ktls-inetd: $(call objects,userspace/inetd/*.c) $(O)/libktlsd.a
	$(LINK) -o $@ $^

$(O)/example-uring-https: $(call objects,userspace/examples/uring-https/*.c) $(O)/libktlsd.a
	$(LINK) -o $@ $^ $(call pkg,liburing)

$(O)/example-%: $(O)/examples/%.o $(O)/libktlsd.a
	$(LINK) -o $@ $^

.SECONDARY:

# ---- tests ----

# For who works on the tests; scripts/check builds them by itself.
.PHONY: tests
tests: all
	$(MAKE) -C tests O=$(abspath $(O)) all

# ---- what people run ----
#
# Where this machine's kernel or libraries don't do, commands run in a Debian 13 tree that scripts/vm makes: IN_TREE on
# this machine's processors, for building. NATIVE=1: everything on this machine itself.

IN_TREE = scripts/vm --kernel host --
export NATIVE

.PHONY: vm-build demo check check-kernel check-all bench soak fuzz lint module install deb clean help

vm-build:
	$(IN_TREE) $(MAKE) O=build/vm -j2

demo:
	@scripts/demo

check:
	@scripts/check

check-kernel:
	@scripts/check-kernel

check-all:
	@scripts/check-all

bench: $(if $(filter 1,$(NATIVE)),all)
	@scripts/bench $(if $(filter 1,$(NATIVE)),$(O))

soak:
	@scripts/soak

# The parsers, and the engine, under random input with sanitizers, FUZZ_SECONDS each.
FUZZ_SECONDS ?= 60
FUZZ_FLAGS := -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer
FUZZ_TARGETS := message settings token records engine ocsp certificate
FUZZ_OBJECTS := $(filter-out %/agent/main.o,$(AGENT_OBJECTS))

fuzz:
	$(if $(filter 1,$(NATIVE)),,$(IN_TREE)) $(MAKE) -j2 O=build/fuzz CFLAGS='$(FUZZ_FLAGS)' HARDENING=-fPIE \
		FUZZ_SECONDS=$(FUZZ_SECONDS) fuzz-run

.PHONY: fuzz-run
fuzz-run: $(FUZZ_TARGETS:%=$(O)/fuzz_%)
	for target in $(FUZZ_TARGETS); do \
		FUZZ_SECONDS=$(FUZZ_SECONDS) FUZZ_LAST=$(O)/fuzz_$$target.last $(O)/fuzz_$$target || exit; done

$(O)/fuzz_%: tests/fuzz/fuzz_%.c tests/fuzz/main.c tests/fuzz/fuzz.h $(FUZZ_OBJECTS)
	$(CC) $(ALL_CFLAGS) -pie -fPIE -o $@ $(filter %.c %.o,$^) \
		$(AGENT_LIBRARIES)

# ---- the kernel module ----
#
# For the kernels that the test machines under QEMU boot; with NATIVE=1 for all of this machine's that have headers. What
# the kernel's own build would leave beside the sources goes to build/module/VERSION.

MODULE = build/module
MODULE_KERNELS = $(patsubst /lib/modules/%/build,%,$(wildcard /lib/modules/*/build))

module:
	scripts/vm --kernel host-stock -- $(MAKE) -s module-here

.PHONY: module-here
module-here: $(MODULE_KERNELS:%=module-for-%)
	@test -n "$^" || { echo "module: no headers of a kernel in /lib/modules/*/build: apt install linux-headers-amd64" >&2; exit 1; }

module-for-%:
	mkdir -p $(MODULE)/$*/kernel $(MODULE)/$*/uapi/linux
	cp -u Kbuild $(MODULE)/$*
	cp -u kernel/*.[ch] $(MODULE)/$*/kernel
	cp -u uapi/linux/ktlsd.h $(MODULE)/$*/uapi/linux
	$(MAKE) -C /lib/modules/$*/build M=$(CURDIR)/$(MODULE)/$* modules

# Debian's headers have all that it takes for sparse and kernel-doc only of 6.12.
.PHONY: module-lint
module-lint:
	rm -rf build/lint
	$(MAKE) module-here MODULE=build/lint W=1 KCFLAGS=-Werror
	$(MAKE) module-here MODULE=build/lint MODULE_KERNELS='$(filter 6.12.%-amd64,$(MODULE_KERNELS))' C=2 CHECK='sparse -Wsparse-error'
	/usr/lib/linux-kbuild-6.12*/scripts/kernel-doc -none -Wall -Werror kernel/*.[ch]

# ---- installation ----

BINDIR ?= $(PREFIX)/bin
SBINDIR ?= $(PREFIX)/sbin
LIBDIR ?= $(PREFIX)/lib
INCLUDEDIR ?= $(PREFIX)/include
MANDIR ?= $(PREFIX)/share/man
DOCDIR ?= $(PREFIX)/share/doc/ktlsd
D := $(DESTDIR)

install: all
	@test -n "$(HAVE_AGENT)" -a -n "$(HAVE_CTL)" || { echo "install: the agent can't be built here, see above" >&2; exit 1; }
	install -d $D$(BINDIR) $D$(SBINDIR) $D$(LIBDIR)/pkgconfig $D$(INCLUDEDIR)/ktlsd $D$(UNITDIR) $D$(DOCDIR)/examples \
		$D$(PREFIX)/lib/modules-load.d $D$(PREFIX)/lib/sysusers.d $D$(SYSCONFDIR)/ktlsd
	install $(O)/ktlsd $D$(SBINDIR)
	install $(O)/ktlsctl $(O)/ktls-bench $(O)/ktls-inetd $(O)/ktls-run $D$(BINDIR)
	install -D -m 644 $(O)/libktls-preload.so $D$(LIBDIR)/ktlsd/libktls-preload.so
	install -m 644 $(O)/libktlsd.so $D$(LIBDIR)/libktlsd.so.$(VERSION)
	ln -sf libktlsd.so.$(VERSION) $D$(LIBDIR)/$(SONAME)
	ln -sf $(SONAME) $D$(LIBDIR)/libktlsd.so
	install -m 644 $(O)/libktlsd.a $D$(LIBDIR)
	sed -e 's|@PREFIX@|$(PREFIX)|' -e 's|@VERSION@|$(VERSION)|' userspace/lib/libktlsd.pc.in >$D$(LIBDIR)/pkgconfig/libktlsd.pc
	install -m 644 userspace/lib/ktlsd.h userspace/lib/ktlsd_uring.h $D$(INCLUDEDIR)
	install -m 644 uapi/ktlsd/protocol.h $D$(INCLUDEDIR)/ktlsd
	install -D -m 644 uapi/linux/ktlsd.h $D$(INCLUDEDIR)/linux/ktlsd.h
	for page in docs/man/*; do install -D -m 644 $$page $D$(MANDIR)/man$${page##*.}/$${page##*/} || exit; done
	sed -e 's|/usr/sbin/|$(SBINDIR)/|' -e 's|/etc/ktlsd/|$(SYSCONFDIR)/ktlsd/|' $(if $(SYSTEMD),,-e 's|^Type=notify|Type=exec|') \
		dist/ktlsd.service >$D$(UNITDIR)/ktlsd.service
	install -m 644 dist/modules-load.conf $D$(PREFIX)/lib/modules-load.d/ktlsd.conf
	install -m 644 dist/sysusers.conf $D$(PREFIX)/lib/sysusers.d/ktlsd.conf
	install -m 644 README.md docs/*.md $D$(DOCDIR)
	install -m 644 dist/ktlsd.conf dist/ktlsd-kernel.conf userspace/examples/*.[ch] $D$(DOCDIR)/examples

# In build/deb; made in the Debian 13 tree, for Debian 13.
deb:
	$(IN_TREE) dist/deb build/deb

lint:
	scripts/lint

clean:
	rm -rf build

help:
	@echo "make               build what this machine's libraries allow, into $(O)/"
	@echo "make demo          install what is missing, then a 100 MB file over kTLS, explained"
	@echo "make check         install what is missing, then all tests, on two kernels (NATIVE=1: on this machine's own)"
	@echo "make check-kernel  NFS, NVMe and the module on Debian's stock kernels under QEMU (NATIVE=1: on this machine's own)"
	@echo "make check-all     both, and one line that counts them"
	@echo "make bench         figures side by side with nginx and OpenSSL alone, into build/bench/"
	@echo "make soak          a long run (SOAK_SECONDS=3600)"
	@echo "make fuzz          the parsers and the engine on random input (FUZZ_SECONDS=60 for each)"
	@echo "make lint          clang-format, clang-tidy, cppcheck, shellcheck"
	@echo "make install       PREFIX, DESTDIR, SYSCONFDIR, UNITDIR are honoured"
	@echo "make deb           a Debian package in build/"
	@echo "make module        ktlsd.ko for Debian's stock kernels, into build/module/ (NATIVE=1: for this machine's own)"

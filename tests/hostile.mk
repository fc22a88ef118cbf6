# SPDX-License-Identifier: MIT
# Hostile and unlucky input: hostile_NAME.sh starts an agent and runs sets of cases of hostile_client against it.
.DEFAULT_GOAL := all

TEST_GEN_PROGS_EXTENDED += hostile_client hostile_fuse
TEST_PROGS += $(filter-out hostile_lib.sh,$(wildcard hostile_*.sh))
TEST_FILES += hostile_lib.sh

$(OUTPUT)/hostile_client: $(wildcard hostile/*.c)
$(OUTPUT)/hostile_fuse: CFLAGS += $(shell pkg-config --cflags fuse3)
$(OUTPUT)/hostile_fuse: LDLIBS += $(shell pkg-config --libs fuse3)

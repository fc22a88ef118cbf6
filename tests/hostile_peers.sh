#!/bin/sh
# SPDX-License-Identifier: MIT
# What peers can do wrong, and sockets with options of their own; both ways to install keys.
# shellcheck source=tests/hostile_lib.sh
. "$(dirname "$0")/hostile_lib.sh"

for install in $(install_ways); do
	start "install = $install"
	for set in peers relays options; do
		cases $set
	done
	stop
done
finish

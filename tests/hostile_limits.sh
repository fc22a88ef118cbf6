#!/bin/sh
# SPDX-License-Identifier: MIT
# Limits, and what they are for: a thousand slow handshakes do not delay a fast one, and nothing grows.
# shellcheck disable=SC2317,SC2119 # functions called by others, and without arguments
# shellcheck source=tests/hostile_lib.sh
. "$(dirname "$0")/hostile_lib.sh"

start 'max_handshakes_per_caller = 6' 'max_handshakes_per_peer = 15' 'max_handshakes_per_user = 20' \
	'max_handshakes = 30' 'max_callers = 12'
cases limits 6 3 15 20 30 12
stop

start 'workers = 1'
cases slow 1000
cases many 5000 1000
stop

start 'workers = 4'
cases many 3000 0

# with_descriptors N COMMAND...
with_descriptors() {
	prlimit --nofile="$1:$1" "$2" "$3" "$4"
}

cp "$agent_config" "$dir/few.conf"
sed -i "s|$dir/\(handoff\|control\)|$dir/few-\1|; /^workers/s/.*/max_callers = 16/" "$dir/few.conf"
refused "64 descriptors: it does not start" with_descriptors 64 ktlsd --config "$dir/few.conf"
says "it says how many it needs" 'RLIMIT_NOFILE is 64.*needs more than 592' -- \
	with_descriptors 64 ktlsd --config "$dir/few.conf"
in_background "$dir/few.log" with_descriptors 4096 ktlsd --config "$dir/few.conf"
check "4096 descriptors: limits are lowered" \
	wait_for 5 grep -q 'RLIMIT_NOFILE is 4096: max_handshakes is lowered to 3504' "$dir/few.log"
finish

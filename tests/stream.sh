#!/bin/sh
# SPDX-License-Identifier: MIT
# Life after the handshake: stream*.c, with an agent that has a service for each suite that they use.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

services() {
	suites | while read -r name cipher; do
		server_service "$name"
		echo "ciphers = $cipher"
	done
}

make_pki
programs='stream stream_keys stream_limits stream_splice'
for way in $(install_ways); do
	start_agent <<END
install = $way
$(client_service client)
$(services)
END
	for program in $programs; do
		run_program "$program, keys by $way" "$program" "$@"
	done
	stop_agent
	programs=stream # what streams do does not depend on the way
	set -- -t information
done
finish

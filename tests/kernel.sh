#!/bin/sh
# SPDX-License-Identifier: MIT
# kernel.c with an agent that has a service for each of its variants.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

server() {
	server_service "$1"
	echo "alpn = test"
}

services() {
	suites | while read -r name cipher; do
		server "$name"
		echo "ciphers = $cipher"
	done
	for version in 2 3; do
		for tickets in 0 1 2 5; do
			server tls1${version}_${tickets}_tickets
			echo "min_version = 1.$version"
			echo "max_version = 1.$version"
			echo "tickets = $tickets"
		done
	done
}

make_pki
for way in $(install_ways); do
	start_agent <<END
install = $way
$(client_service client)
$(services)
END
	run_program "keys by $way" kernel "$@"
	set -- -t result -t numbers -t keys -t both_ways # what the kernel does with keys does not depend on the way
	stop_agent
done
finish

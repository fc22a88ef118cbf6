#!/bin/sh
# SPDX-License-Identifier: MIT
# Handed listeners. listener.c has the cases; here are the agents for them.
# shellcheck disable=SC2119 # functions called without arguments
# shellcheck source=tests/hostile_lib.sh
. "$(dirname "$0")/hostile_lib.sh"

listener_services() {
	cat <<END
workers = $1
$(server_service web)
timeout = 60
$(server_service everyone)
allow_everyone = yes
$(server_service hasty)
timeout = 1
$(server_service small)
timeout = 2
max_handshakes = 3
$(server_service mutual)
client_certificate = require
ca = $dir/pki/ca.pem
$(client_service client)
END
}

make_pki
chmod 755 "$dir"
export PKI="$dir/pki"

# hanging_file: the program hangs in exit() itself until the file is let go.
hanging_file() {
	mount_fuse
	if [ -z "${FUSE_FILE:-}" ]; then
		skip "a file whose closing hangs" "FUSE does not work here"
		return
	fi
	in_background "$dir/hanging" listener "$FUSE_FILE"
	wait_for 20 grep -q '^1\.\.' "$dir/hanging"
	unmount_fuse
	run_program "a file whose closing hangs" cat "$dir/hanging"
}

for workers in 1 3; do
	listener_services $workers >"$dir/services"
	start_agent <"$dir/services"
	export AGENT_PID="$agent"
	run_program "$workers workers" listener
	hanging_file
	stop
done

# Without a service manager: what was ready can be received when the agent is gone, and then comes the end.
start_agent <"$dir/services"
mkfifo "$dir/go"
handed --stall --count 2 web <"$dir/go" >"$dir/handed" 2>&1 &
jobs="$jobs $!"
exec 9>"$dir/go"
wait_for 5 grep -q '^handed' "$dir/handed"
port=$(sed -n 's/^port //p' "$dir/handed")
in_background "$dir/client" s_client
client=$!
wait_for 10 grep -q 'Verify return code: 0' "$dir/client"
says "status for people" "web 127.0.0.1:$port, user 0, process [0-9]+: 0 in flight, 1 of 64 waiting, 1 accepted, 1 delivered" -- \
	ktlsctl status
stop
echo >&9
exec 9>&-
wait $client
says "the agent is gone: a client that was ready is served" welcome -- cat "$dir/client"
check "and then the receiver sees the end" wait_for 2 grep -q 'end: ENOTCONN' "$dir/handed"
finish

#!/bin/sh
# SPDX-License-Identifier: MIT
# From start to end: reload, drain, kill, another agent.
# shellcheck disable=SC2317,SC2119 # functions called by others, and without arguments
# shellcheck source=tests/hostile_lib.sh
. "$(dirname "$0")/hostile_lib.sh"

# ---- reload ----

# serial NAME: of the certificate in the file.
serial() {
	openssl x509 -in "$dir/pki/$1.pem" -noout -serial | cut -d= -f2
}

# served: the serial number that a server of ours shows.
served() {
	ktlsctl probe --service client --server-name localhost --json "localhost:$port" | jq -r .serial
}

# serves NAME
serves() {
	[ "$(served)" = "$(serial "$1")" ]
}

# has_ended PID: it is gone, or a zombie without threads and descriptors.
has_ended() {
	! kill -0 "$1" 2>/dev/null || [ "$(cat "/proc/$1/task"/*/stat | grep -cv ') Z ')" = 0 ]
}

start
start_server example-epoll-echo --service web
check "the first certificate is served" serves server-ecdsa

good=$(cat "$agent_config")
broken_line=$(($(wc -l <"$agent_config") + 1))
echo 'timeout = never' >>"$agent_config"
refused "reload of a broken configuration" ktlsctl reload
says "ktlsctl says file and line" "ktlsd.conf:$broken_line: timeout = never; expected" -- ktlsctl reload
kill -HUP "$agent"
check "SIGHUP: the log says so" agent_log_has "ktlsd.conf:$broken_line: timeout"
check "and that the old one stays" agent_log_has "stays in force"
check "it is in force" serves server-ecdsa

echo "$good" >"$agent_config"
sed -i "s|server-ecdsa|server-ed25519|" "$agent_config"
check "reload of another certificate" ktlsctl reload
check "it is served to the next handshake" serves server-ed25519
echo "$good" >"$agent_config"
kill -HUP "$agent"
check "SIGHUP brings the first one back" wait_for 2 serves server-ecdsa
cases held "kill -HUP $agent"
cases held "kill -HUP $agent; sleep 0.1; kill -HUP $agent"

echo "$good" | sed 's/^log_level/max_callers = 65536\n&/' >"$agent_config"
if [ "$(prlimit --nofile --output HARD --noheadings --raw)" -lt 2000000 ]; then
	refused "reload with limits beyond RLIMIT_NOFILE" ktlsctl reload
	says "ktlsctl says why" RLIMIT_NOFILE -- ktlsctl reload
else
	skip "reload with limits beyond RLIMIT_NOFILE" "there is no such limit"
fi

touch "$dir/not-ours"
echo "$good" | sed "s|^control_socket.*|control_socket = $dir/not-ours|" >"$agent_config"
check "reload with another control_socket" ktlsctl reload
check "the log says that it needs a restart" agent_log_has "change with a restart"

# ---- another agent ----

sed "s|$dir/not-ours|$dir/other-control|" "$agent_config" >"$dir/other.conf"
refused "a second agent on the same socket" timeout 5 ktlsd --config "$dir/other.conf"
says "it says that another one listens" "handoff: another agent listens there" -- timeout 5 ktlsd --config "$dir/other.conf"
check "and the first goes on" hostile_client slow 1
stop
check "nothing but its own sockets is removed" test -e "$dir/not-ours"
check "its own are" test ! -e "$dir/handoff" -a ! -e "$dir/control"

# ---- kill ----

start
hostile_client killed >"$dir/cases" 2>&1 </dev/null &
killer=$!
wait "$agent" 2>/dev/null
check "a killed agent leaves its socket" test -S "$dir/handoff"
start
wait $killer
take_cases $? killed
check "the next agent takes its place" hostile_client slow 1

# ---- drain ----

cases drain 0
wait "$agent"
check "SIGTERM without work: status 0" test $? = 0
for again in 0 1; do
	start
	cases drain 20 $again
	wait "$agent"
	check "SIGTERM with 20 in flight, signals: $((1 + again)), status 0" test $? = 0
done
start
cases held "kill -TERM $agent"
wait "$agent"
check "and the agent ends then, status 0" test $? = 0

# ---- a descriptor whose closing hangs, from a caller that is gone ----

for signal in TERM KILL; do
	start
	mount_fuse
	hostile_client hang >/dev/null 2>&1 </dev/null &
	wait_for 5 agent_log_has "not a socket"
	kill -$signal "$agent"
	agent=''
	start
	check "the next agent takes the place of one that SIG$signal can't end, because a closing hangs" hostile_client slow 1
	unmount_fuse
	stop
done
agent=''
finish

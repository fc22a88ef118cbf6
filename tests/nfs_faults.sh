#!/bin/sh
# SPDX-License-Identifier: MIT
# What goes wrong around the kernel's requests: agent and supervisor killed or stopped, consumers that give up, peers that say
# nothing, too few rights; and that nothing piles up.
# shellcheck disable=SC2015,SC2016,SC2086,SC2154,SC2317 # agents may be gone; text for eval;
# commands with options; set elsewhere; called by name
# shellcheck source=tests/nfs_lib.sh
. "$(dirname "$0")/nfs_lib.sh"

shakes=${SHAKES:-300}

# ---- consumers that wait ----

# hang: a client of the server's NFS that says nothing after the server has agreed to TLS; $hanging.
hang() {
	on client
	in_background "$dir/hang.log" $in rpc_tls.py hang "$server"
	hanging=$!
	wait_for 5 grep -q agreed "$dir/hang.log" && wait_for 5 requests_in_flight server 1
}

# deaf: on the client's machine, a server that says nothing after it has agreed to TLS, and a mount that waits for it.
deaf() {
	on client
	in_background "$dir/deaf.log" $in rpc_tls.py deaf 20049
	deaf=$!
	wait_for 5 grep -q listening "$dir/deaf.log"
	in_background "$dir/mount.log" $in mount.nfs 127.0.0.1:/ "$mountpoint" \
		-o vers=4.2,xprtsec=tls,retry=0,port=20049
	mounting=$!
	wait_for 5 grep -q agreed "$dir/deaf.log" && wait_for 5 requests_in_flight client 1
}

requests_in_flight() { # MACHINE COUNT
	on "$1"
	[ "$($in ktlsctl status --json | jq .kernel_requests.in_flight)" = "$2" ]
}

# closed_within LOG SECONDS: the kernel has given the connection up by then.
closed_within() {
	wait_for 70 grep -q closed "$1" && cat "$1" && awk -v limit="$2" '/^closed/ { exit $3 > limit }' "$1"
}

restart() { # MACHINE
	case $1 in
	server) start_agent_of server ktlsd server ;;
	client) start_agent_of client ktlsd client ;;
	esac
}

gone() {
	! kill -0 "$1" 2>/dev/null
}

# ends_badly PID: by itself, and says so to a service manager.
ends_badly() {
	wait_for 5 ended "$1"
	wait "$1"
	[ $? = 1 ]
}

ended() { # a child that nobody has waited for yet is a zombie
	! grep -q '^State:[[:space:]]*[^Z]' "/proc/$1/status" 2>/dev/null
}

# ---- ends ----

make_nfs
restart server
restart client
check "a mount" mounts tls

supervisor=$(supervisor_of server)
check "a client that says nothing" hang
kill -KILL "$agent_server"
check "the server's agent is killed: the kernel hears of it within a second" closed_within "$dir/hang.log" 1
check "... and the supervisor has ended" wait_for 2 gone "$supervisor"
restart server
check "... a new agent takes requests" mounts mtls

check "a server that says nothing" deaf
kill -KILL "$agent_client"
check "the client's agent is killed: the kernel hears of it within a second" closed_within "$dir/deaf.log" 1
kill -KILL "$mounting"
end "$deaf"
restart client
check "... a new agent takes requests" mounts mtls

check "a client that says nothing, again" hang
kill -KILL "$(supervisor_of server)"
check "the supervisor is killed: the kernel hears of it within a second" closed_within "$dir/hang.log" 1
check "... the agent ends, too, and not with success" ends_badly "$agent_server"
check "... and says why" log_of server "takes the kernel's requests .* has ended"
restart server
check "... a new start brings both back" mounts mtls

# ---- stopped ----

supervisor=$(supervisor_of server)
check "a client that says nothing, once more" hang
kill -STOP "$supervisor"
end "$hanging"
check "the supervisor stands still: the agent does not" wait_for 3 eval \
	'KTLSD_CONTROL=$dir/server/control ktlsctl status | grep -q " 0 in flight"'
kill -CONT "$supervisor"
check "... and when it goes on, so does all" mounts tls

kill -STOP "$agent_server"
on client
in_background "$dir/hang.log" $in rpc_tls.py hang "$server"
check "the agent stands still: the kernel does not wait for it for ever" closed_within "$dir/hang.log" 21.9
check "... and the supervisor says so" wait_for 25 grep -q "the agent did not answer in time" "$dir/server/agent.log"
kill -CONT "$agent_server"
check "... and when it goes on, so does all" mounts tls

# ---- consumers that give up ----

check "a server that says nothing, again" deaf
kill -KILL "$mounting"
check "the mount is killed: the request ends" wait_for 5 requests_in_flight client 0
end "$deaf"
check "... and the next mount goes well" mounts tls
check "a client that says nothing and leaves" hang
end "$hanging"
check "... is no request any more" wait_for 3 requests_in_flight server 0

# ---- at a time ----

check "a client that says nothing" hang
first=$hanging
in_background "$dir/hang2.log" $in rpc_tls.py hang "$server"
in_background "$dir/hang3.log" $in rpc_tls.py hang "$server"
second=$!
check "three of them" wait_for 3 requests_in_flight server 3
began=$(date +%s%N)
check "... and a mount" mounts mtls
check "... that does not wait for them" [ $((($(date +%s%N) - began) / 1000000)) -lt 2500 ]
end "$first"
end "$second"

# ---- nothing piles up ----

keys() {
	grep -vc 'dns_resolver\|id_resolver' /proc/keys
}

descriptors() { # PID
	find "/proc/$1/fd" -type l | wc -l
}

resident() { # PID
	awk '/^VmRSS/ { print $2 }' "/proc/$1/status"
}

shake() { # COUNT
	on client
	$in rpc_tls.py shake "$server" "$1" "$dir/pki/ca.pem" "$dir/pki/client.pem" "$dir/pki/client.key"
}

look() {
	supervisor=$(supervisor_of server)
	look_keys=$(keys) look_agent=$(descriptors "$agent_server") look_supervisor=$(descriptors "$supervisor")
	look_resident=$(($(resident "$agent_server") + $(resident "$supervisor")))
}

check "some handshakes" shake 50
wait_for 5 requests_in_flight server 0
look
keys=$look_keys agent_files=$look_agent supervisor_files=$look_supervisor resident=$look_resident
says "$shakes handshakes" "^$shakes went well" -- shake "$shakes"
wait_for 5 requests_in_flight server 0
look
check "... leave no keys ($keys, then $look_keys)" [ "$look_keys" -le "$keys" ]
check "... no descriptors" [ "$look_agent.$look_supervisor" = "$agent_files.$supervisor_files" ]
check "... and no memory ($resident KB, then $look_resident)" [ $((look_resident - resident)) -lt 1000 ]

# ---- rights and configuration ----

stop_agent_of client
on client
says "without CAP_NET_ADMIN it says what to do" "AmbientCapabilities=CAP_NET_ADMIN" -- \
	timeout 20 $in setpriv --bounding-set -net_admin ktlsd --config "$dir/client/ktlsd.conf"
chmod 711 "$dir"
chmod -R o+rX "$dir/pki" "$dir/client" && chmod o+r "$dir/pki/client.key" && chmod o+w "$dir/client"
sed -i 's/^ca = /readable_key = accept\n&/' "$dir/client/ktlsd.conf"
in_background "$dir/client/agent.log" $in setpriv --no-new-privs --reuid nobody --regid nogroup --clear-groups \
	--inh-caps +net_admin --ambient-caps +net_admin ktlsd --config "$dir/client/ktlsd.conf"
agent_client=$!
check "as an ordinary user with that capability" wait_for 10 $in ktlsctl status
check "... a mount" mounts mtls
capabilities() { # PID
	sed -n 's/^CapPrm:[[:space:]]*//p' "/proc/$1/status"
}
check "... the agent has given it away" [ "$(capabilities "$agent_client")" = 0000000000000000 ]
check "... its supervisor has that one" [ "$(capabilities "$(supervisor_of client)")" = 0000000000001000 ]
stop_agent_of client
printf '[service web]\nrole = client\nallow_everyone = yes\n' >"$dir/config"
start_device client <"$dir/config"
reconfigure client none
check "a first service for the kernel takes a restart, it says" log_of client 'with "kernel".*come into force with a restart only'
stop_agent_of client
stop_device server
agent=''
finish

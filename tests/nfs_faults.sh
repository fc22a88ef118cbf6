#!/bin/sh
# SPDX-License-Identifier: MIT
# What goes wrong around the kernel's requests: agent and supervisor killed or stopped, consumers that give up, peers that say
# nothing, too few rights; and that nothing piles up.
# shellcheck disable=SC2015,SC2016,SC2086,SC2154,SC2317 # agents may be gone; text for eval;
# commands with options; set elsewhere; called by name
# shellcheck source=tests/nfs_lib.sh
. "$(dirname "$0")/nfs_lib.sh"

shakes=${SHAKES:-300}

server_early=3 # NFS's server gives a handshake up after 5 seconds by itself

# ---- consumers that wait ----

# hang [COUNT]: a client of the server's NFS that says nothing after the server has agreed to TLS; $hanging.
hang() {
	on client
	in_background "$dir/hang.log" $in rpc_tls.py hang "$server" "${1:-1}"
	hanging=$!
	wait_for 9 grep -q agreed "$dir/hang.log" && wait_for 9 requests_in_flight server "${1:-1}"
}

# let_go: the server's kernel has no such connection any more, though the client keeps its end.
let_go() {
	on server
	! $in ss -Htne 'sport = :2049' 2>/dev/null | grep 'ino:[1-9]'
}

# deaf: on the client's machine, a server that says nothing after it has agreed to TLS, and a mount that waits for it.
deaf() {
	on client
	in_background "$dir/deaf.log" $in rpc_tls.py deaf 20049
	deaf=$!
	wait_for 9 grep -q listening "$dir/deaf.log"
	in_background "$dir/mount.log" $in mount.nfs 127.0.0.1:/ "$mountpoint" \
		-o vers=4.2,xprtsec=tls,retry=0,port=20049
	mounting=$!
	wait_for 9 grep -q agreed "$dir/deaf.log" && wait_for 9 requests_in_flight client 1
}

# asks_again: the mount that waits does, so its kernel has heard of the end.
asks_again() {
	[ "$(grep -c agreed "$dir/deaf.log")" -ge 2 ]
}

end_deaf() {
	kill -KILL "$mounting" 2>/dev/null
	end "$deaf"
}

# closed LOG FROM TO: the connection has ended after so many seconds.
closed() {
	wait_for 70 grep -q closed "$1" && cat "$1" &&
		awk -v from="$2" -v to="$3" '/^closed/ { exit !($3 >= from && $3 <= to) }' "$1"
}

restart() { # MACHINE [KEY...]: further ones of its service
	{
		echo "workers = 4"
		"ktlsd_$1" "$1"
		printf "%s\n" "$2"
	} >"$dir/config"
	start_device "$1" <"$dir/config"
}

gone() {
	! kill -0 "$1" 2>/dev/null
}

# ends_badly PID: by itself, and says so to a service manager.
ends_badly() {
	wait_for 9 ended "$1"
	wait "$1"
	[ $? = 1 ]
}

ended() { # a child that nobody has waited for yet is a zombie
	! grep -q '^State:[[:space:]]*[^Z]' "/proc/$1/status" 2>/dev/null
}

# ---- ends ----

make_nfs
restart server ''
restart client ''
check "a mount" usually mounts mtls

supervisor=$(supervisor_of server)
check "a client that says nothing" hang
kill -KILL "$agent_server"
check "the server's agent is killed: its kernel hears of it and closes" within $server_early let_go
check "... the supervisor has ended" wait_for 9 gone "$supervisor"
restart server ''
check "... a new agent takes requests" mounts mtls

check "a server that says nothing" deaf
kill -KILL "$agent_client"
restart client ''
check "the client's agent is killed: the kernel hears of it, and asks the new one" within $early asks_again
end_deaf
check "... which takes requests" mounts mtls

# An agent that has no privilege can end connections only.
check "a client that says nothing, again" hang
kill -KILL "$(supervisor_of server)"
check "the supervisor is killed: the connection ends" closed "$dir/hang.log" 0 $server_early
check "... the agent ends, too, and not with success" ends_badly "$agent_server"
check "... and says why" log_of server "takes the kernel's requests .* has ended"
restart server ''
check "... a new start brings both back" mounts mtls

# ---- too late ----

# in_time MACHINE: the agent gave it up by itself, the supervisor did not have to.
in_time() {
	log_of "$1" "the handshake took longer than 2000 ms" && ! grep "the agent did not answer in time" "$dir/$1/agent.log"
}

for machine in server client; do
	stop_agent_of $machine
	restart $machine "timeout = 2"
done
check "a client that says nothing for longer than the service's timeout" hang
check "... is given up by then" closed "$dir/hang.log" 1.5 4.5
check "... by the agent" in_time server
check "a server that says nothing for longer than the service's timeout" deaf
check "... is given up by then" closed "$dir/deaf.log" 1.5 $early
check "... by the agent" in_time client
end_deaf
for machine in server client; do
	stop_agent_of $machine
	restart $machine ''
done
check "... a mount" mounts tls

# ---- stopped ----

supervisor=$(supervisor_of server)
check "a client that says nothing, once more" hang
kill -STOP "$supervisor"
end "$hanging"
check "the supervisor stands still: the agent does not" wait_for 9 eval \
	'KTLSD_CONTROL=$dir/server/control ktlsctl status | grep -q " 0 in flight"'
kill -CONT "$supervisor"
check "... and when it goes on, so does all" mounts tls

kill -STOP "$agent_server"
on client
in_background "$dir/hang.log" $in rpc_tls.py hang "$server"
check "the agent stands still: the kernel does not wait for it for ever" closed "$dir/hang.log" 0 30
check "... and the supervisor says so" wait_for 30 grep -q "the agent did not answer in time" "$dir/server/agent.log"
kill -CONT "$agent_server"
check "... and when it goes on, so does all" mounts tls

# ---- consumers that give up ----

stop_agent_of client
restart client 'timeout = 30'
check "a server that says nothing, again" deaf
kill -KILL "$mounting"
check "the mount is killed: when its kernel cancels the request, it ends" within 15 requests_in_flight client 0
check "... and not by the agent's clock" log_of client "the peer closed the connection in the middle"
end "$deaf"
check "... and the next mount goes well" mounts tls
check "a client that says nothing and leaves" hang
end "$hanging"
check "... is no request any more" within $early requests_in_flight server 0

# ---- at a time ----

# shake COUNT [AT-A-TIME]: handshakes, of which none fails
shake() {
	on client
	$in rpc_tls.py shake "$server" "$1" "${2:-1}" "$dir/pki/ca.pem" "$dir/pki/client.pem" "$dir/pki/client.key" >"$dir/shaken"
	cat "$dir/shaken"
	grep -qx "$1 went well" "$dir/shaken"
}

check "three clients that say nothing" hang 3
check "... and a mount that does not wait for them" soon mounts mtls
end "$hanging"
check "sixty handshakes at a time, and none is lost" shake 60 60

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


look() {
	supervisor=$(supervisor_of server)
	look_keys=$(keys) look_agent=$(descriptors "$agent_server") look_supervisor=$(descriptors "$supervisor")
	look_resident=$(($(resident "$agent_server") + $(resident "$supervisor")))
}

check "some handshakes" shake 50
wait_for 5 requests_in_flight server 0
look
keys=$look_keys agent_files=$look_agent supervisor_files=$look_supervisor resident=$look_resident
check "$shakes handshakes" shake "$shakes"
wait_for 5 requests_in_flight server 0
look
check "... leave no keys ($keys, then $look_keys)" [ "$look_keys" -le "$keys" ]
check "... no descriptors" [ "$look_agent.$look_supervisor" = "$agent_files.$supervisor_files" ]
check "... and no memory ($resident KB, then $look_resident)" [ $((look_resident - resident)) -lt 1000 ]

# ---- rights and configuration ----

stop_device server
stop_agent_of client
agent=''
on client
says "without CAP_NET_ADMIN it says what to do" "AmbientCapabilities=CAP_NET_ADMIN" -- \
	timeout 20 $in setpriv --bounding-set -net_admin ktlsd --config "$dir/client/ktlsd.conf"
chmod 711 "$dir"
chmod -R o+rX "$dir/pki" "$dir/client" "$dir/server"
chmod o+w "$dir/client" "$dir/server"
for machine in server client; do
	chmod o+r "$dir/pki/$machine.key"
	KTLSD_UNDER="setpriv --no-new-privs --reuid nobody --regid nogroup --clear-groups --inh-caps +net_admin --ambient-caps +net_admin" \
		restart $machine "readable_key = accept"
done
check "both ends as an ordinary user with that capability: a mount" mounts mtls
for machine in server client; do
	check "... the $machine's agent has no privilege, and its supervisor that one" few_rights $machine
done
stop_agents
printf '[service web]\nrole = client\nallow_everyone = yes\n' >"$dir/config"
start_device client <"$dir/config"
reconfigure client none
check "a first service for the kernel takes a restart, it says" log_of client 'with "kernel".*come into force with a restart only'
stop_agent_of client
agent=''
finish

#!/bin/sh
# SPDX-License-Identifier: MIT
# Without a listener of the server's: addresses and sockets of the configuration, backends that come for what is ready, and
# ktls-inetd, which runs a command for each connection.
# shellcheck disable=SC2317 # functions are called by name
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/lib.sh"

make_pki
chmod 755 "$dir"
next_port
four=$port
next_port
six=$port
config() {
	cat <<END
workers = 2
$(server_service web)
listen = 127.0.0.1:$four, [::1]:$six
ready_socket = $dir/ready
allow_users = 65534
$(server_service named)
END
}

# inetd OPTION... -- COMMAND: $inetd is its pid.
inetd() {
	in_background "$dir/inetd.log" ktls-inetd "$@"
	inetd=$!
}

receivers_are() {
	[ "$(agent_status '[.listeners[] | .receivers] | add')" = "$1" ]
}

# ask TEXT [OPTION...]: what a server says to a line; its stream has to end in order.
ask() {
	ask_text=$1
	shift
	printf '%s\n' "$ask_text" | timeout 10 openssl s_client -connect "127.0.0.1:$port" -CAfile "$dir/pki/ca.pem" \
		-verify_return_error -quiet -no_ign_eof "$@" 2>/dev/null
}

shake_hands() {
	timeout 5 openssl s_client -connect "127.0.0.1:$port" -CAfile "$dir/pki/ca.pem" -brief </dev/null
}

start_agent <<END
$(config)
END
port=$four
check "both addresses are listened on" eval "listens_on $four && listens_on $six"
in_background "$dir/early" s_client
early=$!
sleep 0.5
says "nobody receives: nothing is accepted" '^0$' -- agent_status '[.listeners[] | .accepted] | add'

# shellcheck disable=SC2016 # for the command's shell
inetd --ready "$dir/ready" -- sh -c 'echo "welcome $REMOTE_ADDR $SSL_PROTOCOL $SSL_TLS_SNI $TCPLOCALPORT"'
wait $early
says "who came before the backend is served" "welcome 127.0.0.1 TLS 1.3 .*$four" -- cat "$dir/early"
says "IPv6" "welcome ::1 TLS 1.3 localhost $six" -- s_client -connect "[::1]:$six" -servername localhost
says "its end comes in order" 'closed|read:errno=0' -- s_client
end $inetd
check "the backend has left" wait_for 2 receivers_are 0

inetd --ready "$dir/ready" cat
check "a backend has come" wait_for 2 receivers_are 1
# 1 MB there and back
head -c 1000000 /dev/urandom >"$dir/data"
# shellcheck disable=SC2094 # both only read
echo_back() {
	socat -t 10 "OPENSSL:localhost:$port,cafile=$dir/pki/ca.pem" - <"$dir/data" | cmp - "$dir/data"
}
if command -v socat >/dev/null; then
	check "a megabyte there and back through cat" echo_back
else
	skip "a megabyte there and back through cat" "no socat"
fi

# Several backends, each with some of the work.
in_background "$dir/second" setpriv --reuid 65534 --clear-groups ktls-inetd --ready "$dir/ready" -- sh -c 'echo second'
second=$!
check "a backend of a user who may have the service" wait_for 2 receivers_are 2
in_background "$dir/third" setpriv --reuid 65533 --clear-groups ktls-inetd --ready "$dir/ready" -- sh -c 'echo third'
third=$!
check "one who may not is turned away" wait_for 2 grep -q 'turned away by the agent: the user may not use' "$dir/third"
end $third
both_have_work() {
	for _ in $(seq 20); do
		timeout 2 openssl s_client -connect "127.0.0.1:$port" -quiet </dev/null 2>/dev/null
	done | grep -q second
}
check "two backends share the work" both_have_work
end $second

# Backends that leave sockets behind, sent to the agent and never received, whose closing takes a minute.
cat >"$dir/leave_behind.py" <<'END'
import socket, struct, sys, time
listener = socket.create_server(("127.0.0.1", 0))
peers = []
for _ in range(300):
    peer = socket.socket()
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    peer.connect(listener.getsockname())
    peers.append(peer)
    lingering, _ = listener.accept()
    lingering.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    lingering.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 60))
    lingering.setblocking(False)
    try:
        while True:
            lingering.send(bytes(65536))
    except BlockingIOError:
        pass
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as backend:
        backend.connect(sys.argv[1])
        socket.send_fds(backend, [b"x"], [lingering.fileno()])
        lingering.close()  # not the last: that lies there until the agent goes on
print("left behind", flush=True)
time.sleep(60)
END
kill -STOP "$agent"
setpriv --reuid 65534 --clear-groups python3 "$dir/leave_behind.py" "$dir/ready" >"$dir/leaver" 2>&1 </dev/null &
leaver=$!
jobs="$jobs $leaver"
check "backends leave behind what is slow to close" wait_for 20 grep -q 'left behind' "$dir/leaver"
kill -CONT "$agent"
sleep 0.3
says "the agent does not feel it" 'Verification: OK' -- shake_hands
says "their user is turned away" 'turned away by the agent: busy: .*whose closing hangs' -- \
	timeout 5 setpriv --reuid 65534 --clear-groups ktls-inetd --ready "$dir/ready" true
kill $leaver
sleep 0.3
in_background "$dir/second" setpriv --reuid 65534 --clear-groups ktls-inetd --ready "$dir/ready" true
second=$!
check "and let in again when they are closed" wait_for 2 receivers_are 2

write_config <<END
$(config | grep -v allow_users)
END
check "a reload takes their right away" ktlsctl reload
check "their backend is let go" wait_for 2 receivers_are 1
wait $second
says "it is told" 'turned away by the agent: the user may not use' -- cat "$dir/second"
says "the other one goes on" 'Verification: OK' -- shake_hands
write_config <<END
$(config)
END
ktlsctl reload >"$dir/reload"

# A restart of the agent: the backend comes back by itself.
stop_agent
start_agent <<END
$(config)
END
check "after a restart the backend comes back" wait_for 5 receivers_are 1
end "$inetd"

# shellcheck disable=SC2016
inetd --max 2 --ready "$dir/ready" -- sh -c 'read line; echo "$line"; sleep 1'
at_a_time() {
	for _ in 1 2 3 4; do
		ask hello >"$dir/one" &
		children="${children:-} $!"
	done
	sleep 0.7
	[ "$(pgrep -c -P "$inetd")" = 2 ]
}
check "two commands at a time" at_a_time
# shellcheck disable=SC2086 # a list
wait $children
end "$inetd"

# A backend without a place beside one that has nothing to do.
inetd --max 1 --ready "$dir/ready" -- sh -c 'echo busy; cat'
busy=$inetd
in_background "$dir/kept" s_client
wait_for 5 grep -q busy "$dir/kept"
in_background "$dir/idle.log" ktls-inetd --ready "$dir/ready" -- echo idle
idle=$!
check "two backends, one of them busy" wait_for 2 receivers_are 2
# One client may have to wait at the busy one, whose turn it seems to be; no more.
for one in 1 2; do
	in_background "$dir/waits.$one" s_client
	wait_for 1 grep -q idle "$dir/waits.$one"
done
one_after_the_other() {
	for time in $(seq 20); do
		timeout 1 openssl s_client -connect "127.0.0.1:$port" -quiet </dev/null 2>/dev/null | grep -q idle || {
			echo "client $time"
			return 1
		}
	done
}
check "20 clients, one after the other: each is served within a second, by the other one" one_after_the_other
end $idle
end "$busy"

inetd --direct --ready "$dir/ready" -- sh -c 'echo direct'
says "--direct: the command has the socket itself" direct -- s_client
end "$inetd"

next_port
inetd --listen "127.0.0.1:$port" --service named -- sh -c 'echo its own listener'
wait_for 5 listens_on "$port"
says "ktls-inetd hands over a listener of its own" 'its own listener' -- s_client
end "$inetd"
refused "a service that is not there" ktls-inetd --listen 127.0.0.1:0 --service nobody true
says "it says so" 'no such service' -- ktls-inetd --listen 127.0.0.1:0 --service nobody true
says "no agent: it says what to do" 'does ktlsd run, with ready_socket' -- ktls-inetd --ready "$dir/nothing" true
stop_agent

# What is wrong with a configuration.
# complains NAME PATTERN <SERVICE KEYS
complains() {
	{
		server_service web
		cat
	} >"$dir/bad.conf"
	says "$1" "$2" -- ktlsd --check "$dir/bad.conf"
}
complains "an address without a port" 'bad.conf:5: listen = 127.0.0.1; expected ADDRESS:PORT' <<END
listen = 127.0.0.1
ready_socket = /run/x
END
complains "a name" 'bad.conf:5: listen = localhost:80; expected' <<END
listen = localhost:80
ready_socket = /run/x
END
complains "nobody who receives" 'bad.conf:5: service "web" listens, and nobody.*expected ready_socket' <<END
listen = 127.0.0.1:80
END

# ---- sockets of the service manager's, under the service's name ----

next_port
four=$port
next_port
six=$port
next_port
others=$port
agent_log=$dir/agent.log
write_config <<END
$(server_service web)
ready_socket = $dir/ready
END
in_background "$agent_log" manager.py "$dir" --socket "web=127.0.0.1:$four" --datagram "web=127.0.0.1:$four" \
	--socket "web=[::1]:$six" --socket "nobodys=127.0.0.1:$others" ktlsd --config "$agent_config"
manager=$!
wait_for 20 ktlsctl status --json >/dev/null || bail_out "the agent does not serve"
agent=$(cat "$dir/pid")
# shellcheck disable=SC2016 # for the command's shell
inetd --ready "$dir/ready" -- sh -c 'echo "by activation $TCPLOCALIP $TCPLOCALPORT"'
says "a socket by activation" "by activation 127.0.0.1 $four" -- s_client -connect "127.0.0.1:$four"
says "another, IPv6" "by activation ::1 $six" -- s_client -connect "[::1]:$six"
check "one for UDP is of no use, and the log says so" \
	agent_log_has 'a socket for service web from the service manager is of no use: the listener is not a TCP socket'
check "so it is with one that has no service" agent_log_has 'passed a descriptor that nothing uses, "nobodys"'
another_agent() {
	[ "$(cat "$dir/pid")" != "$agent" ] && ktlsctl status --json >/dev/null
}
kill "$agent"
check "the next agent serves" wait_for 10 another_agent
for address in "127.0.0.1:$four" "[::1]:$six"; do
	says "$address as before" 'by activation' -- s_client -connect "$address"
done
end "$inetd"
end $manager
agent=''
finish

#!/bin/sh
# SPDX-License-Identifier: MIT
# ktls-inetd with a static program, BusyBox as Debian has it: files over https, from addresses of the configuration and from
# sockets that a service manager passes (manager.py plays it), through restarts of the agent under load; how it is ended, and clients
# that would keep its places for ever.
# shellcheck disable=SC2016,SC2034,SC2317 # expanded later; functions are called by name
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=run_lib.sh
. "$(dirname "$0")/run_lib.sh"

make_pki
next_port
configured=$port

# inetd OPTION... -- COMMAND: $inetd is its pid, what it says in $dir/inetd.log. A shell's "&" has SIGINT ignored.
inetd() {
	in_background "$dir/inetd.log" env --default-signal ktls-inetd "$@"
	inetd=$!
}

has_come() {
	[ "$(agent_status '[.listeners[] | .receivers] | add')" = 1 ]
}

has_ended() {
	! kill -0 "$inetd"
}

# ends_by SIGNAL
ends_by() {
	kill -"$1" "$inetd" && wait_for 2 has_ended && wait "$inetd"
}

inetd_says() {
	wait_for 5 grep -q "$1" "$dir/inetd.log"
}

in_clear() {
	curl -sS --max-time 10 --http0.9 "http://127.0.0.1:$port/small" >"$dir/clear" 2>&1
	! grep -aq hello "$dir/clear"
}

at_once() {
	https -Z --parallel-max 20 -o "$dir/got.#1" "$(url small)?[1-40]" &&
		for got in "$dir"/got.*; do cmp "$got" "$dir/www/small" || return; done
	rm "$dir"/got.*
}

serves_files() {
	check "$name: a file" fetch small
	check "$name: 3 MB" fetch large
	check "$name: TLS 1.2" fetch large --tls-max 1.2
	check "$name: 40 connections, 20 at once" at_once
	refused "$name: in clear" curl -sS --max-time 10 "http://127.0.0.1:$port/small"
	check "$name: not a word of the file in clear" in_clear
}

says "BusyBox is static: ktls-run refuses it" 'static program' 'ktls-inetd' -- ktls-run -- busybox true

# ---- an address of the configuration ----

config() {
	cat <<-END
		$(server_service web)
		listen = 127.0.0.1:$configured
		ready_socket = $dir/ready
		$(server_service handed)
	END
}

start_agent <<END
$(config)
END
port=$configured
name="a static server on a configured address"
inetd --ready "$dir/ready" -- busybox httpd -i -h "$dir/www"
serves_files

# ---- how it is ended ----

check "SIGTERM ends it" ends_by TERM
inetd --listen 127.0.0.1:$((port + 1)) --service handed -- cat
check "it listens by itself" wait_for 5 listens_on $((port + 1))
check "SIGINT ends it" ends_by INT

inetd --ready "$dir/ready" -- cat
wait_for 5 has_come
stop_agent
check "without an agent it says what it waits for" inetd_says 'does ktlsd run, with ready_socket.*trying again'
sleep 0.5
check "it says so once" [ "$(grep -c 'trying again' "$dir/inetd.log")" = 1 ]
check "SIGTERM ends it while there is no agent" ends_by TERM

start_agent <<END
$(config)
END
inetd --listen 127.0.0.1:$((port + 1)) --service handed -- cat
wait_for 5 listens_on $((port + 1))
kill -STOP "$agent"
inetd --listen 127.0.0.1:$((port + 2)) --service handed -- cat
sleep 0.3
check "SIGTERM ends it while the agent does not answer" ends_by TERM
kill -CONT "$agent"

# A connection's process, and the command behind it, can be ended, too.
inetd --ready "$dir/ready" -- sh -c 'echo here; grep -E "SigBlk|SigIgn" /proc/self/status; cat; echo its end >&2'
in_background "$dir/client" s_client
client=$!
check "a connection" wait_for 5 grep -q here "$dir/client"
between=$(pgrep -P "$inetd")
command=$(pgrep -P "$between")
says "the command blocks no signal and ignores none" 'SigBlk:.0+$' 'SigIgn:.0+$' -- cat "$dir/client"
says "nor does the process between, but SIGPIPE" 'SigBlk:.0+$' 'SigIgn:.0*1000$' -- cat "/proc/$between/status"
check "SIGTERM ends ktls-inetd and leaves them alone" \
	eval 'ends_by TERM && kill -0 "$between" "$command" "$client"'
kill "$between"
check "SIGTERM ends the process between" wait_for 2 eval '! kill -0 "$between"'
check "the command reads the end" inetd_says 'its end'
check "and the client" wait_for 2 eval '! kill -0 "$client"'
stop_agent

# ---- clients that keep their places ----

# visitor NAME [OPTION...]: stays, and says nothing; $visitor is its pid, what it is told in $dir/NAME.
visitor() {
	visitor_log=$dir/$1
	shift
	in_background "$visitor_log" s_client "$@"
	visitor=$!
}

# is_served NAME [OPTION...]: a visitor that the command has greeted.
is_served() {
	visitor "$@"
	wait_for 5 grep -q here "$visitor_log"
}

served_are() {
	[ "$(pgrep -c -P "$inetd")" = "$1" ]
}

# with_limit PROCESSES OPTION...: ktls-inetd as a user who may have so many.
with_limit() {
	with_limit=$1
	shift
	in_background "$dir/inetd.log" prlimit --nproc="$with_limit" setpriv --reuid 65534 --clear-groups ktls-inetd "$@"
	inetd=$!
}

start_agent <<END
$(config | sed '/^listen/a allow_users = 65534')
END
port=$configured
inetd --max 3 --max-per-peer 2 --ready "$dir/ready" -- sh -c 'echo here; cat'
check "one of an address" is_served first
says "one that vanishes would be noticed: keepalive" 'timer:\(keepalive,(1min|[0-9.]+sec),' -- \
	ss -tnoH state established "sport = :$port"
check "two of an address" is_served second
says "a third one gets an alert" 'alert internal error' -- s_client
check "and the log says why" inetd_says '127.0.0.1: turned away, 2 connections of its address are served (--max-per-peer)'
check "another address is served" is_served other -bind 127.0.0.2:0
ends_by TERM

inetd --max 4 --ready "$dir/ready" -- sh -c 'echo here; cat'
check "one address has three quarters of the places" eval 'is_served 1 && is_served 2 && is_served 3'
says "and no more" 'alert internal error' -- s_client
ends_by TERM

inetd --idle 1 --ready "$dir/ready" -- cat
visitor silent
check "a silent client has a place" wait_for 5 served_are 1
check "for --idle seconds" wait_for 3 served_are 0
wait "$visitor"
says "it gets an alert" 'alert internal error' -- cat "$dir/silent"
check "and the log says why" inetd_says '127.0.0.1: nothing went either way for 1 s (--idle)'
seldom() {
	for _ in 1 2 3 4 5; do
		echo word
		sleep 0.5
	done | timeout 10 openssl s_client -connect "127.0.0.1:$port" -CAfile "$dir/pki/ca.pem" -quiet -no_ign_eof 2>/dev/null
}
says "who speaks now and then is not cut off" '^5$' -- eval 'seldom | grep -c word'
ends_by TERM

cat >"$dir/lingers.py" <<'END'
import socket, ssl, sys, time
context = ssl.create_default_context(cafile=sys.argv[2])
with context.wrap_socket(socket.create_connection(("127.0.0.1", int(sys.argv[1]))), server_hostname="localhost") as tls:
    while tls.recv(100):
        pass
    print("the end", flush=True)
    while True:
        tls.send(b"x")
        time.sleep(0.5)
END
inetd --ready "$dir/ready" -- echo bye
in_background "$dir/lingers" python3 "$dir/lingers.py" "$port" "$dir/pki/ca.pem"
check "a client speaks on behind the end" wait_for 10 grep -q 'the end' "$dir/lingers"
check "it keeps its place for a moment only" wait_for 4 served_are 0
ends_by TERM

for most in 1 2; do
	with_limit $most --ready "$dir/ready" -- cat
	wait_for 5 has_come
	says "no more than $most of its processes: the client gets an alert" 'alert internal error' -- s_client
	check "and the log says why" inetd_says '127.0.0.1: fork: Resource temporarily unavailable'
	ends_by TERM
done
stop_agent

says "a number that is none" '--max 3x; expected a number from 1 to' -- ktls-inetd --max 3x --ready "$dir/ready" cat
says "one that is too large" '--idle 99999999999; expected a number from 0 to' -- \
	ktls-inetd --idle 99999999999 --ready "$dir/ready" cat
says "--idle and --direct" '--idle does not go with --direct' -- ktls-inetd --direct --idle 5 --ready "$dir/ready" cat

# ---- who holds the port while there is no agent ----

start_agent <<END
$(config)
END
next_port
inetd --listen "127.0.0.1:$port" --service handed -- echo welcome
wait_for 5 listens_on "$port"
stop_agent
visitor early
port=$configured
says "a configured address, and no agent: clients are refused" 'Connection refused' -- s_client
check "ktls-inetd's own listener, and no agent: they wait" inetd_says 'trying again'
start_agent <<END
$(config)
END
wait "$visitor"
says "for the next one" welcome -- cat "$dir/early"
ends_by TERM
stop_agent

# ---- what it finds, and what it is sent ----

inetd_without_descriptors() {
	in_background "$dir/inetd.log" sh -c 'exec ktls-inetd "$@" <&- >&-' sh "$@"
	inetd=$!
}

start_agent <<END
$(config)
END
port=$configured
for option in '' --direct; do
	# shellcheck disable=SC2086 # perhaps none
	inetd_without_descriptors $option --ready "$dir/ready" -- sh -c 'echo it is said'
	says "begun without descriptors 0 and 1 ${option:+($option)}" 'it is said' -- s_client
	ends_by TERM
done

# Passes on what the agent says of a connection, with a socket without TLS in place of the connection.
cat >"$dir/swaps.py" <<'END'
import os, socket, sys
front = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
front.bind(sys.argv[2])
front.listen()
print("swaps", flush=True)
back = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
back.connect(sys.argv[1])
inetd, _ = front.accept()
listener = socket.create_server(("127.0.0.1", 0))
victim = socket.create_connection(listener.getsockname(), timeout=5)
plain, _ = listener.accept()
message, descriptors, _, _ = socket.recv_fds(back, 65536, 4)
socket.send_fds(inetd, [message], [plain.fileno()])
plain.close()
try:
    print("in clear:", victim.recv(100))
except OSError as error:
    print("in clear:", error)
END
for option in '' --direct; do
	rm -f "$dir/front"
	in_background "$dir/swaps" python3 "$dir/swaps.py" "$dir/ready" "$dir/front"
	swaps=$!
	wait_for 5 grep -q swaps "$dir/swaps"
	# shellcheck disable=SC2086 # perhaps none
	inetd $option --ready "$dir/front" -- echo secret
	in_background "$dir/client" s_client
	wait $swaps
	says "a socket without TLS is not served ${option:+($option)}" "^in clear: b''" -- cat "$dir/swaps"
	wait_for 5 grep -q front "$dir/inetd.log"
	says "and the log says why" 'front: a socket came without TLS keys, and is closed; is it ktlsd that sends them\?' -- \
		cat "$dir/inetd.log"
	ends_by TERM
done
stop_agent

# ---- a socket of the service manager's ----

next_port
name="a static server by socket activation"
agent_log=$dir/agent.log
write_config <<END
$(server_service web)
ready_socket = $dir/ready
END
in_background "$agent_log" manager.py "$dir" --socket "web=127.0.0.1:$port" ktlsd --config "$agent_config"
manager=$!
wait_for 20 ktlsctl status --json >/dev/null || bail_out "the agent does not serve"
inetd --ready "$dir/ready" -- busybox httpd -i -h "$dir/www"
serves_files
end "$inetd"

another_agent() {
	[ "$(cat "$dir/pid")" != "$agent" ] && ktlsctl status --json >/dev/null
}

inetd --ready "$dir/ready" -- busybox echo welcome
in_background "$dir/load" load.py "$port" "$dir/pki/ca.pem" 4
load=$!
for time in 1 2 3; do
	sleep 0.7
	agent=$(cat "$dir/pid")
	kill "$agent"
	check "time $time: the next agent serves" wait_for 10 another_agent
done
wait $load
says "through restarts of the agent not one connection was refused or lost" '^refused 0, lost 0, served [1-9][0-9]*$' -- cat "$dir/load"
sed 's/^/# /' "$dir/load"
ends_by TERM
end $manager
agent=''
finish

#!/bin/sh
# SPDX-License-Identifier: MIT
# ktls-inetd with a static program, BusyBox as Debian has it: files over https, from addresses of the configuration and from
# sockets that a service manager passes (manager.py plays it), through restarts of the agent under load; and how it is ended.
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

# ---- a socket of the service manager's ----

next_port
name="a static server by socket activation"
agent_log=$dir/agent.log
write_config <<END
$(server_service web)
ready_socket = $dir/ready
END
in_background "$agent_log" manager.py "$dir" --socket "web=$port" ktlsd --config "$agent_config"
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

#!/bin/sh
# SPDX-License-Identifier: MIT
# What can go wrong around a server with a handed listener (handed.c), or one that knows nothing of it under ktls-run (plain.c): no
# agent, a stopped one, one that restarts under load, services that it may not have, crowds that never speak, a server that ends with
# handshakes under way, too few descriptors. Everything is done to both.
# shellcheck disable=SC2016,SC2034,SC2046,SC2086,SC2317 # expanded later; lists; functions are called by name
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/lib.sh"

make_pki
chmod 755 "$dir"
services() {
	cat <<-END
		$(server_service web)
		allow_everyone = yes
		$(server_service hasty)
		timeout = 2
		$(server_service others)
		allow_users = daemon
		$(client_service client)
	END
}

start() {
	start_agent <<-END
		${1:-}
		$(services)
	END
}

# ---- the two kinds ----

# of_kind SERVICE
of_kind() {
	case $kind in
	handed) echo "handed --again $1" ;;
	run) echo "ktls-run --verbose --service $1 -- plain --wait epoll" ;;
	esac
}

# begin SERVICE OPTION...: a server of this $kind on $port, its pid is $server, what it says in $dir/server.log.
begin() {
	begin_command=$(of_kind "$1")
	shift
	in_background "$dir/server.log" $begin_command "$@"
	server=$!
	wait_for 10 grep -qE '^handed|: the agent accepts' "$dir/server.log" || bail_out "no server: $(cat "$dir/server.log")"
	wait_for 10 grep -q '^port' "$dir/server.log"
	port=$(sed -n 's/^port //p' "$dir/server.log" | head -n 1)
}

end_server() {
	kill "$server" $(pgrep -P "$server")
	wait "$server" 2>/dev/null
}

# begin_load SECONDS
begin_load() {
	in_background "$dir/load" load.py "$port" "$dir/pki/ca.pem" "$1" $([ "$kind" = handed ] || echo --echo)
	load=$!
}

# load_says NAME PATTERN...
load_says() {
	load_name=$1
	shift
	wait $load
	says "$kind: $load_name" "$@" -- cat "$dir/load"
	sed 's/^/# /' "$dir/load"
}

# begin_crowd COUNT PATIENCE: those who are there, and have said what they have to say.
begin_crowd() {
	in_background "$dir/crowd" crowd.py "$port" "$dir/pki/ca.pem" "$1" "$2" silent part hello
	crowd=$!
	wait_for 20 grep -q '^there' "$dir/crowd" || bail_out "no crowd: $(cat "$dir/crowd")"
}

# crowd_says NAME AFTER [HEARD]: when the last of them ended, and what those heard who had not said all of a ClientHello.
crowd_says() {
	wait $crowd
	says "$kind: $1" "^silent: ${3:-.*}hanging 0; the last after $2" "^part: ${3:-.*}hanging 0; the last after $2" \
		"^hello: .*hanging 0; the last after $2" -- cat "$dir/crowd"
	sed 's/^/# /' "$dir/crowd"
}

alerted='internal error [1-9][0-9]*, alert 0, closed 0, reset 0, '

port_is_free() {
	python3 -c 'import socket, sys; socket.create_server(("127.0.0.1", int(sys.argv[1])))' "$port"
}

another_agent() {
	[ "$(cat "$dir/pid")" != "$agent" ] && ktlsctl status --json >/dev/null
}

# ---- what is refused, and what the log says ----

# refusal NAME SERVICE PATTERN... -- PREFIX...
refusal() {
	refusal_name="$kind: $1" refusal_command=$(of_kind "$2") refusal_patterns=''
	shift 2
	while [ "$1" != -- ]; do
		refusal_patterns="$refusal_patterns '$1'"
		shift
	done
	shift
	eval "says \"\$refusal_name\" $refusal_patterns -- timeout 15 \"\$@\" $refusal_command"
}

# One that never answers, for the end.
export KTLSD_HANDOFF="$dir/deaf" KTLSD_CONTROL="$dir/deaf.control"
agent_config=$dir/deaf.conf
services | write_config
in_background "$dir/deaf.log" ktlsd --config "$dir/deaf.conf"
deaf=$!
wait_for 20 ktlsctl status --json >/dev/null || bail_out "the agent does not serve"
kill -STOP $deaf
for kind in handed run; do
	in_background "$dir/deaf.$kind" timeout 30 $(of_kind web)
	waiting="${waiting:-} $!"
done

start
as_bin="setpriv --reuid bin --regid bin --clear-groups"
kind=handed
refusal "no agent" web 'refused: (ENOENT|ECONNREFUSED)' -- env KTLSD_HANDOFF="$dir/nothing"
refusal "no such service" nonsense 'refused: ENOENT: .*no such service' -- env
refusal "a service for others" others 'refused: EACCES: .*may not use' -- $as_bin
refusal "a client's service" client 'refused: EINVAL: ' -- env
kind=run
refusal "no agent" web 'listen ENOENT' 'port [0-9]+, service "web": .*; is it running\?.*--agent' -- env KTLSD_HANDOFF="$dir/nothing"
refusal "no such service" nonsense 'listen ENOENT' 'service "nonsense"' -- env
refusal "a service for others" others 'listen EACCES' 'service "others"' 'allow_users' -- $as_bin
refusal "a client's service" client 'listen EINVAL' 'service "client": .*; ' -- env

for kind in handed run; do
	# ---- crowds ----

	begin hasty
	begin_crowd 300 8
	begin_load 1.5
	load_says "beside 300 clients that never speak, others are served at once" '^refused 0, lost 0, served [1-9]' \
		'^slowest: 1?[0-9]{1,3} ms'
	crowd_says "and those end by the timeout" '[0-3]\.'

	# ---- the server ends ----

	begin_crowd 100 8
	kill -KILL "$server"
	check "$kind: a server is killed with 100 handshakes under way: the port is free" wait_for 2 port_is_free
	crowd_says "and they all end at once" '[01]\.' "$alerted"

	# ---- the agent restarts ----

	begin web --processes 2
	begin_load 3
	for time in 1 2; do
		sleep 0.5
		stop_agent
		sleep 0.2
		start
		sleep 0.5
	done
	load_says "the agent stops and starts, twice, under load: nobody is refused or lost" '^refused 0, lost 0, served [1-9]'
	begin_load 2
	sleep 0.5
	kill -KILL "$agent"
	wait "$agent" 2>/dev/null
	start
	load_says "it is killed under load: nobody is refused" '^refused 0, lost [0-9]+, served [1-9]'
	refused "$kind: and nobody hangs" grep 'timed out' "$dir/load"
	end_server
	check "$kind: the port is free" wait_for 2 port_is_free
done

# A server that goes on without its listener.
cat >"$dir/closes.py" <<END
import signal, socket
listener = socket.create_server(("127.0.0.1", 0))
print("port", listener.getsockname()[1], flush=True)
signal.signal(signal.SIGUSR1, lambda *_: listener.close())
while True:
    signal.pause()
END
in_background "$dir/server.log" ktls-run --service hasty -- python3 "$dir/closes.py"
server=$!
wait_for 10 grep -q '^port' "$dir/server.log"
port=$(sed -n 's/^port //p' "$dir/server.log")
begin_crowd 100 8
kill -USR1 "$server"
check "$kind: a server closes its listener with 100 handshakes under way: the port is free" wait_for 2 port_is_free
crowd_says "and they all end at once" '[01]\.' "$alerted"
check "$kind: and the server goes on" kill "$server"
stop_agent

# ---- descriptors ----

KTLSD_UNDER='prlimit --nofile=200'
start 'max_callers = 2'
KTLSD_UNDER=''
for kind in handed run; do
	begin hasty
	begin_crowd 150 12
	begin_load 3
	load_says "the agent has too few descriptors for a crowd: whoever waits is served" '^refused 0, lost 0, served [1-9]'
	crowd_says "and they end" '.'
	end_server
done
stop_agent

# ---- with a service manager that keeps listeners ----

kind=run
services | write_config
in_background "$agent_log" manager.py "$dir" ktlsd --config "$agent_config"
manager=$!
wait_for 20 ktlsctl status --json >/dev/null || bail_out "the agent does not serve"
begin web --processes 2

# restart_agent SIGNAL
restart_agent() {
	sleep 0.5
	agent=$(cat "$dir/pid")
	kill -"$1" "$agent"
	check "the next agent serves after SIG$1" wait_for 10 another_agent
}

begin_load 3
restart_agent TERM
restart_agent TERM
load_says "listeners are kept: the agent restarts, twice, under load: nobody is refused or lost" '^refused 0, lost 0, served [1-9]'
begin_load 2
restart_agent KILL
load_says "listeners are kept: it is killed under load: nobody is refused" '^refused 0, lost [0-9]+, served [1-9]'
refused "the server noticed nothing" grep 'is gone' "$dir/server.log"
end_server
end $manager
agent=''

# ---- an agent that does not answer ----

for server in $waiting; do
	wait "$server"
	check "the agent does not answer: the server ends" [ $? = 1 ]
done
says "handed: it was told why" 'refused: ETIMEDOUT' -- cat "$dir/deaf.handed"
says "run: and so is who reads its log" 'listen ETIMEDOUT' 'service "web": .*it does not answer' -- cat "$dir/deaf.run"
kill -KILL $deaf
finish

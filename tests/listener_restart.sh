#!/bin/sh
# SPDX-License-Identifier: MIT
# Handed listeners outlive the agent: a service manager keeps them (manager.py plays it), clients and receivers notice nothing.
# And they follow its configuration.
# shellcheck disable=SC2016,SC2317,SC2119 # expanded later; functions are called by name, and without arguments
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/lib.sh"

make_pki
chmod 755 "$dir"
export KTLSD_HANDOFF="$dir/handoff" KTLSD_CONTROL="$dir/control"
agent_log=$dir/agent.log agent_config=$dir/ktlsd.conf
# configure <SERVICES: beside those that are always there.
configure() {
	write_config <<END
workers = 2
$(server_service web)
allow_everyone = yes
$(server_service other)
$(cat)
END
}
configure </dev/null

# start_manager [OPTION...]: $agent is the agent's process from now on.
start_manager() {
	in_background "$agent_log" manager.py "$dir" "$@" ktlsd --config "$agent_config"
	manager=$!
	wait_for 20 ktlsctl status --json >/dev/null || bail_out "the agent does not serve"
	agent=$(cat "$dir/pid")
}

# another_agent: the manager has started one, and it serves.
another_agent() {
	[ "$(cat "$dir/pid")" != "$agent" ] && ktlsctl status --json >/dev/null
}

kept() {
	[ "$(cat "$dir/kept")" = "$1" ]
}

# hand_over SERVICE [OPTION...]: to a server of ours; its port is $port, what it says $dir/handed.SERVICE.
# shellcheck disable=SC2086 # $as is a command with its options
hand_over() {
	in_background "$dir/handed.$1" ${as:-} handed "$@"
	handed=$!
	wait_for 10 grep -q '^handed' "$dir/handed.$1" || bail_out "no listener: $(cat "$dir/handed.$1")"
	port=$(sed -n 's/^port //p' "$dir/handed.$1")
}

port_is_free() {
	! listens_on "$(sed -n 's/^port //p' "$dir/handed.$1")"
}

client_is_served() {
	s_client | grep -q welcome
}

start_manager
hand_over other
other=$handed
hand_over web --processes 3
check "two listeners: four descriptors are kept" wait_for 2 kept 4
check "they are served" client_is_served

for signal in TERM KILL; do
	in_background "$dir/load.$signal" load.py "$port" "$dir/pki/ca.pem" 6
	load=$!
	sleep 1
	for time in 1 2 3; do
		kill -$signal "$agent"
		check "SIG$signal, time $time: the next agent serves" wait_for 10 another_agent
		agent=$(cat "$dir/pid")
		sleep 0.5
	done
	wait $load
	# Handshakes that were under way when it was killed end with it; after SIGTERM there are none.
	case $signal in
	TERM) says "not one connection was refused or lost" '^refused 0, lost 0, served [1-9][0-9][0-9]*$' -- cat "$dir/load.$signal" ;;
	KILL) says "not one connection was refused" '^refused 0, lost [0-9]+, served [1-9][0-9][0-9]*$' -- cat "$dir/load.$signal" ;;
	esac
	sed 's/^/# /' "$dir/load.$signal"
done
refused "the receivers noticed nothing" grep end "$dir/handed.web"
check "the other listener, too, is there still" \
	[ "$(agent_status '[.listeners[] | select(.service == "other")] | length')" = 1 ]

# ---- reload ----

for _ in 1 2 3; do
	ktlsctl reload >"$dir/reload"
	sleep 1.1 # the configuration before is freed, and its memory taken for the next
done
check "reloads while nobody came: the next is served" client_is_served

configure <<END
$(server_service gone)
$(server_service theirs)
allow_users = 65534
END
ktlsctl reload >"$dir/reload"
web_port=$port
hand_over gone
as='setpriv --reuid 65534 --clear-groups'
hand_over theirs
as='' port=$web_port
check "two more are kept" wait_for 2 kept 8
configure <<END
$(server_service theirs)
END
ktlsctl reload >"$dir/reload"
for name in gone theirs; do
	check "$name, in idleness: its receivers are told" wait_for 2 grep -q 'end: ENOTCONN' "$dir/handed.$name"
	check "$name: the port is free" wait_for 2 port_is_free $name
done
check "and the manager gives them up" wait_for 2 kept 4
check "the others stay" client_is_served

# Those who come while there is no agent at all.
touch "$dir/pause"
kill -KILL "$agent"
sleep 0.2
in_background "$dir/early" s_client
early=$!
sleep 1
rm "$dir/pause"
check "after a pause the next agent serves" wait_for 10 another_agent
agent=$(cat "$dir/pid")
wait $early
says "who came in between was served" welcome -- cat "$dir/early"

# The receiver ends: it is given up for good.
kill "$other"
check "nobody receives: the manager gives it up" wait_for 5 kept 2

# The service is not there any more.
write_config <<END
$(server_service another)
END
kill -KILL "$agent"
check "the next agent has no such service" wait_for 10 another_agent
agent=$(cat "$dir/pid")
check "the log says that the listener is let go" wait_for 5 grep -q 'service web .* is let go: its service is no longer there' "$agent_log"
check "and the manager gives it up" wait_for 5 kept 0
check "its receivers are told" wait_for 5 grep -q 'end: ENOTCONN' "$dir/handed.web"
end $manager

# ---- a store without room ----

# It says nothing to the agent: a listener that is not kept lives as long as the agent, and is handed over again.
configure </dev/null
start_manager --store-max 3
hand_over web
web_port=$port
hand_over other --again
check "room for three: half of the second listener is kept" wait_for 2 kept 3
check "it is served all the same" client_is_served
kill "$agent"
check "the next agent serves" wait_for 10 another_agent
agent=$(cat "$dir/pid")
check "it lets go what is there by halves" agent_log_has 'an earlier agent left is let go: .* is FileDescriptorStoreMax in the unit large enough'
check "whose server hands it over again" wait_for 5 eval '[ "$(grep -c "^handed" "$dir/handed.other")" = 2 ]'
check "and is served" client_is_served
port=$web_port
check "so is the one that was kept" client_is_served
refused "whose receivers noticed nothing" grep end "$dir/handed.web"
end $manager

start_manager --store-max 0
hand_over web --again
check "room for none: it is served" client_is_served
check "nothing is kept" kept 0
for signal in TERM KILL; do
	kill -$signal "$agent"
	check "the next agent serves after SIG$signal" wait_for 10 another_agent
	agent=$(cat "$dir/pid")
	check "the listener is handed over again, and served" client_is_served
done
end $manager
agent=''
finish

# shellcheck shell=sh
# SPDX-License-Identifier: MIT
# For scripts about the kernel's requests, to be sourced: two devices, "server" and "client", joined by a cable, each with an
# agent: ktlsd or tlshd. KTLSD_AGENTS names those of server and client, such as "tlshd:tlshd ktlsd:tlshd".
# shellcheck disable=SC2034,SC2086,SC2154,SC2317 # for the script; commands with their options; set by eval; called by name
# shellcheck source=tests/devices_lib.sh
. "$(dirname "$0")/devices_lib.sh"
# shellcheck source=tests/kernel_lib.sh
. "$(dirname "$0")/kernel_lib.sh"

server=192.0.2.1 client=192.0.2.2 server6=2001:db8::1 client6=2001:db8::2
: "${KTLSD_AGENTS:=ktlsd:ktlsd ktlsd:tlshd tlshd:ktlsd}"

# make_machines MODULE...: with the kernel's parts that the script is about.
make_machines() {
	for module in tls veth netlink_diag "$@"; do
		modprobe -q "$module" || skip_all "this kernel has no $module"
	done
	make_device server
	make_device client
	join_devices server client
	set_addresses server $server $server6
	set_addresses client $client $client6
}

# ---- agents ----

# start_agents SERVER:CLIENT
start_agents() {
	start_agent_of server "${1%:*}"
	start_agent_of client "${1#*:}"
}

# start_agent_of MACHINE AGENT [ARGUMENT...]: with what the script's function AGENT_MACHINE prints.
start_agent_of() {
	agent_machine=$1 agent_program=$2
	shift 2
	case $agent_program in
	ktlsd | tlshd) ;;
	*) bail_out "'$agent_program' is no agent: ktlsd and tlshd are" ;;
	esac
	"${agent_program}_$agent_machine" "$@" >"$dir/config"
	if [ $agent_program = ktlsd ]; then
		start_device $agent_machine <"$dir/config"
	else
		start_tlshd $agent_machine <"$dir/config"
	fi
}

start_tlshd() { # MACHINE <CONFIG
	command -v tlshd >/dev/null || skip_all "tlshd is not here (ktls-utils)"
	{
		printf '[debug]\nloglevel=1\n'
		cat
	} >"$dir/$1/tlshd.conf"
	on "$1"
	in_background "$dir/$1/agent.log" $in tlshd -s -c "$dir/$1/tlshd.conf"
	eval "agent_$1=$!"
	wait_for 10 registered || bail_out "tlshd of $1: $(tail -n 5 "$dir/$1/agent.log")"
}

# reconfigure MACHINE ARGUMENT...: a ktlsd that runs takes what ktlsd_MACHINE prints now.
reconfigure() {
	agent_machine=$1
	shift
	"ktlsd_$agent_machine" "$@" >"$dir/config"
	reload_device $agent_machine <"$dir/config"
}

stop_agent_of() { # MACHINE
	eval "end \$agent_$1"
}

stop_agents() {
	stop_agent_of server
	stop_agent_of client
}

# supervisor_of MACHINE: ktlsd's process that takes the kernel's requests.
supervisor_of() {
	on "$1"
	$in ktlsctl status --json | jq -r .kernel_requests.pid
}

# ---- what is looked at ----

requests_in_flight() { # MACHINE COUNT
	on "$1"
	[ "$($in ktlsctl status --json | jq .kernel_requests.in_flight)" = "$2" ]
}

# ---- times, by the clock: wait_for counts attempts ----

# In seconds: the kernel's clients give a handshake up after 10 by themselves. Who has been told does so at once; a slow machine
# may take its time for it, and what takes long when all goes well takes as long besides.
early=5 usual=0

milliseconds() {
	echo $(($(date +%s%N) / 1000000))
}

# usually COMMAND...: $usual is how long it takes here when all goes well.
usually() {
	usually_began=$(milliseconds)
	"$@" || return
	usual=$((($(milliseconds) - usually_began) / 1000))
}

# within SECONDS COMMAND...: it succeeds by then.
within() {
	within_end=$(($(milliseconds) + $1 * 1000))
	shift
	until "$@"; do
		[ "$(milliseconds)" -lt $within_end ] || return
		sleep 0.1
	done
}

# soon COMMAND...: well, and before the kernel would have come to it by itself.
soon() {
	soon_began=$(milliseconds)
	"$@" || return
	soon_took=$(($(milliseconds) - soon_began))
	echo "it took $soon_took ms"
	[ $soon_took -lt $(((early + usual) * 1000)) ]
}

# few_rights MACHINE: its agent is nobody and has no capability, its supervisor CAP_NET_ADMIN.
few_rights() {
	eval "pid=\$agent_$1"
	grep -E '^(Uid|CapPrm)' "/proc/$pid/status" "/proc/$(supervisor_of "$1")/status"
	[ "$(status_word Uid "$pid")" = "$(id -u nobody)" ] && [ "$(status_word CapPrm "$pid")" = 0000000000000000 ] &&
		[ "$(status_word CapPrm "$(supervisor_of "$1")")" = 0000000000001000 ]
}

status_word() { # NAME PID
	awk -v name="$1:" '$1 == name { print $2 }' "/proc/$2/status"
}

digest() {
	sha256sum "$1" | cut -d ' ' -f 1
}

# encrypted MACHINE: how many connections its kernel has encrypted.
encrypted() {
	on "$1"
	$in sed -n 's/^TlsTxSw[[:space:]]*//p' /proc/self/net/tls_stat
}

# keyring_links: how many keys and keyrings are in the keyrings of sessions and processes, the agents' among them.
keyring_links() {
	awk '$8 == "keyring" && $9 ~ /^_(ses|pid)/ && $10 != "empty" { sum += $10 } END { print sum + 0 }' /proc/keys
}

# same_links: as many as $links
same_links() {
	wait_for 3 eval "[ \"\$(keyring_links)\" = $links ]" || {
		echo "$links links before, now:"
		grep -E ' _(ses|pid)' /proc/keys
		return 1
	}
}

four_times() {
	"$@" && "$@" && "$@" && "$@"
}

# refuses NAME COMMAND...: it fails by itself, and sooner than the kernel gives up a handshake.
refuses() {
	refuses_began=$(milliseconds)
	refuses_late "$@"
	check "... and soon" [ $(($(milliseconds) - refuses_began)) -lt $(((9 + usual) * 1000)) ]
}

# refuses_late NAME COMMAND...: it fails by itself. With TLS 1.3 a client that the server refuses learns of it when all seems well,
# and its kernel connects again until time is up.
refuses_late() {
	remember_lines
	refused "$@"
}

# why MACHINE PATTERN: the agent there has said so since lines were remembered.
why() {
	check "... and the $1's agent says: $2" wait_for 2 said_lately "$1" "$2"
}

remember_lines() {
	lines_server=$(lines_of server) lines_client=$(lines_of client)
}

lines_of() { # MACHINE
	wc -l <"$dir/$1/agent.log"
}

said_lately() { # MACHINE PATTERN
	eval "tail -n +\$((lines_$1 + 1)) \"$dir/$1/agent.log\"" | grep -qE -- "$2"
}

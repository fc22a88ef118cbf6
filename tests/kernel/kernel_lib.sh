# shellcheck shell=sh
# SPDX-License-Identifier: MIT
# For scripts, to be sourced: two machines, "server" and "client", each with a network and an agent of its own, joined by a
# cable. KTLSD_AGENTS names the agents of server and client, such as "tlshd:tlshd ktlsd:tlshd": a script goes through all.
# shellcheck disable=SC2016,SC2034,SC2086,SC2154 # awk's text; for the script; commands with their options; set by eval
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/lib.sh"

server=192.0.2.1 client=192.0.2.2
: "${KTLSD_AGENTS:=ktlsd:ktlsd ktlsd:tlshd tlshd:ktlsd}"

# on MACHINE: $in is what a command begins with that runs there.
on() {
	in="env KTLSD_HANDOFF=$dir/$1/handoff KTLSD_CONTROL=$dir/$1/control nsenter --net=$dir/$1/net"
}

has_its_network() { # PID
	net=$(readlink "/proc/$1/ns/net") && [ "$net" != "$(readlink /proc/self/ns/net)" ]
}

# make_machines MODULE...: the kernel's parts that the script is about.
make_machines() {
	for module in tls veth "$@"; do
		modprobe -q "$module" || skip_all "this kernel has no $module"
	done
	for machine in server client; do
		mkdir -p "$dir/$machine"
		in_background "$dir/$machine/net.log" unshare --net sleep 3600
		eval "holder_$machine=$!"
		ln -s "/proc/$!/ns/net" "$dir/$machine/net"
		wait_for 5 has_its_network $! || skip_all "no network namespaces here: $(cat "$dir/$machine/net.log")"
	done
	ip link add cable netns "$holder_server" type veth peer cable netns "$holder_client" || bail_out "no cable"
	for machine in server client; do
		on $machine
		eval "address=\$$machine"
		{ $in ip link set lo up && $in ip address add "$address/24" dev cable && $in ip link set cable up; } ||
			bail_out "no address for $machine"
	done
}

# start_agents SERVER:CLIENT: "ktlsd" with what the script's function ktlsd_MACHINE prints, "tlshd" with tlshd_MACHINE's.
start_agents() {
	start_agent_of server "${1%:*}"
	start_agent_of client "${1#*:}"
}

start_agent_of() { # MACHINE AGENT
	on "$1"
	case $2 in
	ktlsd)
		{
			printf '[ktlsd]\nlog_level = debug\ndrain_timeout = 2\n'
			printf 'handoff_socket = %s\ncontrol_socket = %s\n' "$dir/$1/handoff" "$dir/$1/control"
			"ktlsd_$1"
		} >"$dir/$1/ktlsd.conf"
		in_background "$dir/$1/agent.log" $in ktlsd --config "$dir/$1/ktlsd.conf"
		eval "agent_$1=$!"
		wait_for 20 $in ktlsctl status >"$dir/check" || bail_out "ktlsd of $1: $(tail -n 5 "$dir/$1/agent.log")"
		;;
	tlshd)
		{
			printf '[debug]\nloglevel=1\n'
			"tlshd_$1"
		} >"$dir/$1/tlshd.conf"
		in_background "$dir/$1/agent.log" $in tlshd -s -c "$dir/$1/tlshd.conf"
		eval "agent_$1=$!"
		wait_for 10 registered || bail_out "tlshd of $1: $(tail -n 5 "$dir/$1/agent.log")"
		;;
	*) bail_out "'$2' is no agent: ktlsd and tlshd are" ;;
	esac
}

# registered: somebody on the machine that is on listens to a group of generic netlink's.
registered() {
	$in awk '$2 == 16 && $4 !~ /^0*$/ && NR > 1 { found = 1 } END { exit !found }' /proc/self/net/netlink
}

stop_agents() {
	end "$agent_server"
	end "$agent_client"
}

log_of() { # MACHINE PATTERN
	wait_for 2 grep -qE -- "$2" "$dir/$1/agent.log"
}

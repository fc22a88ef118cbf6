# shellcheck shell=sh
# SPDX-License-Identifier: MIT
# For scripts, to be sourced: devices, each with a network, an agent and sockets of its own; its files lie in $dir/NAME.
# shellcheck disable=SC2034,SC2086,SC2154,SC2317 # for the script; commands with their options; set by eval; called by name
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/lib.sh"

# on DEVICE: $in is what a command begins with that runs there.
on() {
	in="env KTLSD_HANDOFF=$dir/$1/handoff KTLSD_CONTROL=$dir/$1/control nsenter --net=$dir/$1/net"
}

has_its_network() { # PID
	net=$(readlink "/proc/$1/ns/net") && [ "$net" != "$(readlink /proc/self/ns/net)" ]
}

# make_device NAME: its network lives as long as the process that holds it.
make_device() {
	mkdir -p "$dir/$1"
	in_background "$dir/$1/net.log" unshare --net sleep infinity
	ln -s "/proc/$!/ns/net" "$dir/$1/net"
	eval "holder_$1=$!"
	wait_for 5 has_its_network $! || skip_all "no network namespaces here: $(cat "$dir/$1/net.log")"
}

# join_devices A B: with a cable, which has that name on both sides.
join_devices() {
	eval "ip link add cable netns \$holder_$1 type veth peer name cable netns \$holder_$2" 2>"$dir/check" ||
		skip_all "no virtual cables (veth) here: $(cat "$dir/check")"
}

# set_addresses DEVICE IPV4 IPV6: of its end of the cable.
set_addresses() {
	on "$1"
	{
		$in ip link set lo up && $in ip link set cable up &&
			$in ip address add "$2/24" dev cable && $in ip address add "$3/64" dev cable nodad
	} >"$dir/check" 2>&1 || bail_out "no addresses for $1: $(cat "$dir/check")"
}

# configure_device NAME <CONFIG: keys for [ktlsd], then services.
configure_device() {
	{
		printf '[ktlsd]\nlog_level = debug\ndrain_timeout = 2\n'
		printf 'handoff_socket = %s\ncontrol_socket = %s\n' "$dir/$1/handoff" "$dir/$1/control"
		cat
	} >"$dir/$1/ktlsd.conf"
}

# start_device NAME <CONFIG: its agent. $KTLSD_UNDER runs it (lib.sh).
start_device() {
	on "$1"
	configure_device "$1"
	in_background "$dir/$1/agent.log" $in ${KTLSD_UNDER:-} ktlsd --config "$dir/$1/ktlsd.conf"
	eval "agent_$1=$!"
	wait_for 20 $in ktlsctl status >"$dir/check" || bail_out "the agent of $1 does not serve: $(tail -n 5 "$dir/$1/agent.log")"
}

# stop_device NAME
stop_device() {
	eval "agent=\$agent_$1" agent_log=$dir/$1/agent.log
	stop_agent
}

# reload_device NAME <CONFIG: as start_device takes it.
reload_device() {
	on "$1"
	configure_device "$1"
	$in ktlsctl reload >"$dir/check" 2>&1 || bail_out "reload: $(cat "$dir/check")"
}

# log_of DEVICE PATTERN: its agent said so, or is about to.
log_of() {
	wait_for 2 grep -qE -- "$2" "$dir/$1/agent.log"
}

#!/bin/sh
# SPDX-License-Identifier: MIT
# The kernel module: programs that try /dev/ktlsd with a puppet for an agent, then real agents and peers, agents that are killed, a
# stress, unloading; and whether anything was left behind. The module is build/module/KERNEL/ktlsd.ko, $KTLSD_MODULE, or
# where modprobe finds it. What takes ktlsd or tlshd is skipped where they are not.
# shellcheck disable=SC2086,SC2154,SC2317 # commands with their options; set elsewhere; called by name
# shellcheck source=tests/machines_lib.sh
. "$(dirname "$0")/machines_lib.sh"

: "${KTLSD_MODULE:=$build/../module/$(uname -r)/ktlsd.ko}"
stress_seconds=${KTLSD_STRESS_SECONDS:-15} in_flight=64
port=4433 marker="ktlsd: tests began $$"
counters=/sys/class/misc/ktlsd tracing=/sys/kernel/tracing
has_ktlsd=$(command -v ktlsd) has_tlshd=$(command -v tlshd)

# Either agent takes both roles.
ktlsd_both() {
	printf '[service server]\nrole = server\nkernel = x509\nclient_certificate = request\n'
	printf 'ca = %s\ncertificate = %s\nkey = %s\n' "$dir/pki/ca.pem" "$dir/pki/server.pem" "$dir/pki/server.key"
	printf '[service client]\nrole = client\nkernel = anonymous, x509\n'
	printf 'ca = %s\ncertificate = %s\nkey = %s\n' "$dir/pki/ca.pem" "$dir/pki/client.pem" "$dir/pki/client.key"
}

tlshd_both() {
	for role in server client; do
		printf '[authenticate.%s]\nx509.truststore=%s\nx509.certificate=%s\nx509.private_key=%s\n' $role "$dir/pki/ca.pem" \
			"$dir/pki/$role.pem" "$dir/pki/$role.key"
	done
}

ktlsd_server() { ktlsd_both; }
ktlsd_client() { ktlsd_both; }
tlshd_server() { tlshd_both; }
tlshd_client() { tlshd_both; }

make_certificates() {
	{
		pki init "$dir/pki" && pki issue "$dir/pki" server server --name "IP:$server" --name DNS:server.example --name DNS:localhost &&
			pki issue "$dir/pki" client client --name DNS:client.example
	} >"$dir/check" 2>&1 || bail_out "pki: $(tail -n 5 "$dir/check")"
}

# ---- the module ----

load() {
	if [ -e "$KTLSD_MODULE" ]; then
		insmod "$KTLSD_MODULE"
	else
		modprobe -q ktlsd
	fi
}

loaded() { [ -c /dev/ktlsd ]; }

not_loaded() { ! loaded; }

idle() { [ "$(cat $counters/in_flight)" = 0 ]; }

# reload: out while what it had in flight has only just ended, and in again.
reload() {
	rmmod ktlsd && not_loaded && load && loaded
}

no_splat() {
	! dmesg | awk -v marker="$marker" 'index($0, marker) { found = 1; next } found' |
		grep -E 'BUG|WARNING|Oops|Call Trace|general protection|refcount_t|KASAN|list_(add|del)|blocked for more|scheduling while'
}

# ---- what is left behind ----

# objects: how many there are of each kind that a handshake takes. Caches of processors are emptied first.
objects() {
	for cache in TCP sock_inode_cache filp kmalloc-256 kmalloc-512 kmalloc-1k kmalloc-2k; do
		[ -e /sys/kernel/slab/$cache/objects ] || continue
		echo 1 >/sys/kernel/slab/$cache/shrink
		echo "$cache $(cut -d ' ' -f 1 /sys/kernel/slab/$cache/objects)"
	done
}

# nothing_grew: since objects wrote $dir/objects; thousands of handshakes are in between.
nothing_grew() {
	objects >"$dir/objects.now"
	awk 'NR == FNR { before[$1] = $2; next } $2 > before[$1] + 100 { print $1 ": " before[$1] " -> " $2; bad = 1 } END { exit bad }' \
		"$dir/objects" "$dir/objects.now"
}

stress() { # OPTION...
	timeout $((stress_seconds + 60)) ${in:-} module_stress "$@" $stress_seconds $in_flight
}

# ---- peers ----

start_talking() { # OPTION...: a server on the machine of that name
	on server
	in_background "$dir/talk.log" $in timeout 60 module_talk "$@" server $port
	talker=$!
	wait_for 10 grep -q listening "$dir/talk.log"
}

# talk NAME PATTERN OPTION... -- OPTION...: both ends by the module, options of client and server; PATTERN is in what the client
# says, and what the server says is in $dir/talk.log.
talk() {
	talk_name=$1 talk_pattern=$2 talk_options=''
	shift 2
	while [ "$1" != -- ]; do
		talk_options="$talk_options $1"
		shift
	done
	shift
	start_talking "$@"
	on client
	says "$talk_name" "$talk_pattern" -- timeout 60 $in module_talk $talk_options client $server $port
	cp "$dir/said" "$dir/client.log"
	wait $talker
}

# with SERVER:CLIENT: agents.
with() {
	case $1 in *ktlsd*) [ -n "$has_ktlsd" ] || return ;; esac
	case $1 in *tlshd*) [ -n "$has_tlshd" ] || return ;; esac
	start_agents "$1"
	talk "$1: by rings, a chain" '^result 0$' --name server.example --
	says "$1: ... TLS 1.3, and the server's answer" 'version 0x304' '^GET / HTTP' -- cat "$dir/client.log"
	talk "$1: by ioctl" '^GET / HTTP' --name server.example --ioctl -- --ioctl
	case $1 in *:ktlsd) talk "$1: the server's address is its name" '^result 0$' -- ;; esac
	talk "$1: another name is refused" '^result -[1-9]' --name other.example --
	talk "$1: ... and the server hears of it" '^result -[1-9]' --name other.example --
	talk "$1: a client's certificate" '^result 0$' --name server.example --auth 3 --
	check "$1: ... which the server is told of" grep -qE '^peer -?[1-9]' "$dir/talk.log"
	stop_agents
}

# from_client NAME PATTERN COMMAND...: a client that brings its own TLS.
from_client() {
	from_name=$1 from_pattern=$2
	shift 2
	start_talking
	on client
	says "$from_name" "$from_pattern" -- "$@"
	wait $talker
}

s_client_says() {
	(echo hello && sleep 1) | timeout 30 $in openssl s_client -connect $server:$port -CAfile "$dir/pki/ca.pem" -verify_return_error -quiet
}

gnutls_says() {
	(echo hello && sleep 1) | timeout 30 $in gnutls-cli --x509cafile "$dir/pki/ca.pem" -p $port $server
}

to_s_server() {
	on server
	in_background "$dir/s_server.log" $in openssl s_server -accept $port -www -cert "$dir/pki/server.pem" \
		-cert_chain "$dir/pki/server.pem" -key "$dir/pki/server.key"
	s_server=$!
	wait_for 10 grep -q ACCEPT "$dir/s_server.log"
	on client
	says "openssl's server, a chain from connect on" 'result 0' 'HTTP/1.0 200' -- timeout 60 $in module_talk client $server $port
	end $s_server
}

file_server() {
	command -v example-uring-https >/dev/null || return
	mkdir -p "$dir/files"
	head -c 3000000 /dev/urandom >"$dir/files/random"
	on server
	in_background "$dir/server.log" $in example-uring-https --device --listen 0.0.0.0 --port 4443 "$dir/files"
	file_server=$!
	wait_for 10 grep -q '^listening' "$dir/server.log"
	on client
	check "curl and the file server on io_uring" timeout 60 $in curl -sS --cacert "$dir/pki/ca.pem" -o "$dir/got" \
		https://$server:4443/random --next --cacert "$dir/pki/ca.pem" -o "$dir/got2" https://$server:4443/random
	check "... the same file, twice" cmp "$dir/got" "$dir/files/random"
	end $file_server
}

# ---- agents that die ----

# taken: the agent has a handshake of a client that says nothing.
hold() { # TIMEOUT_MS
	start_talking --timeout "$1"
	on client
	in_background "$dir/silent.log" $in nc $server $port
	silent=$!
	wait_for 10 requests_in_flight server 1
}

dying_agents() {
	start_agents ktlsd:ktlsd
	hold 20000
	kill -KILL $agent_server
	check "the agent is killed: the program hears of it at once" wait_for 3 grep -q '^result -' "$dir/talk.log"
	end $silent
	wait $talker
	stop_agents
	start_agents ktlsd:ktlsd
	hold 5000
	kill -KILL $agent_server "$(supervisor_of server)"
	check "agent and supervisor are killed: the program hears of it when its time is up" \
		wait_for 10 grep -q '^result -110$' "$dir/talk.log"
	end $silent
	wait $talker
	stop_agents
}

# ---- all of it ----

[ -e "$KTLSD_MODULE" ] || modprobe -qn ktlsd || skip_all "no module for $(uname -r): make module"
modprobe -q tls || skip_all "this kernel has no tls"
echo "$marker" >/dev/kmsg
loaded || load || bail_out "the module does not load: $(dmesg | tail -n 3)"
check "/dev/ktlsd is there" wait_for 5 loaded
[ -z "$has_ktlsd" ] || says "doctor says for whom" 'kernel module .*/dev/ktlsd is for root:root, mode 0600' -- ktlsctl doctor
for program in module_request module_life module_use; do
	run_program "$program" $program
done
for _ in 1 2 3; do
	module_life -v ring -t cancel -t ring_exit >"$dir/program" 2>&1
	check "unloaded right behind canceled requests, and loaded again" reload
done
in=''
check "a stress to begin with" stress --puppet
check "... leaves nothing in flight" wait_for 20 idle
sleep 5 # what rests, for late agents
objects >"$dir/objects"
check "a stress: $in_flight in flight, cancellations, closes, kills" stress --puppet
check "... leaves nothing in flight" wait_for 20 idle
check "... and no sockets or memory" wait_for 15 nothing_grew
sed 's/^/# objects: /' "$dir/objects.now"

if [ -n "$has_ktlsd" ]; then
	make_certificates
	# shellcheck disable=SC2119 # it takes no modules of its own
	make_machines
	for agents in $KTLSD_AGENTS; do
		with "$agents"
	done
	start_agents ktlsd:ktlsd
	mountpoint -q $tracing || mount -t tracefs none $tracing
	echo 1 >$tracing/events/ktlsd/enable
	from_client "openssl's client" '^hello' s_client_says
	from_client "GnuTLS's client" '^hello' gnutls_says
	echo 0 >$tracing/events/ktlsd/enable
	says "tracepoints say how long it took" 'ktlsd_submit: .*status=0' 'ktlsd_done: .*status=0 latency_us=[0-9]' -- cat $tracing/trace
	to_s_server
	file_server
	on client
	check "a stress with real handshakes" stress
	check "... leaves nothing in flight" wait_for 30 idle
	stop_agents
	dying_agents
fi
check "the module can be unloaded" rmmod ktlsd
check "... and then the device is gone" not_loaded
[ -z "$has_ktlsd" ] || says "doctor says so" 'kernel module +not loaded' -- ktlsctl doctor
check "the kernel has nothing to complain about" no_splat
agent=''
finish

# shellcheck shell=sh
# SPDX-License-Identifier: MIT
# For test scripts, to be sourced: KTAP, and the agent as a test needs it. A script is a list of checks and ends with
# "finish". Whatever it started ends with it; its files lie in $dir, its certificates (scripts/pki) in $dir/pki.
set -u
tests=$(cd "$(dirname "$0")" && pwd)
build=${KTLSD_BUILD:-$tests/..} # where ktlsd, ktlsctl and the examples are
export PATH="$build:$tests:$tests/../scripts:$PATH"

dir=$(mktemp -d)
number=0 failures=0 skips=0 jobs='' agent=''
trap 'kill_all; rm -rf "$dir"' EXIT
trap 'last_words; exit 130' INT TERM HUP

# ---- KTAP ----

ok() {
	number=$((number + 1))
	echo "ok $number $*"
}

# not_ok NAME [FILE...]: the files say more.
not_ok() {
	number=$((number + 1)) failures=$((failures + 1))
	echo "not ok $number $1"
	shift
	[ $# = 0 ] || tail -n 20 "$@" 2>/dev/null | sed 's/^/# /'
	[ -z "$agent" ] || tail -n 8 "$agent_log" | sed 's/^/# agent: /'
}

skip() {
	number=$((number + 1)) skips=$((skips + 1))
	echo "ok $number $1 # SKIP $2"
}

skip_all() {
	echo "1..0 # SKIP $*"
	exit 4
}

# check NAME COMMAND...: ok if it succeeds; what it said is shown if not.
check() {
	check_name=$1
	shift
	if "$@" >"$dir/check" 2>&1; then
		ok "$check_name"
	else
		echo "(status $?: $*)" >>"$dir/check"
		not_ok "$check_name" "$dir/check"
	fi
}

# says NAME PATTERN... -- COMMAND...: ok if each pattern is in what it prints. Its status says nothing, unless time
# was up. What it said stays in $dir/said.
says() {
	says_name=$1 says_missing=''
	shift
	: >"$dir/patterns"
	while [ "$1" != -- ]; do
		printf '%s\n' "$1" >>"$dir/patterns"
		shift
	done
	shift
	says_status=0
	"$@" >"$dir/said" 2>&1 || says_status=$?
	[ $says_status != 124 ] || says_missing="an end in time"
	while IFS= read -r says_pattern; do
		grep -aqE -- "$says_pattern" "$dir/said" || says_missing="$says_missing \"$says_pattern\""
	done <"$dir/patterns"
	if [ -z "$says_missing" ]; then
		ok "$says_name"
	else
		printf '(missing: %s, in what this said: %s)\n' "$says_missing" "$*" >>"$dir/said"
		not_ok "$says_name" "$dir/said"
	fi
}

# refused NAME COMMAND...: ok if it fails by itself, not by a time limit.
refused() {
	refused_name=$1 refused_status=0
	shift
	"$@" >"$dir/check" 2>&1 || refused_status=$?
	case $refused_status in
	0 | 12[4-7] | 1[3-9]?) not_ok "$refused_name (status $refused_status)" "$dir/check" ;;
	*) ok "$refused_name" ;;
	esac
}

# run_program TITLE PROGRAM...: a program that speaks KTAP itself; its results are counted among ours.
run_program() {
	run_title=$1
	shift
	"$@" >"$dir/program" 2>&1
	run_status=$?
	echo "# $run_title"
	while IFS= read -r run_line; do
		case $run_line in
		"ok "* | "not ok "*)
			number=$((number + 1))
			run_rest=${run_line#*ok }
			echo "${run_line%%ok *}ok $number ${run_rest#* }"
			case $run_line in not*) failures=$((failures + 1)) ;; *"# SKIP"*) skips=$((skips + 1)) ;; esac
			;;
		1..* | TAP*) ;;
		*) printf '%s\n' "# ${run_line#\# }" ;;
		esac
	done <"$dir/program"
	case $run_status in
	0 | 1 | 4) check "$run_title: it came to its end" grep -q '^1\.\.[1-9]' "$dir/program" ;;
	*) not_ok "$run_title: it came to its end (status $run_status)" ;;
	esac
}

finish() {
	[ -z "$agent" ] || stop_agent
	echo "1..$number"
	[ $failures = 0 ] || exit 1
	[ $number != $skips ] || exit 4
	exit 0
}

bail_out() {
	echo "Bail out! $*"
	[ ! -e "$dir/agent.log" ] || tail -n 20 "$dir/agent.log" | sed 's/^/# agent: /'
	exit 1
}

# When time is up: how far it got.
last_words() {
	for last in program said check agent.log; do
		[ ! -s "$dir/$last" ] || tail -n 4 "$dir/$last" | sed "s/^/# $last: /"
	done
}

# ---- processes ----

# wait_for SECONDS COMMAND...: until it succeeds.
wait_for() {
	wait_left=$(($1 * 50))
	shift
	until "$@" 2>/dev/null; do
		wait_left=$((wait_left - 1))
		[ $wait_left -gt 0 ] || return 1
		sleep 0.02
	done
}

# in_background LOG COMMAND...: $! is its pid, and it ends with the script.
in_background() {
	background_log=$1
	shift
	: >"$background_log" # now: what is waited for in it must not be from before
	"$@" >"$background_log" 2>&1 </dev/null &
	jobs="$jobs $!"
}

kill_all() {
	# shellcheck disable=SC2086 # a list
	[ -z "$jobs" ] || kill -KILL $jobs 2>/dev/null
	jobs=''
	wait
}

# end PID: and waits for it.
end() {
	kill "$1" 2>/dev/null
	wait "$1" 2>/dev/null
}

listens_on() {
	[ -n "$(ss -Hltn "sport = :$1")" ]
}

# next_port: $port is one that nobody listens on, and that the kernel gives to no client.
last_port=21000
next_port() {
	last_port=$((last_port + 1))
	while listens_on $last_port; do
		last_port=$((last_port + 1))
	done
	port=$last_port
}

# s_client OPTION...: it verifies, reads until the server closes, and is given up after ten seconds.
# shellcheck disable=SC2086 # $in is a command with its options (devices_lib.sh)
s_client() {
	${in:-} timeout 10 openssl s_client -connect "127.0.0.1:$port" -CAfile "$dir/pki/ca.pem" -verify_return_error -ign_eof \
		"$@" </dev/null
}

# through SERVICE CLIENT...: a client of a server whose socket goes through the agent (serve.c), on $port. Prints what the
# client says, then "result: ..." lines.
# shellcheck disable=SC2086
through() {
	in_background "$dir/serve.log" ${in:-} timeout 20 serve "$1"
	through_server=$!
	wait_for 10 grep -q '^port' "$dir/serve.log" || return 124
	port=$(sed -n 's/^port //p' "$dir/serve.log")
	shift
	"$@"
	wait "$through_server"
	cat "$dir/serve.log"
}

# start_server COMMAND...: one of our examples, which says where it listens: $server is its pid, $port its port.
# shellcheck disable=SC2034 # for the script
start_server() {
	in_background "$dir/server.log" "$@" --port 0
	server=$!
	wait_for 10 grep -q '^listening on' "$dir/server.log" || bail_out "$1 does not listen: $(cat "$dir/server.log")"
	port=$(sed -n 's/^listening on .* port //p' "$dir/server.log")
}

kernel_is_at_least() {
	[ "$(printf '%s\n%s\n' "$1" "$(uname -r)" | sort -V | head -n 1)" = "$1" ]
}

# ---- the agent ----

# install_ways: in which ways this kernel takes keys, as the configuration calls them.
install_ways() {
	! kernel_is_at_least 6.14 || echo io_uring # earlier ones don't link socket commands safely
	echo setsockopt
}

# server_service NAME [CERTIFICATE...]: a section of the configuration; further keys go behind it.
server_service() {
	printf '[service %s]\nrole = server\n' "$1"
	shift
	[ $# -gt 0 ] || set -- server-ecdsa
	for service_certificate; do
		printf 'certificate = %s\nkey = %s\n' "$dir/pki/$service_certificate.pem" "$dir/pki/$service_certificate.key"
	done
}

# client_service NAME [CA]
client_service() {
	printf '[service %s]\nrole = client\nca = %s\n' "$1" "$dir/pki/${2:-ca}.pem"
}

# suites: every cipher suite with a name for its service.
suites() {
	cat <<-END
		tls13_aes_128_gcm TLS_AES_128_GCM_SHA256
		tls13_aes_256_gcm TLS_AES_256_GCM_SHA384
		tls13_chacha20    TLS_CHACHA20_POLY1305_SHA256
		tls13_aes_128_ccm TLS_AES_128_CCM_SHA256
		tls12_aes_128_gcm ECDHE-ECDSA-AES128-GCM-SHA256
		tls12_aes_256_gcm ECDHE-ECDSA-AES256-GCM-SHA384
		tls12_chacha20    ECDHE-ECDSA-CHACHA20-POLY1305
	END
}

# make_pki: certificates, once, in an authority that can issue more.
make_pki() {
	[ -d "$dir/pki" ] || pki localhost "$dir/pki" || bail_out "pki"
}

# start_agent <CONFIG: keys for [ktlsd], then services. It has sockets of its own, which KTLSD_HANDOFF and KTLSD_CONTROL
# name. $KTLSD_UNDER, such as valgrind with options, runs it.
start_agent() {
	agent_log=$dir/agent.log agent_config=$dir/ktlsd.conf
	export KTLSD_HANDOFF="$dir/handoff" KTLSD_CONTROL="$dir/control"
	write_config
	# shellcheck disable=SC2086 # a command and its options
	in_background "$agent_log" ${KTLSD_UNDER:-} ktlsd --config "$agent_config"
	agent=$!
	wait_for 20 agent_answers || bail_out "the agent does not serve"
}

# write_config <CONFIG: as start_agent takes it; then reload_agent.
write_config() {
	{
		printf '[ktlsd]\nlog_level = debug\ndrain_timeout = 2\n'
		printf 'handoff_socket = %s\ncontrol_socket = %s\n' "$KTLSD_HANDOFF" "$KTLSD_CONTROL"
		cat
	} >"$agent_config"
}

# An agent that gave up is not waited for.
agent_answers() {
	kill -0 "$agent" || bail_out "the agent does not start"
	ktlsctl status --json >/dev/null
}

# stop_agent: a check of its own: it ends in order.
stop_agent() {
	kill "$agent"
	wait "$agent" 2>/dev/null
	agent_status=$?
	agent=''
	if [ $agent_status = 0 ]; then
		ok "the agent stops in order"
	else
		not_ok "the agent stops in order (status $agent_status)" "$agent_log"
	fi
}

# agent_log_has PATTERN: a line may be on its way still.
agent_log_has() {
	wait_for 2 grep -q -- "$1" "$agent_log"
}

# agent_status FILTER: what "ktlsctl status" says, through jq.
agent_status() {
	ktlsctl status --json | jq -r "$1"
}

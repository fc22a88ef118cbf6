# shellcheck shell=sh disable=SC2154
# SPDX-License-Identifier: MIT
# For tests of ktls-run, to be sourced behind lib.sh: an agent, files to fetch, and servers that know nothing of TLS.

chmod 755 "$dir"
mkdir "$dir/www"
head -c 3000000 /dev/urandom >"$dir/www/large"
echo hello >"$dir/www/small"

# run LOG COMMAND...: under ktls-run, in the background. $! is its pid.
run() {
	run_log=$1
	shift
	# shellcheck disable=SC2086 # options
	in_background "$run_log" ktls-run --verbose ${run_options:-} -- "$@"
}

# handed LOG [COUNT]: that many listeners went to the agent.
handed() {
	[ "$(grep -c 'the agent accepts' "$1")" -ge "${2:-1}" ]
}

# https [CURL-OPTION...] PATH...: what is under the paths, from $port.
https() {
	timeout 30 curl -sS --max-time 20 --cacert "$dir/pki/ca.pem" --resolve "localhost:$port:127.0.0.1" "$@"
}

url() {
	echo "https://localhost:$port/$1"
}

# fetch PATH [CURL-OPTION...]: it is what it should be.
fetch() {
	fetch_path=$1
	shift
	https "$@" -o "$dir/got" "$(url "$fetch_path")" && cmp "$dir/got" "$dir/www/$fetch_path"
}

# store PATH FILE
store() {
	https -f -T "$2" "$(url "$1")" && cmp "$2" "$dir/www/$1"
}

# load SECONDS PATH...: connections, one after the other, in the background; load_held says whether each got all.
load() {
	: >"$dir/load"
	load_end=$(($(date +%s) + $1))
	shift
	while [ "$(date +%s)" -lt $load_end ]; do
		for load_path; do
			https -o "$dir/load.got" "$(url "$load_path")" && cmp "$dir/load.got" "$dir/www/$load_path" && echo "got it"
		done
	done >"$dir/load" 2>&1 &
	loader=$!
	jobs="$jobs $loader"
}

load_held() {
	wait "$loader"
	grep -v '^got it' "$dir/load"
	! grep -qv '^got it' "$dir/load" && [ "$(grep -c '^got it' "$dir/load")" -ge "$1" ]
}

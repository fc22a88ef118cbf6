#!/bin/sh
# SPDX-License-Identifier: MIT
# nginx under ktls-run is reloaded, and replaced by another program, under load: not one request may fail, nor a byte be wrong.
# shellcheck disable=SC2016,SC2034,SC2317 # expanded later; functions are called by name
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=run_lib.sh
. "$(dirname "$0")/run_lib.sh"
# shellcheck source=nginx_lib.sh
. "$(dirname "$0")/nginx_lib.sh"

make_pki
start_agent <<END
$(server_service default)
END
head -c 300000 "$dir/www/large" >"$dir/www/middle"

begin_load() {
	in_background "$dir/load" https_load.py "$port" "$dir/pki/ca.pem" "$dir/www" "$1" small middle
	load=$!
	sleep 0.4
}

nobody_noticed() {
	wait $load
	says "$name: nobody noticed" '^failed 0, fetched [1-9][0-9]' -- cat "$dir/load"
	sed 's/^/# /' "$dir/load"
}

workers_gone() {
	grep -c 'exited with code 0' "$dir/nginx.error"
}

reload() {
	gone=$(workers_gone)
	kill -HUP "$(cat "$dir/nginx.pid")"
	wait_for 10 eval '[ "$(workers_gone)" -ge $((gone + workers)) ]'
}

# The new program has an environment that nginx made, and descriptors by their numbers.
upgrade() {
	old=$(cat "$dir/nginx.pid")
	kill -USR2 "$old"
	wait_for 10 test -e "$dir/nginx.pid.oldbin" || return
	wait_for 10 test -s "$dir/nginx.pid" || return
	new=$(cat "$dir/nginx.pid")
	[ "$new" != "$old" ] || return
	sleep 0.2
	kill -QUIT "$old"
	wait_for 10 test ! -e "/proc/$old"
}

next_port
for setup in "1 " "4 " "1 reuseport" "4 reuseport"; do
	workers=${setup%% *} options=${setup#* } name="nginx, $workers workers${options:+, }$options"
	start_nginx "$workers" "$options" on on
	begin_load 2.5
	for round in 1 2 3; do
		check "$name: reload $round under load" reload
		sleep 0.1
	done
	nobody_noticed
	check "$name: nothing to complain of" no_complaints
	begin_load 2.5
	check "$name: binary upgrade under load" upgrade
	jobs="$jobs $(cat "$dir/nginx.pid")"
	nobody_noticed
	check "$name: after it: 3 MB" fetch large
	kill -QUIT "$(cat "$dir/nginx.pid")"
	check "$name: the new one ends, and the port is free" wait_for 5 port_is_free
	check "$name: nothing to complain of" no_complaints
	: >"$dir/nginx.error"
done
finish

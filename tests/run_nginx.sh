#!/bin/sh
# SPDX-License-Identifier: MIT
# nginx as Debian has it, listening in clear, under ktls-run: one and several workers, reuseport, sendfile, keep-alive, large
# bodies in both directions, and what is left when it ends.
# shellcheck disable=SC2317 # functions are called by name
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

many_requests() {
	https -o /dev/null -o /dev/null -o /dev/null -w '%{num_connects}\n' "$(url small)" "$(url large)" "$(url small)" |
		tr '\n' ' ' | grep -q '^1 0 0'
}

at_once() {
	https -Z --parallel-max 20 -o "$dir/got.#1" "$(url small)?[1-60]" &&
		for got in "$dir"/got.*; do cmp "$got" "$dir/www/small" || return; done
	rm "$dir"/got.*
}

next_port
for setup in "1 " "4 " "1 reuseport" "4 reuseport" "4 deferred"; do
	workers=${setup%% *} options=${setup#* } name="nginx, $workers workers${options:+, }$options"
	start_nginx "$workers" "$options"
	case $options in
	reuseport) check "$name: a listener for each" handed "$dir/nginx.log" "$workers" ;;
	*) check "$name: it is handed over" handed "$dir/nginx.log" ;;
	esac
	check "$name: a file" fetch small
	check "$name: 3 MB by sendfile" fetch large
	check "$name: several requests over a connection" many_requests
	check "$name: 60 connections, 20 at once" at_once
	check "$name: 3 MB are stored" store stored "$dir/www/large"
	check "$name: it ends in order" stop_nginx
	check "$name: the port is free" wait_for 2 port_is_free
	check "$name: nothing to complain of" no_complaints
	: >"$dir/nginx.error"
done

start_nginx 1 '' off
check "without sendfile: 3 MB" fetch large
check "TLS 1.2: 3 MB" fetch large --tls-max 1.2
check "TLS 1.2: 3 MB are stored" store stored12 "$dir/www/large"

stop_nginx

# ---- the agent goes and comes ----

start_nginx 2 ''
stop_agent
sleep 0.5
(https -o "$dir/waited" "$(url small)" && cmp "$dir/waited" "$dir/www/small" && echo "it waited") >"$dir/wait.log" 2>&1 &
waiting=$!
sleep 0.5
start_agent <<END
$(server_service default)
END
check "a client that comes meanwhile waits" wait $waiting
check "and is served" grep -q "it waited" "$dir/wait.log"
check "the log says that the agent was gone" grep -q 'the agent is gone; new connections wait' "$dir/nginx.log" "$dir/nginx.error"
check "and that it is back" grep -q 'has taken the listener again' "$dir/nginx.log" "$dir/nginx.error"
check "afterwards: 3 MB" fetch large
stop_nginx
finish

#!/bin/sh
# SPDX-License-Identifier: MIT
# nginx as Debian has it, listening in clear, under ktls-run: one and several workers, reuseport, sendfile, keep-alive, large
# bodies in both directions, reload and binary upgrade under load, and what is left when it ends.
# shellcheck disable=SC2317 # functions are called by name
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=run_lib.sh
. "$(dirname "$0")/run_lib.sh"

make_pki
start_agent <<END
$(server_service default)
END

# start_nginx WORKERS LISTEN-OPTIONS [SENDFILE [DAEMON]]
start_nginx() {
	cat >"$dir/nginx.conf" <<-END
		worker_processes $1;
		pid $dir/nginx.pid;
		error_log $dir/nginx.error info;
		events {
			worker_connections 100;
		}
		http {
			access_log off;
			root $dir/www;
			sendfile ${3:-on};
			tcp_nopush on;
			client_body_temp_path $dir/body;
			client_max_body_size 10m;
			dav_methods PUT;
			server {
				listen 127.0.0.1:$port $2;
			}
		}
	END
	chmod 777 "$dir/www"
	run "$dir/nginx.log" /usr/sbin/nginx -e "$dir/nginx.error" -c "$dir/nginx.conf" -g "daemon ${4:-off}; user root;"
	nginx=$!
	wait_for 10 listens_on "$port" || bail_out "nginx does not listen: $(cat "$dir/nginx.log" "$dir/nginx.error")"
	sleep 0.2
}

port_is_free() {
	! listens_on "$port"
}

stop_nginx() {
	kill -QUIT "$nginx" && wait "$nginx"
}

# Nothing in the error log that a server does not say over plain TCP.
no_complaints() {
	! grep -E '\[(alert|crit|emerg|error|warn)\]' "$dir/nginx.error"
}

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

# ---- under load ----

reload() {
	kill -HUP "$nginx"
	wait_for 5 grep -q 'exited with code 0' "$dir/nginx.error"
}

load 3 small large
sleep 0.3
for round in 1 2 3; do
	check "reload $round under load" reload
	: >"$dir/nginx.error"
	sleep 0.4
done
check "nobody noticed" load_held 4

# The new program has an environment that nginx made, and descriptors by their numbers.
upgrade() {
	old=$(cat "$dir/nginx.pid")
	kill -USR2 "$old"
	wait_for 10 test -e "$dir/nginx.pid.oldbin" || return
	wait_for 10 test -s "$dir/nginx.pid" || return
	new=$(cat "$dir/nginx.pid")
	[ "$new" != "$old" ] || return
	sleep 0.3
	kill -QUIT "$old"
	wait_for 10 test ! -e "/proc/$old"
}

stop_nginx
start_nginx 2 '' on on
load 3 small large
sleep 0.3
check "binary upgrade under load" upgrade
jobs="$jobs $(cat "$dir/nginx.pid")"
check "nobody noticed" load_held 4
check "after it: 3 MB" fetch large
kill -QUIT "$(cat "$dir/nginx.pid")"
check "the new one ends, and the port is free" wait_for 5 port_is_free
check "nothing to complain of" no_complaints

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

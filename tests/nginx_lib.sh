# shellcheck shell=sh disable=SC2154
# SPDX-License-Identifier: MIT
# For tests of nginx under ktls-run, to be sourced behind run_lib.sh.

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

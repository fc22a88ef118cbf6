#!/bin/sh
# SPDX-License-Identifier: MIT
# More servers as Debian has them under ktls-run: Python, lighttpd, Apache with each of its ways to be several, memcached with
# threads, HAProxy in TCP mode; and a static program, in Go or not, for which there is another way.
# shellcheck disable=SC2016,SC2086,SC2317 # expanded later; lists; functions are called by name
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=run_lib.sh
. "$(dirname "$0")/run_lib.sh"

make_pki
start_agent <<END
$(server_service default)
END

# start NAME COMMAND...: a server that listens on $port.
start() {
	name=$1
	shift
	run "$dir/server.log" "$@"
	server=$!
	wait_for 20 listens_on "$port" || bail_out "$name does not listen: $(cat "$dir/server.log" "$dir/error.log")"
	wait_for 10 handed "$dir/server.log" || bail_out "$name: nothing is handed over: $(cat "$dir/server.log")"
}

stop() {
	kill "$server"
	wait_for 10 eval '! listens_on $port'
	wait "$server" 2>/dev/null
}

port_is_free() {
	! listens_on "$port"
}

at_once() {
	https -Z --parallel-max 12 -o "$dir/got.#1" "$(url small)?[1-36]" &&
		for got in "$dir"/got.*; do cmp "$got" "$dir/www/small" || return; done
	rm "$dir"/got.*
}

serves_files() {
	check "$name: a file" fetch small
	check "$name: 3 MB" fetch large
	check "$name: 36 connections, 12 at once" at_once
	stop
	check "$name: the port is free" wait_for 5 port_is_free
}

next_port
start "Python's http.server" python3 -u -m http.server --bind 127.0.0.1 --directory "$dir/www" "$port"
check "$name: it knows who asks" eval 'fetch small && wait_for 2 grep -q "^127.0.0.1.*GET /small" "$dir/server.log"'
serves_files
start "Python's http.server, HTTP/1.1" python3 -u -m http.server --bind 127.0.0.1 --directory "$dir/www" --protocol HTTP/1.1 "$port"
serves_files

for handler in linux-sysepoll poll select; do
	cat >"$dir/lighttpd.conf" <<-END
		server.document-root = "$dir/www"
		server.bind = "127.0.0.1"
		server.port = $port
		server.event-handler = "$handler"
		server.errorlog = "$dir/error.log"
	END
	start "lighttpd, $handler" lighttpd -D -f "$dir/lighttpd.conf"
	serves_files
done

# It signals its whole process group, and so gets one of its own.
for way in event worker prefork; do
	cat >"$dir/apache.conf" <<-END
		LoadModule mpm_${way}_module /usr/lib/apache2/modules/mod_mpm_$way.so
		LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so
		ServerName localhost
		ServerRoot $dir
		DocumentRoot $dir/www
		PidFile $dir/apache.pid
		DefaultRuntimeDir $dir
		ErrorLog $dir/error.log
		User www-data
		Group www-data
		Listen 127.0.0.1:$port
		StartServers 2
	END
	start "Apache, $way" setsid /usr/sbin/apache2 -f "$dir/apache.conf" -D FOREGROUND
	check "$name: a file" fetch small
	load 3 small large
	sleep 0.5
	kill -USR1 "$server"
	check "$name: a graceful restart under load" load_held 2
	serves_files
	check "$name: nothing to complain of" eval '! grep -E ":(error|crit|alert|emerg|warn)\]" "$dir/error.log"'
	: >"$dir/error.log"
done

start "memcached, 4 threads" memcached -l 127.0.0.1 -p "$port" -U 0 -u root -t 4
memcached_serves() {
	timeout 20 tls_script "$port" "$dir/pki" 'say:set key 0 0 5\r\nhello\r\n' flush 'hear:STORED\r\n' 'say:get key\r\n' flush \
		'hear:VALUE key 0 5\r\nhello\r\nEND\r\n' 'say:quit\r\n' flush hear_end
}
memcached_takes_much() {
	timeout 20 tls_script "$port" "$dir/pki" 'say:set large 0 0 900000\r\n' bulk:900000 'say:\r\n' flush 'hear:STORED\r\n' \
		'say:get large\r\n' flush 'hear:VALUE large 0 900000\r\n' hear_bulk:900000 'hear:\r\nEND\r\n' end flush hear_end
}
several() {
	several_list=''
	for i in 1 2 3 4 5 6; do
		memcached_serves >"$dir/memcached.$i" 2>&1 &
		several_list="$several_list $!"
	done
	for i in $several_list; do wait "$i" || return; done
}
check "$name: a value" memcached_serves
check "$name: 900 kB" memcached_takes_much
check "$name: several clients" several
stop
check "$name: the port is free" wait_for 5 port_is_free

front=$port
next_port
back=$port port=$front
in_background "$dir/back.log" python3 -u -m http.server --bind 127.0.0.1 --directory "$dir/www" --protocol HTTP/1.1 "$back"
wait_for 10 listens_on "$back"
for option in '' 'option splice-auto'; do
	cat >"$dir/haproxy.conf" <<-END
		defaults
			mode tcp
			timeout connect 5s
			timeout client 20s
			timeout server 20s
			$option
		listen front
			bind 127.0.0.1:$port
			server back 127.0.0.1:$back
	END
	start "HAProxy, TCP${option:+, $option}" haproxy -W -db -f "$dir/haproxy.conf"
	check "$name: a file" fetch small
	kill -USR2 "$server"
	check "$name: a reload" wait_for 10 grep -q 'Former worker.*exited with code 0' "$dir/server.log"
	serves_files
done

# ---- what can't work ----

cat >"$dir/static.c" <<-END
	int main(void) { return 0; }
END
gcc -static -o "$dir/static" "$dir/static.c" 2>/dev/null || bail_out "no static program"
says "a static program is refused" 'static program' 'ktls-inetd' -- ktls-run -- "$dir/static"
printf '#!%s\n' "$dir/static" >"$dir/script" && chmod +x "$dir/script"
says "a script whose interpreter is static" 'static program' -- ktls-run -- "$dir/script"
gcc -o "$dir/mode" "$dir/static.c" && chown daemon "$dir/mode" && chmod 4755 "$dir/mode"
says "a setuid program" 'setuid' -- ktls-run -- "$dir/mode"
printf '#!/bin/sh\nexec python3 -c "print(1 + 1)"\n' >"$dir/script"
says "a script that can be run" '^2$' -- ktls-run -- "$dir/script"
says "a command that never listens" 'never listened on a TCP port' -- ktls-run -- sh -c true
says "a port that is never listened on" '^ktls-run: port 443 was never listened on' -- ktls-run --port 443 -- true
says "a command that is not there" 'nonsense: No such file' -- ktls-run -- nonsense
says "no command" 'no command is given' 'ktls-run --help' -- ktls-run --service web
says "a port that is none" 'number from 1 to 65535' -- ktls-run --port 70000=web -- true
says "a port with a name missing" '"443=SERVICE"' -- ktls-run --port 443= -- true
finish

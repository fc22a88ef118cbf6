#!/bin/sh
# SPDX-License-Identifier: MIT
# What does not work under ktls-run (docs/servers.md): how it fails, what is said, and that nothing goes out in clear.
# shellcheck disable=SC2317 # functions are called by name
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=run_lib.sh
. "$(dirname "$0")/run_lib.sh"

make_pki
start_agent <<END
$(server_service default)
$(server_service two)
alpn = h2, http/1.1
END

# beyond_runs WAY: what it says is in $dir/server.log.
beyond_runs() {
	run "$dir/server.log" beyond "$1"
	server=$!
	wait_for 10 grep -q '^port' "$dir/server.log" || bail_out "$1: $(cat "$dir/server.log")"
	port=$(sed -n 's/^port //p' "$dir/server.log")
}

beyond_says() {
	wait_for 10 grep -q "$1" "$dir/server.log"
}

beyond_runs stdio
check "the C library's streams: the client is served" timeout 10 tls_script "$port" "$dir/pki" 'say:hello\n' end flush
check "the C library's streams: the data" beyond_says '^line hello'
check "the C library's streams: an error in place of the end" beyond_says '^then E'
wait "$server"

beyond_runs uring
check "an accept through io_uring fails" beyond_says '^accept E'
check "and ktls-run has said so" beyond_says 'this program has an io_uring'
wait "$server"
refused "and nobody is served" timeout 5 openssl s_client -connect "127.0.0.1:$port"

beyond_runs zerocopy
in_background "$dir/client" s_client
check "SO_ZEROCOPY is refused" beyond_says '^SO_ZEROCOPY E'
wait "$server"

# HTTP/2 agreed on with a server that knows nothing of it
next_port
run_options='--service two'
run "$dir/server.log" python3 -u -m http.server --bind 127.0.0.1 --directory "$dir/www" "$port"
wait_for 10 handed "$dir/server.log"
refused "a service that offers h2: clients that take it are not understood" https --http2 "$(url small)"
check "clients that don't are" fetch small --http1.1
refused "a client in clear hears nothing of the file" curl -sS --max-time 5 "http://127.0.0.1:$port/small"

# Protocols that begin in clear
refused_at_once() {
	printf 'EHLO localhost\r\n' | timeout 5 nc 127.0.0.1 "$port" >"$dir/clear"
	[ $? != 124 ] && { [ ! -s "$dir/clear" ] || [ "$(head -c 1 "$dir/clear" | od -An -tu1 | tr -d ' ')" = 21 ]; }
}
check "who begins in clear is refused at once" refused_at_once
check "and the agent's log says why" agent_log_has 'wrong version number (EPROTO)'
finish

#!/bin/sh
# SPDX-License-Identifier: MIT
# Who is the peer: the PROXY header that ktls-run puts in front of connections, as nginx and HAProxy read it; and what a program
# that knows of ktls-run asks it for.
# shellcheck disable=SC2016,SC2317 # nginx has variables, too; functions are called by name
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=run_lib.sh
. "$(dirname "$0")/run_lib.sh"

make_pki
start_agent <<END
$(server_service default)
alpn = http/1.1

$(server_service mutual)
ca = $dir/pki/ca.pem
client_certificate = require

$(server_service optional)
ca = $dir/pki/ca.pem
client_certificate = request
END

next_port
plain_port=$port
next_port
mutual_port=$port
next_port
clear_port=$port
cat >"$dir/nginx.conf" <<END
error_log $dir/nginx.error info;
pid $dir/nginx.pid;
events {}
http {
	access_log off;
	client_body_temp_path $dir/body;
	server {
		listen 127.0.0.1:$plain_port proxy_protocol;
		listen 127.0.0.1:$mutual_port proxy_protocol;
		listen 127.0.0.1:$clear_port;
		location / {
			return 200 "from \$proxy_protocol_addr:\$proxy_protocol_port to \$proxy_protocol_server_port \$proxy_protocol_tlv_ssl_version \$proxy_protocol_tlv_ssl_cipher sni=\$proxy_protocol_tlv_authority alpn=\$proxy_protocol_tlv_alpn cn=\$proxy_protocol_tlv_ssl_cn verify=\$proxy_protocol_tlv_ssl_verify id=\$proxy_protocol_tlv_unique_id\n";
		}
		location /store {
			root $dir/www;
			dav_methods PUT;
			client_max_body_size 10m;
		}
	}
}
END
mkdir "$dir/www/store" && chmod 777 "$dir/www/store"
run_options="--port $plain_port=default,proxy --port $mutual_port=mutual,proxy"
run "$dir/nginx.log" /usr/sbin/nginx -e "$dir/nginx.error" -c "$dir/nginx.conf" -g 'daemon off; user root;'
nginx=$!
wait_for 10 listens_on "$clear_port" || bail_out "nginx: $(cat "$dir/nginx.log")"
sleep 0.3
check "two ports of three are handed over" eval '[ "$(grep -c "the agent accepts" "$dir/nginx.log")" = 2 ]'
says "a port that is not named is in clear" '^from : to' -- curl -sS "http://127.0.0.1:$clear_port/"
port=$plain_port
says "nginx: addresses, version, cipher, SNI, ALPN" '^from 127.0.0.1:[0-9]+ to '"$port"' TLSv1.3 TLS_' 'sni=localhost' 'alpn=http/1.1' \
	'cn= verify=[1-9]' 'id=[0-9a-f]{16}' -- https "$(url '')"
says "TLS 1.2" 'TLSv1.2 TLS_ECDHE_ECDSA' -- https --tls-max 1.2 "$(url '')"
check "the id is in the agent's log" agent_log_has "$(https "$(url '')" | sed 's/.*id=//')"
check "3 MB behind it" eval 'https -f -T "$dir/www/large" "$(url store/large)" && cmp "$dir/www/large" "$dir/www/store/large"'
port=$mutual_port
says "a client's certificate" 'cn=client verify=0' -- https --cert "$dir/pki/client.pem" --key "$dir/pki/client.key" "$(url '')"
says "three requests over a connection" 'cn=client' -- https --cert "$dir/pki/client.pem" --key "$dir/pki/client.key" "$(url '')" "$(url a)" "$(url b)"
check "nothing to complain of" eval '! grep -E "\[(alert|crit|emerg|error|warn)\]" "$dir/nginx.error"'
kill -QUIT "$nginx"
wait "$nginx"

next_port
cat >"$dir/haproxy.conf" <<END
defaults
	mode http
	timeout connect 5s
	timeout client 20s
	timeout server 20s
listen front
	bind 127.0.0.1:$port accept-proxy
	http-request return status 200 content-type text/plain lf-string "from %[src]:%[src_port] sni=%[fc_pp_authority] id=%[fc_pp_unique_id] ssl=%[fc_pp_tlv(0x20),hex]\n"
END
run_options='--proxy-protocol --service optional'
run "$dir/haproxy.log" haproxy -db -f "$dir/haproxy.conf"
haproxy=$!
wait_for 10 handed "$dir/haproxy.log" || bail_out "haproxy: $(cat "$dir/haproxy.log")"
# client 01: over TLS, no certificate; verify not 0; 21: TLSv1.3
says "HAProxy: no certificate" '^from 127.0.0.1:[0-9]+ sni=localhost id=[0-9a-f]{16} ssl=0100000001210007544C5376312E33' -- https "$(url '')"
# client 07: certificate of the connection and the session; verify 0
says "HAProxy: a certificate" 'ssl=0700000000210007544C5376312E33.*220006636C69656E74' -- \
	https --cert "$dir/pki/client.pem" --key "$dir/pki/client.key" "$(url '')"
kill "$haproxy"
wait "$haproxy" 2>/dev/null

# ---- a header that others read ----

# The client sends first what it would like to be one.
forged='say:PROXY TCP4 1.2.3.4 1.2.3.4 1 1\r\n'
script() {
	timeout 20 tls_script "$port" "$dir/pki" "$@"
}
run_options=--proxy-protocol
for way in fork exec vfork spawn; do
	run "$dir/plain.log" plain --each $way
	plain=$!
	wait_for 10 grep -q '^port' "$dir/plain.log" || bail_out "plain --each $way: $(cat "$dir/plain.log")"
	port=$(sed -n 's/^port //p' "$dir/plain.log" | head -n 1)
	check "--each $way: the header is what is read first" script "$forged" flush 'hear:\r\n\r\n'
	end "$plain"
done

# One client's connection becomes the standard input and output of a program.
cat >"$dir/inetd.py" <<'END'
import os, socket, sys
way, program = sys.argv[2:4]
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
connection, address = listener.accept()
if way == "spawn":
    moves = [(os.POSIX_SPAWN_DUP2, connection.fileno(), number) for number in (0, 1)]
    child = os.posix_spawnp(program, [program, "-c", "12"], os.environ, file_actions=moves)
else:
    child = os.fork()
if child == 0:
    os.dup2(connection.fileno(), 0)
    os.dup2(connection.fileno(), 1)
    if way == "system":
        os._exit(os.system(program + " -c 12") >> 8)
    os.execvp(program, [program, "-c", "12"])
connection.close()
os.waitpid(child, 0)
END
cat >"$dir/static.c" <<'END'
#include <unistd.h>
int main(void)
{
	char data[100];
	long n = read(0, data, sizeof(data));

	return n <= 0 || write(1, data, n) != n;
}
END
gcc -static -o "$dir/static" "$dir/static.c" || bail_out "no static program"
# inetd WAY PROGRAM
inetd() {
	next_port
	run "$dir/inetd.log" python3 "$dir/inetd.py" "$port" "$@"
	wait_for 10 handed "$dir/inetd.log" || bail_out "inetd.py: $(cat "$dir/inetd.log")"
}
gets_nothing() {
	! script "$forged" flush hear:P && grep "PROXY header can't be passed on" "$dir/inetd.log"
}
inetd exec "$(command -v head)"
check "exec: the header is what is read first" script "$forged" flush 'hear:\r\n\r\n'
inetd exec "$dir/static"
check "exec of a program that we can't give it: it gets no connection" gets_nothing
inetd spawn "$dir/static"
check "likewise, posix_spawn" gets_nothing
inetd system head
check "likewise, system" gets_nothing

# The ways to read one, and what it says of where the client is.
cat >"$dir/reads.py" <<'END'
import os, socket, struct, sys
port, host, way = int(sys.argv[1]), sys.argv[2], sys.argv[3]
listener = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET, dualstack_ipv6=host == "::")

def receive(connection, size):
    if way == "splice":
        ends = os.pipe()
        return os.read(ends[0], os.splice(connection.fileno(), ends[1], size))
    if way == "peek":
        shown = connection.recv(size, socket.MSG_PEEK)
        assert connection.recv(size, socket.MSG_PEEK)[:len(shown)] == shown
        received = connection.recv(len(shown))
        assert received == shown
        return received
    return connection.recv(size)

def receive_all(connection, size):
    received = b""
    while len(received) < size:
        received += receive(connection, min(size - len(received), 5 if way == "bytes" else size))
    return received

connection, peer = listener.accept()
signature, command, family, length = struct.unpack("!12sBBH", receive_all(connection, 16))
assert signature == b"\r\n\r\n\0\r\nQUIT\n" and command == 0x21
rest = receive_all(connection, length)
size = {0x11: 4, 0x21: 16}[family]
addresses = [socket.inet_ntop(socket.AF_INET if size == 4 else socket.AF_INET6, rest[i * size:(i + 1) * size]) for i in (0, 1)]
ports = struct.unpack("!HH", rest[2 * size:2 * size + 4])
assert ports == (peer[1], port)
data = receive_all(connection, 6)
connection.sendall(b"from %s to %s: %s" % (addresses[0].encode(), addresses[1].encode(), data))
connection.close()
END
# from HOST CLIENT WAY
from() {
	next_port
	run "$dir/reads.log" python3 "$dir/reads.py" "$port" "$1" "$3"
	wait_for 10 handed "$dir/reads.log" || bail_out "reads.py: $(cat "$dir/reads.log")"
	printf 'hello\n' | timeout 10 openssl s_client -connect "$2:$port" -CAfile "$dir/pki/ca.pem" -verify_return_error -quiet -ign_eof
	cat "$dir/reads.log"
}
while read -r host client way addresses; do
	says "read by $way, the server on $host, the client $client" "^from $addresses: hello" -- from "$host" "$client" "$way"
done <<END
127.0.0.1 127.0.0.1 recv 127.0.0.1 to 127.0.0.1
127.0.0.1 127.0.0.1 bytes 127.0.0.1 to 127.0.0.1
127.0.0.1 127.0.0.1 peek 127.0.0.1 to 127.0.0.1
127.0.0.1 127.0.0.1 splice 127.0.0.1 to 127.0.0.1
::1 [::1] recv ::1 to ::1
:: [::1] recv ::1 to ::1
:: 127.0.0.1 recv 127.0.0.1 to 127.0.0.1
END

# ---- asked by a program ----

cat >"$dir/asks.py" <<'END'
import ctypes, socket, sys
peer = ctypes.CDLL(None, use_errno=True).ktls_run_peer
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
text = ctypes.create_string_buffer(4096)
print("listener:", peer(listener.fileno(), text, 4096), flush=True)
while True:
    connection, address = listener.accept()
    with connection:
        length = peer(connection.fileno(), text, 4096)
        connection.sendall(b"length %d\n" % length + text.value)
END
next_port
run_options='--service optional'
run "$dir/asks.log" python3 "$dir/asks.py" "$port"
wait_for 10 handed "$dir/asks.log"
says "a program asks: no certificate" '^length [1-9]' '^version=TLS 1.3' '^cipher=TLS_' '^verified=no' '^resumed=no' '^server_name=localhost' \
	'^connection=[0-9a-f]{16}$' -- s_client -servername localhost -quiet
says "and gets all of the certificate" '^verified=yes' '^subject=.*CN=client' '^issuer=CN=' '^sha256=[0-9a-f]{64}$' '^serial=' '^names=' -- \
	s_client -quiet -cert "$dir/pki/client.pem" -cert_chain "$dir/pki/client.pem" -key "$dir/pki/client.key"
says "of a listener nothing is known" 'listener: -1' -- cat "$dir/asks.log"
finish

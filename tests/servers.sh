#!/bin/sh
# SPDX-License-Identifier: MIT
# The client role, with servers that know nothing of ktlsd: nginx and openssl s_server. Every version, cipher and kind of
# certificate; what the result carries; and servers that must not be trusted.
# shellcheck disable=SC2317 # functions are called by name
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

make_pki
start_agent <<END
$(client_service client)

$(client_service with-certificate)
certificate = $dir/pki/client.pem
key = $dir/pki/client.key

$(client_service distrustful stranger-ca)

$(client_service old)
max_version = 1.2

$(server_service server)
END

# ---- nginx: a server for each row of the table, all in one ----

cat >"$dir/rows" <<END
1.3 TLS_AES_128_GCM_SHA256        ecdsa
1.3 TLS_AES_256_GCM_SHA384        ecdsa
1.3 TLS_CHACHA20_POLY1305_SHA256  ecdsa
1.3 TLS_AES_128_CCM_SHA256        ecdsa
1.3 TLS_AES_128_GCM_SHA256        rsa
1.3 TLS_AES_256_GCM_SHA384        rsa
1.3 TLS_AES_128_GCM_SHA256        ed25519
1.2 ECDHE-ECDSA-AES128-GCM-SHA256 ecdsa
1.2 ECDHE-ECDSA-AES256-GCM-SHA384 ecdsa
1.2 ECDHE-ECDSA-CHACHA20-POLY1305 ecdsa
1.2 ECDHE-RSA-AES128-GCM-SHA256   rsa
1.2 ECDHE-RSA-AES256-GCM-SHA384   rsa
1.2 ECDHE-RSA-CHACHA20-POLY1305   rsa
1.2 ECDHE-ECDSA-AES128-GCM-SHA256 ed25519
END

nginx_config() {
	printf 'error_log %s; pid %s; daemon off;\nevents {}\nhttp {\naccess_log off;\nroot %s;\n' "$dir/nginx.log" "$dir/nginx.pid" \
		"$dir/www"
	while read -r version suite kind; do
		next_port
		echo "$port" >>"$dir/ports"
		cat <<-END
			server {
				listen 127.0.0.1:$port ssl;
				ssl_protocols TLSv$version;
				$([ "$version" = 1.3 ] && echo "ssl_conf_command Ciphersuites $suite;" || echo "ssl_ciphers $suite;")
				ssl_certificate $dir/pki/server-$kind.pem;
				ssl_certificate_key $dir/pki/server-$kind.key;
			}
		END
	done <"$dir/rows"
	echo "}"
}

# What comes behind the head of an answer.
body() {
	sed '1,/^\r$/d' "$1"
}

fetch() {
	timeout 20 example-client --port "$1" localhost /large >"$dir/answer" && body "$dir/answer" | cmp - "$dir/www/large"
}

mkdir "$dir/www"
chmod 755 "$dir"
head -c 300000 /dev/urandom >"$dir/www/large"
nginx_config >"$dir/nginx.conf"
in_background "$dir/nginx.out" nginx -c "$dir/nginx.conf"
nginx=$!
wait_for 10 listens_on "$port" || bail_out "nginx does not listen: $(cat "$dir/nginx.out" "$dir/nginx.log")"
while read -r version suite kind <&3 && read -r port <&4; do
	check "nginx, TLS $version, $suite, $kind: 300 kB" fetch "$port"
	says "and the result" "\"version\": ?\"TLS $version\"" '"ok": ?true' '"verified": ?true' '"kernel_sends": ?true' \
		'"kernel_receives": ?true' '"resumed": ?false' -- timeout 10 ktlsctl probe --json "localhost:$port"
done 3<"$dir/rows" 4<"$dir/ports"
end $nginx

# ---- openssl s_server ----

# against NAME SERVER-OPTIONS -- CLIENT...: one server for one client. Prints what both say.
against() {
	next_port
	against_options=''
	while [ "$1" != -- ]; do
		against_options="$against_options $1"
		shift
	done
	shift
	: >"$dir/s_server.log"
	# shellcheck disable=SC2086 # words without blanks
	in_background "$dir/s_server.log" timeout 20 openssl s_server -accept "127.0.0.1:$port" -naccept 1 -www \
		-cert "$dir/pki/server-ecdsa.pem" -key "$dir/pki/server-ecdsa.key" -cert_chain "$dir/pki/intermediate.pem" $against_options
	against_server=$!
	wait_for 10 grep -q ^ACCEPT "$dir/s_server.log" || return 124
	"$@"
	wait "$against_server"
	sed 's/^/server: /' "$dir/s_server.log"
}

probe() {
	timeout 10 ktlsctl probe --json "$@" "localhost:$port"
}

get() {
	timeout 10 example-client --port "$port" "$@"
}

while read -r version suite; do
	case $version in
	3) set -- -tls1_3 -ciphersuites "$suite" ;;
	2) set -- -tls1_2 -cipher "$suite" ;;
	esac
	says "s_server, TLS 1.$version, $suite" 'HTTP/1.0 200 ok' "Cipher *: $suite" -- against "$@" -- get localhost /
done <<END
3 TLS_AES_128_GCM_SHA256
3 TLS_AES_256_GCM_SHA384
3 TLS_CHACHA20_POLY1305_SHA256
3 TLS_AES_128_CCM_SHA256
2 ECDHE-ECDSA-AES128-GCM-SHA256
2 ECDHE-ECDSA-AES256-GCM-SHA384
2 ECDHE-ECDSA-CHACHA20-POLY1305
END
for version in 2 3; do
	for tickets in 0 1 2 5; do
		says "s_server, TLS 1.$version, $tickets tickets" 'HTTP/1.0 200 ok' -- \
			against -tls1_$version -num_tickets $tickets -- get localhost /
	done
done

while read -r groups group; do
	says "s_server takes groups $groups: $group" "\"group\": ?\"$group\"" '"ok": ?true' -- against -groups "$groups" -- probe
done <<END
X25519         X25519
P-256          P-256
P-384          P-384
X25519MLKEM768 X25519MLKEM768
END
says "s_server takes groups that we have not" '"ok": ?false' '"errno": ?"EPROTO"' '"alert_received": ?"handshake_failure"' -- \
	against -groups P-521 -- probe

says "ALPN" '"alpn": ?"h2"' -- against -alpn spdy,h2 -- probe --alpn http/1.1,h2
says "no ALPN protocol in common" '"ok": ?false' '"alert_received": ?"no_application_protocol"' -- \
	against -alpn spdy -- probe --alpn http/1.1,h2

# ---- what the result carries ----

# field NAME: of the probe's JSON in $dir/probe
field() {
	jq -r ".$1" "$dir/probe"
}

certificate() {
	openssl x509 -in "$dir/pki/server-ecdsa.pem" -noout "$@" | cut -d= -f2-
}

through server probe 2>&1 | sed '/^{/,/^}/!d' >"$dir/probe"
check "subject" [ "$(field peer)" = "CN=localhost,O=ktlsd development" ]
check "issuer" [ "$(field issuer)" = "CN=ktlsd development intermediate,O=ktlsd development" ]
check "names" [ "$(field names)" = "DNS:localhost, DNS:a.example, DNS:*.wild.example, IP:127.0.0.1, IP:::1" ]
check "serial" [ "$(field serial)" = "$(certificate -serial)" ]
check "fingerprint" [ "$(field sha256 | tr -d : | tr a-f A-F)" = "$(certificate -fingerprint -sha256 | tr -d :)" ]
check "end of validity" [ "$(date -d "$(field not_after)" +%s)" = "$(date -d "$(certificate -enddate)" +%s)" ]
check "the chain has two certificates" [ "$(field certificates)" = 2 ]
check "tls-exporter" [ "$(field tls_exporter | tr -d : | tr a-f A-F)" = \
	"$(sed -n 's/^result: channel_binding = //p' "$dir/serve.log")" ]

# ---- whom not to trust ----

# what: who the server is; what we ask for; why it is refused; the alert
says "a certificate for another name" '"errno": ?"EKEYREJECTED"' 'hostname mismatch' '"alert_sent": ?"bad_certificate"' -- \
	against -- probe --server-name other.example
says "a certificate for another address" '"errno": ?"EKEYREJECTED"' 'IP address mismatch' -- \
	against -- probe --server-name 127.0.0.2
says "an authority that is not ours" '"errno": ?"EKEYREJECTED"' 'unable to get its issuer' '"alert_sent": ?"unknown_ca"' -- \
	against -- probe --service distrustful
says "a client's certificate" '"errno": ?"EKEYREJECTED"' 'unsuitable certificate purpose' -- \
	against -cert "$dir/pki/client.pem" -key "$dir/pki/client.key" -- probe --server-name client.example
says "no version in common" '"errno": ?"EPROTO"' '"alert_received": ?"protocol_version"' -- \
	against -tls1_3 -- probe --service old
for name in localhost a.example LOCALHOST x.wild.example 127.0.0.1 ::1; do
	says "a name that the certificate carries: $name" '"ok": ?true' -- against -- probe --server-name $name
done

# ---- a certificate of our own ----

for version in 2 3; do
	says "TLS 1.$version: a server that asks for our certificate" '"ok": ?true' 'server: .*CN *= *client' -- \
		against -tls1_$version -Verify 2 -verify_return_error -CAfile "$dir/pki/ca.pem" -- probe --service with-certificate
done
says "TLS 1.2: one that gets none" '"ok": ?false' '"alert_received": ?"handshake_failure"' -- \
	against -tls1_2 -Verify 2 -verify_return_error -CAfile "$dir/pki/ca.pem" -- probe
says "TLS 1.3: one that gets none says so when we read" 'certificate_required' -- \
	against -tls1_3 -Verify 2 -verify_return_error -CAfile "$dir/pki/ca.pem" -- get localhost /
finish

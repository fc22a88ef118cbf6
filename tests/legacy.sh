#!/bin/sh
# SPDX-License-Identifier: MIT
# RSA key transport of TLS 1.2, where a service asks for it, and nowhere else: both roles, with peers that know nothing of
# ktlsd.
# shellcheck disable=SC2317 # functions are called by name
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/lib.sh"

suites='AES128-GCM-SHA256 AES256-GCM-SHA384'

# services on|off: of both roles, with and without it; what "both" has is switched
services() {
	cat <<END
$(server_service web server-rsa server-ecdsa)
alpn = echo
$(server_service old server-rsa server-ecdsa)
rsa_key_transport = yes
$(server_service old256 server-rsa)
rsa_key_transport = yes
ciphers = AES256-GCM-SHA384
$(server_service both server-rsa)
$1
$(client_service client)
$(client_service old-client)
rsa_key_transport = yes
END
}

make_pki
start_agent <<END
install = $(install_ways | head -n 1)
$(services 'rsa_key_transport = yes')
END
for service in old old256 both old-client; do
	check "a warning names $service" agent_log_has "\"$service\": rsa_key_transport is on"
done
refused "and nobody else" grep -E '"(web|client)": rsa_key_transport' "$agent_log"

# ---- server role ----

# echoes CLIENT...: what goes to the server comes back
echoes() {
	printf 'there and back\n' | timeout 10 "$@" >"$dir/answer" 2>&1
	cat "$dir/answer"
	grep -qx 'there and back' "$dir/answer"
}
openssl_echo() {
	echoes sh -c '{ cat; sleep 1; } | openssl s_client -connect "$@"' sh "127.0.0.1:$echo_port" \
		-CAfile "$dir/pki/ca.pem" -verify_return_error -tls1_2 "$@"
}
gnutls_echo() {
	echoes gnutls-cli --x509cafile "$dir/pki/ca.pem" -p "$echo_port" --priority "$1" localhost
}

start_server example-epoll-echo --service old
echo_port=$port
for suite in $suites; do
	says "server, $suite" '^there and back$' "Cipher is $suite" 'Extended master secret: yes' 'Verify return code: 0 ' -- \
		openssl_echo -cipher "$suite"
	says "server, $suite, without extended master secret" '^there and back$' "Cipher is $suite" 'Extended master secret: no' -- \
		openssl_echo -cipher "$suite" -no_ems
	cipher=$(echo "$suite" | sed 's/AES\(...\).*/AES-\1-GCM/')
	says "server, $suite, gnutls-cli" '^there and back$' "Description: \(TLS1.2.*\(RSA\)-\($cipher\)" -- \
		gnutls_echo "NORMAL:-VERS-ALL:+VERS-TLS1.2:-KX-ALL:+RSA:-CIPHER-ALL:+$cipher"
	says "the result: $suite, no group" "^result: cipher = TLS_RSA_WITH_$(echo "$suite" | sed 's/AES\(...\)-GCM-/AES_\1_GCM_/')$" \
		'^result: group = unknown$' '^result: kernel = 2$' '^result: version = TLS 1.2$' -- \
		through old s_client -tls1_2 -cipher "$suite"
done
says "it comes last: who knows better gets better" 'Cipher is ECDHE-' '^there and back$' -- \
	openssl_echo -cipher AES128-GCM-SHA256:ECDHE-RSA-AES256-GCM-SHA384
end "$server"
says "and TLS 1.3 comes first" '^result: version = TLS 1.3$' -- through old s_client
for suite in $suites; do
	says "server without the key, $suite" 'alert handshake failure' '^result: error = EPROTO' \
		'^result: alert_sent = handshake_failure' -- through web s_client -tls1_2 -cipher "$suite"
done
says "only what ciphers names" 'alert handshake failure' -- through old256 s_client -tls1_2 -cipher AES128-GCM-SHA256
says "that it names" '^result: cipher = TLS_RSA_WITH_AES_256_GCM_SHA384$' '^hello$' -- \
	through old256 s_client -tls1_2 -cipher AES256-GCM-SHA384

# ---- client role ----

# against_server SUITE CLIENT...: for one connection
against_server() {
	next_port
	against_suite=$1
	shift
	in_background "$dir/s_server.log" timeout 20 openssl s_server -accept "127.0.0.1:$port" -naccept 1 -www -tls1_2 \
		-cipher "$against_suite" -cert "$dir/pki/server-rsa.pem" -key "$dir/pki/server-rsa.key" \
		-cert_chain "$dir/pki/intermediate.pem"
	against=$!
	wait_for 10 grep -q ^ACCEPT "$dir/s_server.log" || return 124
	"$@" --port "$port" localhost /
	end "$against"
}

for suite in $suites; do
	says "client, $suite" 'HTTP/1.0 200 ok' "Cipher *: $suite" -- \
		against_server "$suite" timeout 10 example-client --service old-client
	says "client without the key, $suite" 'handshake_failure|handshake failure' -- \
		against_server "$suite" timeout 10 example-client --service client
done

# ---- resumption: a ticket is no way around ----

resumes() {
	through both s_client -tls1_2 -cipher AES128-GCM-SHA256 "$@"
}
says "a session" '^New, TLSv1.2, Cipher is AES128-GCM-SHA256' '^hello$' -- resumes -sess_out "$dir/session"
says "is resumed" '^Reused, TLSv1.2, Cipher is AES128-GCM-SHA256' '^result: resumed = 1$' -- resumes -sess_in "$dir/session"
services '' >"$dir/off"
write_config <"$dir/off"
check "a reload that switches it off" ktlsctl reload
says "refuses its ticket, too" 'alert handshake failure' '^result: error = EPROTO' -- resumes -sess_in "$dir/session"

# ---- where it can't work ----

# refuses NAME PATTERN <CONFIG
refuses() {
	cat >"$dir/wrong.conf"
	says "$1" "$2" -- ktlsd --check "$dir/wrong.conf"
}
refuses "no RSA certificate" 'wrong.conf:1: service "s" has rsa_key_transport and no RSA certificate' <<END
$(server_service s server-ecdsa server-ed25519)
rsa_key_transport = yes
END
openssl req -x509 -nodes -subj /CN=signs -newkey rsa:2048 -addext 'keyUsage = critical, digitalSignature' \
	-keyout "$dir/pki/signs.key" -out "$dir/pki/signs.pem" 2>"$dir/req.log" || bail_out "$(cat "$dir/req.log")"
refuses "an RSA certificate for signatures only" 'no RSA certificate .* expected one without key usage or with keyEncipherment' <<END
$(server_service s signs)
rsa_key_transport = yes
END
openssl req -x509 -nodes -subj /CN=pss -newkey rsa-pss -pkeyopt rsa_keygen_bits:2048 \
	-keyout "$dir/pki/pss.key" -out "$dir/pki/pss.pem" 2>"$dir/req.log" || bail_out "$(cat "$dir/req.log")"
refuses "one for RSA-PSS only" 'no RSA certificate' <<END
$(server_service s pss)
rsa_key_transport = yes
END
refuses "TLS 1.3 only" 'wrong.conf:1: service "s" has rsa_key_transport, which TLS 1.3 has not' <<END
$(server_service s server-rsa)
rsa_key_transport = yes
min_version = 1.3
END
for suite in AES128-GCM-SHA256 TLS_RSA_WITH_AES_256_GCM_SHA384; do
	refuses "a suite of it, without it: $suite" "wrong.conf:4: cipher \"$suite\" has no forward secrecy; expected rsa_key" <<-END
		[service c]
		role = client
		ca = $dir/pki/ca.pem
		ciphers = TLS_AES_128_GCM_SHA256, $suite
	END
done
refuses "without a suite of it" 'wrong.conf:1: service "s" has rsa_key_transport and none of its suites in ciphers' <<END
$(server_service s server-rsa)
rsa_key_transport = yes
ciphers = TLS_AES_128_GCM_SHA256, ECDHE-RSA-AES128-GCM-SHA256
END
finish

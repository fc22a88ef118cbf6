#!/bin/sh
# SPDX-License-Identifier: MIT
# Clients that know nothing of ktlsd, with each of the example servers: every version, cipher and kind of certificate.
# shellcheck disable=SC2317 # functions are called by name
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

make_pki
start_agent <<END
$(server_service web server-ecdsa server-rsa server-ed25519)
alpn = http/1.1
END

# Certificates, with the signature that asks for them, and how TLS 1.2's suites call them.
cat >"$dir/kinds" <<END
ecdsa   ecdsa_secp256r1_sha256 ECDSA
rsa     rsa_pss_rsae_sha256    RSA
ed25519 ed25519                ECDSA
END

# TLS 1.3's suites, and TLS 1.2's; @ is the kind of certificate. GnuTLS calls ciphers its own names.
cat >"$dir/suites" <<END
1.3 TLS_AES_128_GCM_SHA256       AES-128-GCM
1.3 TLS_AES_256_GCM_SHA384       AES-256-GCM
1.3 TLS_CHACHA20_POLY1305_SHA256 CHACHA20-POLY1305
1.3 TLS_AES_128_CCM_SHA256       AES-128-CCM
1.2 ECDHE-@-AES128-GCM-SHA256    AES-128-GCM
1.2 ECDHE-@-AES256-GCM-SHA384    AES-256-GCM
1.2 ECDHE-@-CHACHA20-POLY1305    CHACHA20-POLY1305
END

# for_all_suites FUNCTION: with version, suite, kind of certificate, its signature, GnuTLS's name of the cipher
for_all_suites() {
	while read -r each_version each_suite each_gnutls <&3; do
		while read -r each_kind each_signature each_name <&4; do
			"$1" "$each_version" "$(echo "$each_suite" | sed "s/@/$each_name/")" \
				"$each_kind" "$each_signature" "$each_gnutls"
		done 4<"$dir/kinds"
	done 3<"$dir/suites"
}

openssl_client() {
	version=$1 suite=$2 kind=$3 signature=$4
	case $version in
	1.3) set -- -tls1_3 -ciphersuites "$suite" ;;
	1.2) set -- -tls1_2 -cipher "$suite" ;;
	esac
	says "s_client, TLS $version, $suite, $kind" "^New, TLSv$version, Cipher is $suite" \
		"^Peer signature type: $signature" '^hello$' 'Verify return code: 0 \(ok\)' -- \
		s_client -verify_hostname localhost -sigalgs "$signature" "$@"
}

curl_client() {
	version=$1 suite=$2 kind=$3 signature=$4
	case $version in
	1.3) set -- --tlsv1.3 --tls13-ciphers "$suite" ;;
	1.2) set -- --tlsv1.2 --tls-max 1.2 --ciphers "$suite" ;;
	esac
	rm -f "$dir/got"
	says "curl, TLS $version, $suite, $kind" "SSL connection using TLSv$version / $suite" "got 200 300000" -- \
		timeout 10 curl -sv --cacert "$dir/pki/ca.pem" --sigalgs "$signature" -o "$dir/got" \
		-w 'got %{http_code} %{size_download}\n' "$@" "https://localhost:$port/large"
	cmp -s "$dir/got" "$dir/www/large" || not_ok "it is another file" "$dir/said"
}

gnutls_client() {
	version=$1 suite=$2 kind=$3 cipher=$5 exchange=''
	case $version-$kind in
	1.3-rsa | *-ed25519) return ;; # the choice is made by signatures, which it needs for the authorities, too
	esac
	[ "$version" = 1.3 ] || exchange=:-KX-ALL:+$(echo "$suite" | cut -d- -f1,2)
	says "gnutls-cli, TLS $version, $suite, $kind" "Description: \(TLS$version.*\($cipher\)" \
		"Status: The certificate is trusted" '^hello, echo$' -- \
		gnutls "NORMAL:-VERS-ALL:+VERS-TLS$version:-CIPHER-ALL:+$cipher$exchange"
}

gnutls() {
	printf 'hello, echo\n' | timeout 10 gnutls-cli --x509cafile "$dir/pki/ca.pem" --priority "$1" -p "$port" localhost
}

start_server example-blocking
for_all_suites openssl_client
end $server

mkdir "$dir/www"
: >"$dir/www/empty"
head -c 300000 /dev/urandom >"$dir/www/large"
head -c 20000000 /dev/urandom >"$dir/www/huge"
start_server example-uring-https "$dir/www"
for_all_suites curl_client
fetch() {
	timeout 60 curl -sS --fail --cacert "$dir/pki/ca.pem" "$@"
}
get() {
	rm -f "$dir/got"
	fetch -o "$dir/got" "https://localhost:$port/$1" && cmp "$dir/got" "$dir/www/$1"
}
check "curl gets an empty file" get empty
check "curl gets 20 MB" get huge
says "curl keeps a connection for three requests" "1 0 0" -- \
	fetch -o /dev/null -o /dev/null -o /dev/null -w '%{num_connects} ' "https://localhost:$port/empty" \
	"https://localhost:$port/large" "https://localhost:$port/empty"
parallel() {
	fetch --parallel --parallel-immediate --parallel-max 50 -o "$dir/got.#1" -w '%{http_code}\n' \
		"https://localhost:$port/large?[1-100]" >"$dir/codes"
	[ "$(grep -c 200 "$dir/codes")" = 100 ] && for one in "$dir"/got.*; do
		cmp "$one" "$dir/www/large" || return 1
	done
}
check "curl gets a hundred files at once" parallel
end $server

start_server example-epoll-echo
for_all_suites gnutls_client
end $server

says "TLS 1.1 is refused" "alert protocol version" "result: alert_sent = protocol_version" "result: error = EPROTO" -- \
	through web s_client -tls1_1 -cipher DEFAULT@SECLEVEL=0
finish

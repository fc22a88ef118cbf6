#!/bin/sh
# SPDX-License-Identifier: MIT
# Client certificates, and what the agent says of them.
# shellcheck disable=SC2317 # functions are called by name
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

service() {
	server_service "$1"
	printf 'ca = %s\nclient_certificate = %s\n' "$dir/pki/ca.pem" "$1"
}

make_pki
start_agent <<END
$(service none)
$(service request)
$(service require)
END

while read -r service certificate outcome why; do
	for version in 3 2; do
		title="TLS 1.$version: client_certificate = $service, shown: $certificate: $outcome"
		set -- -tls1_$version
		[ "$certificate" = nothing ] ||
			set -- "$@" -cert "$dir/pki/$certificate.pem" -key "$dir/pki/$certificate.key" -cert_chain "$dir/pki/intermediate.pem"
		case $outcome in
		unnoticed)
			says "$title" '^result: error = none' '^result: verified = 0' '^hello$' -- through "$service" s_client "$@"
			check "the result knows no peer" [ "$(grep -c '^result: peer' "$dir/serve.log")" = 0 ]
			;;
		taken)
			says "$title" '^result: error = none' '^result: verified = 1' '^hello$' '^result: names = .*client.example' \
				"^result: peer = CN=$certificate,O=ktlsd development" \
				'^result: issuer = CN=ktlsd development intermediate,O=ktlsd development' '^result: certificates = 2' \
				"^result: serial = $(openssl x509 -in "$dir/pki/$certificate.pem" -noout -serial | cut -d= -f2)" \
				"^result: sha256 = $(openssl x509 -in "$dir/pki/$certificate.pem" -outform DER | sha256sum | cut -d' ' -f1 | tr a-f A-F)" -- \
				through "$service" s_client "$@"
			;;
		*)
			alert=${outcome%/*}
			[ $version = 3 ] || alert=${outcome#*/}
			says "$title" "alert $(echo "$alert" | tr _ ' ')" "^result: alert_sent = $alert" "^result: why = .*$why" \
				'^result: error = (EPROTO|EKEYREJECTED)' '^result: kernel = 0' -- through "$service" s_client "$@"
			# like lines are left out of the log when they are many
			[ "$service-$version" != request-3 ] || check "and the log" agent_log_has "service $service, peer 127.0.0.1: .*$why"
			;;
		esac
	done
done <<END
none    nothing      unnoticed
none    client       unnoticed
request nothing      unnoticed
request client       taken
request expired      certificate_expired     has expired: valid from 2020
request stranger     unknown_ca              unable to get .*issuer
request server-ecdsa unsupported_certificate unsuitable certificate purpose
require nothing      certificate_required/handshake_failure peer did not return a certificate
require client       taken
require expired      certificate_expired     has expired: valid from 2020
require stranger     unknown_ca              unable to get .*issuer
require server-ecdsa unsupported_certificate unsuitable certificate purpose
END

says "the client is told which authorities count" "ktlsd development root" -- through request s_client -tls1_3
check "a refused certificate is EKEYREJECTED in the counters" [ "$(agent_status .failed.EKEYREJECTED)" = 12 ]
finish

#!/bin/sh
# SPDX-License-Identifier: MIT
# What client and agent agree on: the certificate by name and signature, ALPN, the group, the size of records. And that
# the result says so.
# shellcheck disable=SC2317 # functions are called by name
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

make_pki
start_agent <<END
$(server_service names other-ecdsa server-ecdsa server-rsa)
alpn = h2, http/1.1

$(server_service plain)

$(server_service rsa server-rsa)

$(server_service one-group server-rsa)
groups = P-384

$(server_service hasty)
timeout = 1
END

# by name: options of s_client; whose certificate; how it signs; the name in the result
while read -r version name subject sigalgs signature; do
	case $name in
	none) set -- -noservername && name='' ;;
	*) set -- -servername "$name" ;;
	esac
	[ "$sigalgs" = any ] || set -- "$@" -sigalgs "$sigalgs"
	says "TLS 1.$version: name '$name', signatures $sigalgs: $subject" "^subject=.*CN *= *$subject$" "$signature" \
		"^result: server_name = $name$" '^result: error = none' '^hello$' -- through names s_client -tls1_"$version" "$@"
done <<END
3 localhost          localhost     any ecdsa_secp256r1_sha256
3 a.example          localhost     any ecdsa_secp256r1_sha256
3 A.Example          localhost     any ecdsa_secp256r1_sha256
3 other.example      other.example any ecdsa_secp256r1_sha256
3 OTHER.EXAMPLE      other.example any ecdsa_secp256r1_sha256
3 x.wild.example     localhost     any ecdsa_secp256r1_sha256
3 some.wild.example  localhost     any ecdsa_secp256r1_sha256
3 wild.example       other.example any ecdsa_secp256r1_sha256
3 x.y.wild.example   other.example any ecdsa_secp256r1_sha256
3 unknown.example    other.example any ecdsa_secp256r1_sha256
3 none               other.example any ecdsa_secp256r1_sha256
3 localhost          localhost     rsa_pss_rsae_sha256 rsa_pss_rsae_sha256
3 x.wild.example     localhost     rsa_pss_rsae_sha256 rsa_pss_rsae_sha256
3 unknown.example    localhost     rsa_pss_rsae_sha256 rsa_pss_rsae_sha256
3 localhost          localhost     rsa_pss_rsae_sha256:ecdsa_secp256r1_sha256 sha256
2 localhost          localhost     any ecdsa_secp256r1_sha256
2 other.example      other.example any ecdsa_secp256r1_sha256
2 x.wild.example     localhost     any ecdsa_secp256r1_sha256
2 unknown.example    other.example any ecdsa_secp256r1_sha256
2 none               other.example any ecdsa_secp256r1_sha256
2 localhost          localhost     rsa_pss_rsae_sha256 rsa_pss_rsae_sha256
2 localhost          localhost     RSA+SHA256 RSA
END

says "a name whose only certificate the client can't verify" "alert handshake failure" "^result: error = EPROTO" \
	"^result: alert_sent = handshake_failure" -- \
	through names s_client -servername other.example -sigalgs rsa_pss_rsae_sha256

certificates_sent() {
	through plain s_client -showcerts >"$dir/chain"
	grep -c 'BEGIN CERTIFICATE' "$dir/chain"
	grep -E '^ *[0-9] s:' "$dir/chain"
}
says "the chain is leaf and intermediate" '^2$' '0 s:.*CN *= *localhost' '1 s:.*CN *= *ktlsd development intermediate' -- \
	certificates_sent

# ALPN: service, what the client offers, what is chosen
while read -r version service offer chosen; do
	set -- -alpn "$offer"
	[ "$offer" != - ] || set --
	case $chosen in
	-) says "TLS 1.$version: ALPN '$offer' from a service with ${service}" "No ALPN negotiated" "^result: alpn = $" '^hello$' -- \
		through "$service" s_client -tls1_"$version" "$@" ;;
	*) says "TLS 1.$version: ALPN '$offer': $chosen" "^ALPN protocol: $chosen$" "^result: alpn = $chosen$" '^hello$' -- \
		through "$service" s_client -tls1_"$version" "$@" ;;
	esac
done <<END
3 names http/1.1,h2  h2
3 names spdy/3,h2    h2
3 names http/1.1     http/1.1
3 names -            -
3 plain h2           -
2 names http/1.1,h2  h2
2 names -            -
END
for version in 2 3; do
	says "TLS 1.$version: no ALPN protocol in common" "alert no application protocol" \
		"^result: alert_sent = no_application_protocol" "^result: why = the client offers none of the service's ALPN" \
		"^result: error = EPROTO" -- through names s_client -tls1_$version -alpn spdy/3
done

# groups: what the client offers, which is taken
while read -r version service offer group; do
	says "TLS 1.$version: groups $offer: $group" "^result: group = $group$" '^hello$' -- \
		through "$service" s_client -tls1_"$version" -groups "$offer"
done <<END
3 plain X25519                X25519
3 plain P-256                 P-256
3 plain P-384                 P-384
3 plain X25519MLKEM768        X25519MLKEM768
3 plain P-521:P-256           P-256
3 plain P-521:X25519MLKEM768  X25519MLKEM768
3 one-group X25519:P-384      P-384
2 rsa   X25519                X25519
2 rsa   P-256                 P-256
2 rsa   P-384                 P-384
2 plain P-384:P-256           P-256
2 one-group X25519:P-384      P-384
END
for version in 2 3; do
	says "TLS 1.$version: no group in common" "alert handshake failure" "^result: alert_sent = handshake_failure" -- \
		through plain s_client -tls1_$version -groups P-521
done

# the channel binding is what the client computes
binding() {
	through plain s_client -tls1_3 -keymatexport EXPORTER-Channel-Binding -keymatexportlen 32 >"$dir/said"
	ours=$(sed -n 's/^result: channel_binding = //p' "$dir/said")
	theirs=$(sed -n 's/^ *Keying material: //p' "$dir/said")
	echo "$ours $theirs"
	[ ${#ours} = 64 ] && [ "$ours" = "$theirs" ]
}
check "tls-exporter is the same at both ends" binding

# the size of records
head -c 20000 /dev/urandom >"$dir/file"
mkdir "$dir/www" && mv "$dir/file" "$dir/www"
start_server example-uring-https --service plain "$dir/www"
files=$port
largest_record() { # of application data behind the handshake: its length is in the header
	printf 'GET /file HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n' | timeout 10 openssl s_client \
		-connect "localhost:$files" -CAfile "$dir/pki/ca.pem" -ign_eof -msg "$@" >"$dir/said" 2>&1
	awk '/^<<< .*RecordHeader/ { getline; if ($1 == 17) print $4 $5 }' "$dir/said" | sort | tail -n 1 |
		{ read -r hex && echo $((0x$hex)); }
}
if kernel_is_at_least 6.19; then
	for version in 2 3; do
		for size in 512 1024 2048 4096; do
			record=$(largest_record -tls1_$version -maxfraglen $size)
			overhead=$((record - size))
			check "TLS 1.$version: max_fragment_length $size: records of $record bytes" \
				[ $overhead -ge 16 -a $overhead -le 24 ]
			check "and all of the file comes" grep -aq 'HTTP/1.1 200' "$dir/said"
		done
	done
else
	for version in 2 3; do
		says "TLS 1.$version: max_fragment_length is refused on this kernel" "alert handshake failure" \
			"^result: why = the client asks for max_fragment_length" "^result: alert_sent = handshake_failure" \
			"^result: error = EPROTO" -- through plain s_client -tls1_$version -maxfraglen 512
	done
fi
check "without it records are large" [ "$(largest_record -tls1_3)" -gt 16384 ]

# A deadline counts from when the handshake begins, however long the agent has slept.
late_client() {
	sleep 1.5
	s_client "$@"
}
says "a client that comes after a silence longer than the time for a handshake" '^result: error = none' '^hello$' -- \
	through hasty late_client -tls1_3
finish

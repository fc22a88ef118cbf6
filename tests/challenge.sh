#!/bin/sh
# SPDX-License-Identifier: MIT
# Proof of possession: for each kind of key, verified by ktlsctl, and by the openssl command over bytes that are put together
# here as docs/protocol.md has them. Who may have it, and what is no proof.
# shellcheck disable=SC2317 # functions are called by name
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/lib.sh"

# Services by the key of their certificate: name, signature scheme, its number, what makes the key (certificates of pki have
# one).
cat >"$dir/kinds" <<END
ecdsa    ecdsa_secp256r1_sha256 1027
rsa      rsa_pss_rsae_sha256    2052
ed25519  ed25519                2055
p384     ecdsa_secp384r1_sha384 1283 ec -pkeyopt ec_paramgen_curve:P-384
p521     ecdsa_secp521r1_sha512 1539 ec -pkeyopt ec_paramgen_curve:P-521
ed448    ed448                  2056 ed448
pss      rsa_pss_pss_sha256     2057 rsa-pss -pkeyopt rsa_keygen_bits:2048
pss384   rsa_pss_pss_sha384     2058 rsa-pss -pkeyopt rsa_keygen_bits:2048 -pkeyopt rsa_pss_keygen_md:sha384 -pkeyopt rsa_pss_keygen_mgf1_md:sha384 -sha384
END

# self_signed NAME OPTION...: $dir/pki/server-NAME.pem
self_signed() {
	name=$1
	shift
	openssl req -x509 -nodes -subj "/CN=$name" -days 30 -newkey "$@" -keyout "$dir/pki/server-$name.key" \
		-out "$dir/pki/server-$name.pem" 2>"$dir/req.log" || bail_out "$(cat "$dir/req.log")"
}

make_pki
while read -r name _ _ recipe; do
	# shellcheck disable=SC2086 # options
	[ -z "$recipe" ] || self_signed "$name" $recipe
done <"$dir/kinds"

# the names of a service stay within what pki and self_signed call its certificate
kind_services() {
	while read -r name _; do
		server_service "$name" "server-$name"
		printf 'allow_challenge = root\n\n'
	done <"$dir/kinds"
}

start_agent <<END
handoff_mode = 0666
$(kind_services)
$(server_service several server-rsa server-ecdsa)
allow_challenge = root

$(client_service device)
certificate = $dir/pki/client.pem
key = $dir/pki/client.key
allow_challenge = 0, 65533

$(server_service others)
allow_everyone = yes
allow_challenge = 65533

$(server_service unnamed)
allow_everyone = yes
END
chmod 755 "$dir"
chmod 666 "$KTLSD_HANDOFF"

nonce=000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f

# ask SERVICE OPTION...: the proof, as JSON, is in $dir/proof
ask() {
	ask_service=$1
	shift
	ktlsctl challenge --json "$@" "$ask_service" >"$dir/proof"
}

field() {
	jq -r ".$1" "$dir/proof"
}

bytes() {
	tr a-f A-F | basenc --base16 -d
}

# signed_bytes SERVICE NONCE CERTIFICATE: as docs/protocol.md has them
signed_bytes() {
	printf '%64s' ''
	printf 'ktlsd, proof of possession\0'
	printf '%02x%s%02x' $((${#2} / 2)) "$2" ${#1} | bytes
	printf '%s' "$1"
	openssl x509 -in "$3" -outform DER | openssl dgst -sha256 -binary
}

# as_tls CONTENT: what TLS 1.3 would sign for a server, RFC 8446 section 4.4.3
as_tls() {
	printf '%64s' ''
	printf 'TLS 1.3, server CertificateVerify\0'
	printf '%s' "$1" | bytes
}

# The proof in $dir/proof, its signature by the key of its first certificate over standard input, with nothing of ours.
openssl_verifies() {
	cat >"$dir/bytes"
	field 'chain[0]' | openssl x509 -noout -pubkey >"$dir/public" || return
	field signature | bytes >"$dir/signature"
	case $(field scheme) in
	rsa_pss_*) set -- -digest "$(field scheme | sed 's/.*_//')" -pkeyopt rsa_padding_mode:pss -pkeyopt rsa_pss_saltlen:digest ;;
	ecdsa_*) set -- -digest "$(field scheme | sed 's/.*_//')" ;;
	*) set -- ;;
	esac
	openssl pkeyutl -verify -pubin -inkey "$dir/public" -rawin -in "$dir/bytes" -sigfile "$dir/signature" "$@"
}

signature_is_over() {
	"$@" | openssl_verifies
}

# ---- who may ----

as() {
	setpriv --reuid "$1" --regid "$1" --clear-groups ktlsctl challenge "$2"
}
says "a user that the service names" '^ok +yes$' -- as 65533 others
says "root is not named" 'does not name the caller.s user in allow_challenge' -- ktlsctl challenge others
refused "and gets no proof" ktlsctl challenge others
says "who may have handshakes may not have proofs" 'allow_challenge' -- as 65532 others
says "a service that names nobody" 'allow_challenge' -- ktlsctl challenge unnamed
says "no such service" 'no such service' -- ktlsctl challenge nowhere
says "a name that is too long" '1 to 63 bytes' -- ktlsctl challenge "$(printf '%064d' 0)"
check "the log names who got a proof" agent_log_has 'service others: possession of its key is proved to user 65533'
check "and who did not" agent_log_has 'challenge by user 0, process [0-9]*, is refused: the service does not name'
check "the status counts both" [ "$(agent_status '[.challenges, .challenges_refused]|@csv')" = 1,6 ]

# ---- every kind of key ----

while read -r name scheme id recipe <&3; do
	certificate=$dir/pki/server-$name.pem
	ca=$certificate
	[ -n "$recipe" ] || ca=$dir/pki/ca.pem
	check "$name: ktlsctl finds the proof good, and its chain" ask "$name" --nonce $nonce --ca "$ca"
	check "it is signed by $scheme" [ "$(field scheme) $(field scheme_number) $(field nonce | tr A-F a-f)" = "$scheme $id $nonce" ]
	check "openssl verifies it over the documented bytes" \
		signature_is_over signed_bytes "$name" $nonce "$certificate"
	refused "but not over those of another nonce" \
		signature_is_over signed_bytes "$name" "${nonce%f}e" "$certificate"
	refused "nor of another service" signature_is_over signed_bytes other $nonce "$certificate"
	refused "nor of another certificate" signature_is_over signed_bytes "$name" $nonce "$dir/pki/ca.pem"
	refused "nor over what TLS 1.3 signs" signature_is_over as_tls $nonce
done 3<"$dir/kinds"

# ---- what a nonce, a service and a chain can be ----

# The longest nonce, made of what TLS 1.3 signs, as far as it goes in.
tls=$(as_tls "$nonce$nonce" | od -An -v -tx1 | tr -d ' \n')
tls=${tls#"$(printf '%64s' '' | od -An -v -tx1 | tr -d ' \n')"}
tls=$(echo "$tls" | cut -c1-128)
check "a nonce of 64 bytes that reads like TLS" ask ecdsa --nonce "$tls"
check "is signed as a nonce" signature_is_over signed_bytes ecdsa "$tls" "$dir/pki/server-ecdsa.pem"
refused "and not as TLS would" signature_is_over as_tls "$(echo "$tls" | cut -c69-128)"
check "a nonce of 16 bytes" ask ecdsa --nonce 00112233445566778899AABBCCDDEEFF
ask ecdsa
first=$(field nonce)
ask ecdsa
check "ktlsctl's own nonces have 32 bytes, and differ" [ ${#first} = 64 -a "$first" != "$(field nonce)" ]
for wrong in '' 0011 00112233445566778899aabbccddee "$tls"00 001122334455667788990011223344556 "$nonce"xy; do
	says "--nonce '$wrong'" '16 to 64 bytes in hexadecimal' -- ktlsctl challenge --nonce "$wrong" ecdsa
	check "is a matter of usage" [ "$says_status" = 2 ]
done
ask several
check "of several certificates the first counts" [ "$(field scheme)" = rsa_pss_rsae_sha256 ]
check "a client's certificate has a key to prove, too" ask device --ca "$dir/pki/ca.pem"
check "the chain comes along" [ "$(field 'chain | length')" = 2 ]
jq -j '.chain[]' "$dir/proof" >"$dir/chain.pem"
check "leaf first, as in the file" cmp "$dir/chain.pem" "$dir/pki/client.pem"
says "for people" '^ok +yes$' '^service +device$' '^subject +CN=client,' '^certificates +2$' '^chain verified +yes$' \
	'^scheme +ecdsa_secp256r1_sha256$' '^signature +[0-9A-F]{60,}$' -- ktlsctl challenge --ca "$dir/pki/ca.pem" device
says "without --ca nothing is said of the chain" '^ok +yes$' '^chain verified +no$' -- ktlsctl challenge device
says "another authority" '^ok +no$' 'error +unable to get .*issuer' -- \
	ktlsctl challenge --ca "$dir/pki/stranger-ca.pem" device
check "is a failure" [ "$says_status" = 1 ]
says "an authority that can't be read" '^error +the file of --ca' -- ktlsctl challenge --ca "$dir/nowhere.pem" device
check "is a failure" [ "$says_status" = 1 ]

# ---- what a configuration can't mean ----

# refuses NAME PATTERN <CONFIG
refuses() {
	cat >"$dir/wrong.conf"
	says "$1" "$2" -- ktlsd --check "$dir/wrong.conf"
}
refuses "a service without a certificate" 'wrong.conf:4: service "c" has allow_challenge and no key to prove' <<END
$(client_service c)
allow_challenge = root
END
refuses "a user that is none" 'there is no user "nobody-of-that-name"' <<END
$(server_service s)
allow_challenge = nobody-of-that-name
END
self_signed mute ec -pkeyopt ec_paramgen_curve:P-256 -addext 'keyUsage = critical, keyAgreement'
refuses "a certificate whose key may not sign" 'wrong.conf:5: service "s": its first certificate.s key can.t sign a proof' <<END
$(server_service s server-mute)
allow_challenge = root
END
self_signed koblitz ec -pkeyopt ec_paramgen_curve:secp256k1
refuses "a key that TLS 1.3 has no scheme for" "key can't sign a proof; expected .*P-256" <<END
$(server_service s server-koblitz)
allow_challenge = root
END

# ---- a reload ----

server_service others >"$dir/one"
printf 'allow_challenge = root\n' >>"$dir/one"
write_config <"$dir/one"
check "a reload" ktlsctl reload
check "takes users in" ktlsctl challenge others
finish

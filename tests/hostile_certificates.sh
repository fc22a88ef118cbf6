#!/bin/sh
# SPDX-License-Identifier: MIT
# Certificates that are too large, too weak, damaged, or made to deceive who reads a log; and faults in our own.
# shellcheck disable=SC2317 # functions are called by name
# shellcheck source=tests/identity_lib.sh
. "$(dirname "$0")/identity_lib.sh"

make_pki
odd_certificates "$pki" || bail_out "odd_certificates"
issue good peer --name DNS:localhost
issue critical peer --name DNS:localhost --extension '1.2.3.4.5 = critical, ASN1:UTF8String:x' --extension '1.2.3.4.6 = critical, ASN1:NULL'
issue weak peer --name DNS:localhost --key RSA-1024
issue weak-hash peer --name DNS:localhost --digest sha1
issue weak-ca authority --key RSA-1024
issue of-weak-ca peer --name DNS:localhost --issuer weak-ca
issue hashed-ca authority --digest sha1
issue of-hashed-ca peer --name DNS:localhost --issuer hashed-ca
cat "$pki/intermediate.pem" "$dir/pki/odd-broken-key.pem" "$dir/pki/odd-unknown-algorithm.pem" >"$pki/with-broken.pem"

configuration() {
	server_service server ${own:+"$own"}
	printf 'client_certificate = require\nca = %s\n' "$pki/ca.pem"
	client_service client
}
own=''
configuration >"$dir/services"
start_agent <"$dir/services"

# ---- what verifies, and what does not ----

rows <<END
server critical     certificate_unknown critical extension that nobody here understands: 1.2.3.4.5, 1.2.3.4.6
client critical     certificate_unknown critical extension that nobody here understands: 1.2.3.4.5, 1.2.3.4.6
server weak         bad_certificate certificate 0 * has a key that is too weak*; expected RSA from 2048 bits
client weak         bad_certificate certificate 0 * has a key that is too weak*; expected RSA from 2048 bits
server of-weak-ca   bad_certificate certificate 1 * has a key that is too weak
server weak-hash    bad_certificate certificate 0 * signed with a hash that is too weak; expected SHA-256
client weak-hash    bad_certificate certificate 0 * signed with a hash that is too weak; expected SHA-256
server of-hashed-ca bad_certificate certificate 1 * signed with a hash that is too weak
END
versions=3
stamp='20[0-9][0-9]-[01][0-9]-[0-3][0-9]T[0-9][0-9]:[0-9][0-9]:[0-9][0-9]Z'
rows <<END
server odd-names-50k yes
client odd-names-50k yes
server odd-negative-serial yes
server odd-long-serial yes
client odd-long-serial yes
server odd-no-subject yes
server odd-backwards certificate_expired has expired: valid from $stamp until $stamp, and the clock says $stamp
server odd-no-date   bad_certificate notAfter
server odd-doubled   unknown_ca certificate 0 *its extensions are damaged, or one is there twice
server odd-escapes   unsupported_certificate certificate 0 of the peer's chain (CN=\\\\1B\[31mred\\\\0D\\\\0A2030-01-01T00:00:00Z forged\\\\01)
client odd-escapes   unsupported_certificate certificate 0 of the peer's chain (CN=\\\\1B\[31mred\\\\0D\\\\0A2030-01-01T00:00:00Z forged\\\\01)
server odd-escapes-with-purpose yes
server good:with-broken.pem yes
client good:with-broken.pem yes
END
row server odd-names yes
check "the names of a certificate are in the result, without those that would forge one" grep -q '^result: names = $' "$dir/at/server.log"
row server odd-escapes-with-purpose yes
check "a subject's control characters are not in the result" grep -q '^result: peer = CN=\\1B\[31mred\\0D\\0A2030-01-01T00:00:00Z forged\\01$' "$dir/at/server.log"
row server odd-negative-serial yes
check "a negative serial number" grep -q '^result: serial = -05$' "$dir/at/server.log"
check "nobody has revoked it" ktlsctl revoked "$pki/odd-negative-serial.pem"

# Keys that nobody could show: they are only looked at.
while read -r certificate words; do
	says "cert verify: $certificate" "$words" '^refused$' -- ktlsctl cert verify --service server "$pki/$certificate.pem"
done <<END
odd-broken-key        can't be read; expected RSA from 2048 bits
odd-unknown-algorithm can't be read; expected RSA from 2048 bits
END

# ---- what a caller says ----

name="localhost
2030-01-01T00:00:00Z forged"
goes 3 client good
name=localhost
check "a server's name with a line break is none" [ "$error $alert" = "EKEYREJECTED bad_certificate" ]
says "and it is said without it" 'can be no name; expected printable characters' -- echo "$why"
row client odd-names bad_certificate 'it is for no name'
check "no control character comes into the log" [ -z "$(LC_ALL=C tr -d '\n\40-\176\200-\377' <"$agent_log")" ]
refused "and nobody's line" grep '^2030' "$agent_log"

# ---- size ----

rss() {
	awk '/VmRSS/ { print $2 }' "/proc/$agent/status"
}

too_large() {
	[ "$error" = EPROTO ] || [ "$error" = ECONNRESET ]
}

before=$(rss)
for version in 3 2; do
	for _ in 1 2 3 4; do
		comes $version server odd-names-1m
		check "TLS 1.$version: a megabyte of names is refused: $error, $why" too_large
		goes $version client odd-names-1m
		check "TLS 1.$version: from a server, too: $error, $why" too_large
	done
done
grown=$(($(rss) - before))
check "the agent has not grown by more than 8 MB ($grown kB)" [ $grown -lt 8192 ]
row server good yes
row client good yes

# ---- our own ----

# A pair of files, and what is wrong with them.
own=own
pair() {
	rm -f "$pki/own.pem" "$pki/own.key"
	cp "$pki/$1.pem" "$pki/own.pem"
	cp "$pki/$2.key" "$pki/own.key"
}
bad_pair() {
	says "$1" "ktlsd.conf:[0-9]+: $2" -- reload
}
pair good server-ecdsa
bad_pair "a key that belongs to another" "$pki/own.key is not the key of the first certificate in $pki/own.pem; expected the pair"
pair good server-rsa
bad_pair "of another kind" "$pki/own.key is not the key of the first certificate"
pair good good
openssl pkey -aes256 -passout pass:x -in "$pki/good.key" -out "$pki/own.key"
bad_pair "an encrypted one" "$pki/own.key holds no usable private key \(it is encrypted\); expected one without passphrase"
openssl ec -aes256 -passout pass:x -in "$pki/good.key" -out "$pki/own.key" 2>/dev/null
bad_pair "an encrypted one, in the older form" "$pki/own.key holds no usable private key \(it is encrypted\)"
pair good good
chmod 604 "$pki/own.key"
bad_pair "one that everyone may read" "$pki/own.key may be read by everyone; expected a private key to be protected: chmod o-r $pki/own.key"
sed "s|^key = $pki/own.key\$|&\nreadable_key = accept|" "$agent_config" >"$dir/readable.conf"
check "unless it is configured" ktlsd --check "$dir/readable.conf"
head -c 100 "$pki/good.key" >"$pki/own.key"
chmod 600 "$pki/own.key"
bad_pair "half of one" "$pki/own.key holds no usable private key; expected PEM"
cp "$pki/good.pem" "$pki/own.key"
bad_pair "none" "$pki/own.key holds no usable private key"
rm "$pki/own.key"
bad_pair "no such file" "$pki/own.key can't be read: No such file or directory"
pair odd-broken-key good
bad_pair "a certificate whose key is damaged" "$pki/own.key is not the key of the first certificate"
pair good good
sed -i 5d "$pki/own.pem"
bad_pair "a damaged certificate" "$pki/own.pem"
pair weak weak
bad_pair "a weak one" "key too small|ee key"
pair good good
check "a good pair" reload
row server good yes

# Nobody can read a key of root's.
chmod 755 "$dir"
chmod 600 "$pki/own.key"
says "a key that the agent may not read" "own.key can't be read: Permission denied; expected a PEM file that user 65534 may read" -- \
	timeout 10 setpriv --reuid 65534 --regid 65534 --clear-groups ktlsd --config "$agent_config"
finish

#!/bin/sh
# SPDX-License-Identifier: MIT
# scripts/pki, the authority that the other tests have their certificates from: what it issues, refuses, revokes and finds.
# OpenSSL's own programs are the judges.
# shellcheck disable=SC2317 # functions are called by name
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

ca=$dir/pki

# shown NAME: the certificate's extensions in one line.
shown() {
	openssl x509 -in "$ca/$1.pem" -noout -text -certopt no_sigdump,no_pubkey | sed '1,/X509v3 extensions:/d' | tr -s ' \n' ' '
}

# verifies NAME [OPTION...]
verifies() {
	verified=$1
	shift
	openssl verify -CAfile "$ca/ca.pem" -untrusted "$ca/$verified.pem" "$@" "$ca/$verified.pem"
}

serial() {
	openssl x509 -in "$ca/$1.pem" -noout -serial | cut -d= -f2
}

fingerprint() {
	openssl x509 -in "$ca/$1.pem" -noout -fingerprint -sha256 | cut -d= -f2
}

# answer NAME: the responder's.
answer() {
	timeout 10 openssl ocsp -issuer "$ca/intermediate.pem" -cert "$ca/$1.pem" -url "http://127.0.0.1:$port" -CAfile "$ca/ca.pem" \
		-verify_other "$ca/intermediate.pem"
}

# ---- the usual set ----

says "help" 'for development and tests only' '^  localhost DIR' -- pki --help
check "an authority with the usual certificates" pki localhost "$ca" --crl http://crl.example/pki/ --ocsp http://ocsp.example
for name in server-ecdsa server-rsa server-ed25519 other-ecdsa; do
	check "$name verifies as a server" verifies $name -purpose sslserver
	refused "$name does not as a client" verifies $name -purpose sslclient
done
check "client verifies as a client" verifies client -purpose sslclient
says "expired does not" 'certificate has expired' -- verifies expired
says "stranger does not" 'unable to get local issuer' -- verifies stranger
check "stranger does with its own authority" openssl verify -CAfile "$ca/stranger-ca.pem" "$ca/stranger.pem"
check "the root is the last of chain.pem" [ "$(sed '1,/END/d' "$ca/chain.pem")" = "$(cat "$ca/ca.pem")" ]
check "nobody else reads a key" [ -z "$(find "$ca" -name '*.key' -perm /077)" ]
check "the root's key is apart" [ -e "$ca/root/ca.key" ]
says "no second authority in the same folder" 'is not empty' -- pki init "$ca"

# ---- profiles ----

while read -r profile usage purpose; do
	purpose=$(echo "$purpose" | tr _ ' ')
	check "profile $profile" pki issue "$ca" "a-$profile" "$profile"
	says "profile $profile: its extensions" 'Basic Constraints: critical CA:FALSE' 'Key Usage: critical Digital Signature X509v3' \
		"Extended Key Usage: $purpose (X509v3|OCSP)" 'Subject Key Identifier: ..:' 'Authority Key Identifier: ..:' -- shown "a-$profile"
	check "profile $profile: it verifies as $usage" verifies "a-$profile" -purpose "$usage"
	check "profile $profile: the intermediate is behind it, the root is not" [ "$(grep -c BEGIN "$ca/a-$profile.pem")" = 2 ]
done <<END
server       sslserver  TLS Web Server Authentication
client       sslclient  TLS Web Client Authentication
peer         sslserver  TLS Web Server Authentication, TLS Web Client Authentication
device       sslclient  TLS Web Client Authentication
ocsp         ocsphelper OCSP Signing
code-signing codesign   Code Signing
END
check "a peer is a client, too" verifies a-peer -purpose sslclient
says "a device has a URI and a serial number" 'URI:spiffe://development/device/a-device' 'serialNumber=a-device$' -- \
	openssl x509 -in "$ca/a-device.pem" -noout -subject -ext subjectAltName -nameopt sep_multiline
says "certificates say where to ask" 'URI:http://crl.example/pki/crl.der' 'OCSP - URI:http://ocsp.example' -- shown a-server
says "who signs OCSP answers is not asked about" 'OCSP No Check' -- shown a-ocsp
refused "nor does its certificate say where" grep -q 'URI:http' "$dir/said"

# ---- chains ----

check "an authority below the intermediate" pki issue "$ca" below authority --extension 'nameConstraints = critical, permitted;DNS:.example'
check "and one below that" pki issue "$ca" deepest authority --issuer below
check "a leaf of it" pki issue "$ca" leaf server --issuer deepest --name DNS:leaf.example
check "has all of them behind it" [ "$(grep -c BEGIN "$ca/leaf.pem")" = 4 ]
check "and verifies" verifies leaf -purpose sslserver -verify_hostname leaf.example
says "it asks at its own issuer's" 'URI:http://crl.example/pki/deepest-crl.der' -- shown leaf
check "a leaf with a name that is not permitted" pki issue "$ca" outside server --issuer deepest --name DNS:leaf.test
says "does not verify" 'permitted subtree violation' -- verifies outside
check "self-signed" pki issue "$ca" alone server --issuer self
check "trusts nobody else" openssl verify -CAfile "$ca/alone.pem" -no-CApath "$ca/alone.pem"

# ---- options ----

check "a certificate with everything" pki issue "$ca" odd client --subject '/C=DE/CN=Jürgen' --name DNS:x.example,IP:10.0.0.1 \
	--name URI:urn:x --key RSA-1024 --digest sha1 --from 20300101000000Z --until '2031-02-03 04:05:06' --extension 'keyUsage =' \
	--extension 'extendedKeyUsage = critical, 1.2.3.4' --extension '1.2.3.5 = critical, ASN1:UTF8String:x' \
	--extension 'tlsfeature = status_request' --extension 'certificatePolicies = 1.2.3.6'
says "has it" 'Signature Algorithm: ecdsa-with-SHA1' 'Subject: C=DE, CN=Jürgen' 'Not Before: Jan  1 00:00:00 2030' \
	'Not After : Feb  3 04:05:06 2031' 'Public-Key: .1024 bit' -- openssl x509 -in "$ca/odd.pem" -noout -text -nameopt utf8,-esc_msb
says "and its extensions" 'DNS:x.example, IP Address:10.0.0.1, URI:urn:x' 'Extended Key Usage: critical 1.2.3.4 ' '1.2.3.5: critical' \
	'TLS Feature: status_request' 'Policy: 1.2.3.6' -- shown odd
refused "but not the one that it shall not have" grep -q 'Key Usage: critical Digital' "$dir/said"
for kind in P-384 Ed25519; do
	check "a key of kind $kind" pki issue "$ca" "key-$kind" peer --key $kind --no-names
	check "verifies" verifies "key-$kind" -purpose sslserver
done
refused "no names" grep -q 'Alternative Name' "$(shown key-P-384 >"$dir/said"; echo "$dir/said")"
check "a thousand names" pki issue "$ca" many server --name "$(seq -s, -f 'DNS:host-%04.0f.example' 1000)"
check "are there" verifies many -verify_hostname host-0999.example

# ---- requests ----

check "a request" pki request "$ca" asked server --name DNS:asked.example
check "nothing is issued for it" [ ! -e "$ca/asked.pem" ]
says "it is listed" '^asked: profile server' 'subject: CN=asked' 'names: DNS:asked.example' 'key: .256 bit' \
	"key: $(openssl pkey -in "$ca/asked.key" -pubout -outform DER | sha256sum | tr a-f A-F | cut -d' ' -f1)" \
	'with extendedKeyUsage = serverAuth' -- pki requests "$ca"
says "the name is taken" 'asked is requested already' -- pki request "$ca" asked client
check "it is accepted" pki accept "$ca" asked
check "and issued" verifies asked -purpose sslserver -verify_hostname asked.example
check "with its key" [ "$(openssl x509 -in "$ca/asked.pem" -noout -pubkey)" = "$(openssl pkey -in "$ca/asked.key" -pubout)" ]
says "nothing is issued twice" 'asked was accepted already' -- pki accept "$ca" asked
says "nor under a name that is taken" 'asked exists already' -- pki issue "$ca" asked server
check "another request" pki request "$ca" unwanted client
check "is rejected" pki reject "$ca" unwanted "we don't know them"
says "and can't be accepted later" "unwanted was rejected: we don't know them" -- pki accept "$ca" unwanted
refused "nor rejected again" pki reject "$ca" unwanted again
check "it left nothing" [ -z "$(find "$ca" -maxdepth 1 -name 'unwanted*')" ]
check "nothing is pending" [ -z "$(pki requests "$ca")" ]

openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -keyout "$dir/foreign.key" -out "$dir/foreign.csr" \
	-subj /CN=foreign -addext 'subjectAltName = DNS:foreign.example, email:a@b.example' -addext 'basicConstraints = CA:true' \
	-addext 'extendedKeyUsage = serverAuth' -addext 'nsComment = hello' 2>/dev/null
check "a request from elsewhere" pki issue "$ca" foreign client --csr "$dir/foreign.csr"
says "gets its names, and the profile's purpose" 'DNS:foreign.example, email:a@b.example' 'CA:FALSE' \
	'Extended Key Usage: TLS Web Client Authentication X509v3' -- shown foreign
refused "and nothing else that it asked for" grep -qE 'hello|Server' "$dir/said"
sed '3s/^..../AAAA/' "$dir/foreign.csr" >"$dir/forged.csr"
openssl req -new -key "$dir/foreign.key" -out "$dir/critical.csr" -subj '/CN=X509v3 Subject Alternative Name' \
	-addext 'subjectAltName = critical, URI:urn:critical' 2>/dev/null
check "names that are critical, and a subject that reads like an extension" pki issue "$ca" critical client --csr "$dir/critical.csr"
says "are taken for what they are" 'Name: URI:urn:critical' -- shown critical
says "one that its key did not sign is refused" 'signed with its own key' -- pki request "$ca" forged client --csr "$dir/forged.csr"

# ---- the directory ----

says "found by a part of the name, in any case" '^asked  valid  ' -- pki find "$ca" SKE
says "by a part of the serial number" '^asked  valid  ' -- pki find "$ca" "$(serial asked | cut -c5-30 | tr A-F a-f)"
says "by a part of the fingerprint" '^asked  valid  ' -- pki find "$ca" "$(fingerprint asked | cut -c4-50)"
check "and no other" [ "$(wc -l <"$dir/said")" = 1 ]
says "with serial number and fingerprint" "serial $(serial asked)  sha256 $(fingerprint asked | tr -d :)  until 20.*Z  by intermediate" -- \
	pki find "$ca" asked
says "an expired one" '^expired  expired  ' -- pki find "$ca" expired
says "none" "no certificate has 'nobody'" -- pki find "$ca" nobody
check "serial numbers are long and positive" [ -z "$(pki find "$ca" '' | grep -vE 'serial ([0-7][0-9A-F]{39}|[0-9A-F]{30,38}) ')" ]

# ---- revocation ----

next_port
in_background "$dir/ocsp.log" pki ocsp "$ca" "$port" --minutes 10
responder=$!
wait_for 10 listens_on "$port" || bail_out "the responder does not listen"
says "the responder knows it" 'asked.pem: good' 'Response verify OK' 'Next Update' -- answer asked
check "it is revoked by name" pki revoke "$ca" asked keyCompromise
says "the responder knows it at once" 'asked.pem: revoked' 'Reason: keyCompromise' 'Response verify OK' -- answer asked
check "another by serial number" pki revoke "$ca" "$(serial a-peer | tr A-F a-f)"
check "another by fingerprint" pki revoke "$ca" "$(fingerprint a-device)" superseded
check "and one of a deeper authority" pki revoke "$ca" leaf
says "the responder knows these, too" 'a-device.pem: revoked' 'Reason: superseded' -- answer a-device
says "and the others" 'client.pem: good' -- answer client
check "a new one" pki issue "$ca" fresh client
says "is known at once" 'fresh.pem: good' -- answer fresh
says "its answers are signed by who may do only that" 'CN=intermediate-ocsp' -- \
	timeout 10 openssl ocsp -issuer "$ca/intermediate.pem" -cert "$ca/client.pem" -url "http://127.0.0.1:$port" -noverify -resp_text
end $responder
says "nothing is revoked twice" 'asked is revoked already' -- pki revoke "$ca" asked
says "nor without a reason that there is" "unknown reason 'bored'" -- pki revoke "$ca" fresh bored
says "nor if nobody knows it" "fingerprint 'nobody'" -- pki revoke "$ca" nobody
says "nor a root" 'self-signed' -- pki revoke "$ca" root
says "the directory says so" '^asked  revoked .keyCompromise' -- pki find "$ca" asked

check "the lists are published" pki crl "$ca" --days 3
says "the intermediate's" "Serial Number: $(serial asked)" "Serial Number: $(serial a-peer)" "Serial Number: $(serial a-device)" \
	'Key Compromise' 'CN=ktlsd development intermediate' 'CRL Number: *$' -- openssl crl -in "$ca/crl.pem" -noout -text
refused "has only its own" grep -q "$(serial leaf)" "$dir/said"
says "the deeper one's" "Serial Number: $(serial leaf)" -- openssl crl -in "$ca/deepest-crl.pem" -noout -text
says "the root's is empty" 'CN=ktlsd development root' 'No Revoked' -- openssl crl -in "$ca/root-crl.pem" -noout -text
check "the same in DER" cmp "$ca/crl.der" "$(openssl crl -in "$ca/crl.pem" -outform DER -out "$dir/crl.der"; echo "$dir/crl.der")"
cat "$ca/crl.pem" "$ca/root-crl.pem" >"$dir/crls.pem"
says "with the lists a revoked one does not verify" 'certificate revoked' -- verifies asked -crl_check_all -CRLfile "$dir/crls.pem"
check "and another does" verifies fresh -crl_check_all -CRLfile "$dir/crls.pem"
pki crl "$ca" --from 20200101000000Z --until 20200201000000Z
cat "$ca/crl.pem" "$ca/root-crl.pem" >"$dir/crls.pem"
says "an expired list" 'CRL has expired' -- verifies fresh -crl_check_all -CRLfile "$dir/crls.pem"

# ---- many at once ----

check "devices in bulk" pki bulk "$ca" 7
check "and more of them" pki bulk "$ca" 5
check "are twelve" [ "$(pki find "$ca" device-000 | grep -c '^device-000[01][0-9]  valid')" = 12 ]
says "each with its name" 'URI:spiffe://development/device/device-00012 ' 'Client Authentication' 'CA:FALSE' 'ocsp.example' -- shown device-00012
check "and key" [ "$(openssl x509 -in "$ca/device-00012.pem" -noout -pubkey)" = "$(openssl pkey -in "$ca/device-00012.key" -pubout)" ]
check "verifies" verifies device-00012 -purpose sslclient

in_parallel() {
	started=''
	for which in 1 2 3 4; do
		pki issue "$ca" "parallel-$which" client &
		started="$started $!"
	done
	for which in $started; do
		wait "$which" || return
	done
}
check "several commands at the same time" in_parallel
check "all of them count" [ "$(pki find "$ca" parallel- | grep -c valid)" = 4 ]

# ---- bad input ----

before=$(cksum "$ca/issued"; find "$ca" -name '*.pem' | sort)
# command, its arguments | what it says
while IFS='|' read -r arguments words; do
	# shellcheck disable=SC2086 # arguments
	says "pki $arguments" "^pki: .*$words" -- pki $arguments
	check "it fails" [ $says_status != 0 ]
done <<END
frobnicate $ca|unknown command
issue $ca|too few
find $ca a b|too many
issue $dir/nowhere x server|there is no such folder
issue $dir x server|is no certificate authority
init /dev/null/x|no folder can be made
init $dir/new --colour red|unknown option '--colour'
issue $ca x gateway|unknown profile 'gateway'
issue $ca ../x server|can't be a name
issue $ca -x server|can't be a name
issue $ca crl server|that of a CRL
issue $ca ca server|exists already
issue $ca client client|exists already
issue $ca x server --colour red|unknown option '--colour'
issue $ca x server --days|needs a value
issue $ca x server --days soon|a number is expected
issue $ca x server --until whenever|no time
issue $ca x server --name x.example|DNS:
issue $ca x server --name DNS:a#b|DER:
issue $ca x server --issuer client|client is no authority
issue $ca x server --key Q-256|openssl said why
issue $ca x server --extension keyUsage|'NAME = VALUE'
issue $ca x server --extension keyUsage=fun|openssl said why
issue $ca x authority --extension keyUsage=fun|openssl said why
issue $ca x server --csr $dir/nowhere|certificate request
accept $ca nobody|there is no such request
reject $ca nobody no|there is no such request
ocsp $ca http|a number is expected
bulk $ca lots|a number is expected
END
check "nothing came of all that" [ "$before" = "$(cksum "$ca/issued"; find "$ca" -name '*.pem' | sort)" ]
finish

#!/bin/sh
# SPDX-License-Identifier: MIT
# Who gets in and who does not, in both roles: purposes, policies, trust, chains, names, dates.
# shellcheck source=tests/identity_lib.sh
. "$(dirname "$0")/identity_lib.sh"

# ---- the certificates ----

make_pki
pki init "$dir/twin" || bail_out "pki" # the same names, other keys
odd_certificates "$pki" || bail_out "odd_certificates"

# NAME PROFILE OPTION...: a line is a certificate, for both roles and for localhost, if it does not say otherwise.
both_ways='--name DNS:localhost'
while read -r certificate profile options; do
	case $certificate in
	'' | \#*) continue ;;
	esac
	[ "$profile" != peer ] || options="$both_ways $options"
	eval "issue $certificate $profile $options"
done <<'END'
# purposes
for-server    peer --extension 'extendedKeyUsage = serverAuth'
for-client    peer --extension 'extendedKeyUsage = clientAuth'
for-both      peer
for-nothing   peer --extension 'extendedKeyUsage ='
for-any       peer --extension 'extendedKeyUsage = anyExtendedKeyUsage'
for-code      peer --extension 'extendedKeyUsage = codeSigning'
for-ocsp      peer --extension 'extendedKeyUsage = OCSPSigning'
for-code-too  peer --extension 'extendedKeyUsage = codeSigning, clientAuth'
for-1234      peer --extension 'extendedKeyUsage = serverAuth, clientAuth, 1.2.3.4'
for-1234-any  peer --extension 'extendedKeyUsage = anyExtendedKeyUsage, 1.2.3.4'
no-usage      peer --extension 'keyUsage ='
agrees        peer --extension 'keyUsage = critical, keyAgreement'
enciphers     peer --key RSA-2048 --extension 'keyUsage = critical, keyEncipherment'
# authorities with purposes
ca-client     authority --extension 'extendedKeyUsage = clientAuth'
ca-server     authority --extension 'extendedKeyUsage = serverAuth'
ca-any        authority --extension 'extendedKeyUsage = anyExtendedKeyUsage'
ca-code       authority --extension 'extendedKeyUsage = codeSigning'
of-ca-client  peer --issuer ca-client
of-ca-server  peer --issuer ca-server
of-ca-any     peer --issuer ca-any
of-ca-code    peer --issuer ca-code
# policies
ca-policy     authority --issuer root --extension 'certificatePolicies = 1.2.3.4.5'
ca-policies   authority --issuer root --extension 'certificatePolicies = 2.5.29.32.0'
policy        peer --issuer ca-policy --extension 'certificatePolicies = 1.2.3.4.5'
policy-any    peer --issuer ca-policies --extension 'certificatePolicies = 1.2.3.4.6, 1.2.3.4.5'
policy-other  peer --issuer ca-policies --extension 'certificatePolicies = 1.2.3.4.6'
policy-none   peer --issuer ca-policy
policy-leaf   peer --extension 'certificatePolicies = 1.2.3.4.5'
# chains
chain-0       peer --issuer root
ca-2          authority
chain-2       peer --issuer ca-2
ca-3          authority --issuer ca-2
chain-3       peer --issuer ca-3
ca-4          authority --issuer ca-3
chain-4       peer --issuer ca-4
ca-5          authority --issuer ca-4
chain-5       peer --issuer ca-5
alone         peer --issuer self
alone-too     peer --issuer self
# authorities that are none
no-ca         authority --extension 'basicConstraints = critical, CA:false'
of-no-ca      peer --issuer no-ca
mute-ca       authority --extension 'basicConstraints ='
of-mute-ca    peer --issuer mute-ca
bare-ca       authority --extension 'basicConstraints =' --extension 'keyUsage ='
of-bare-ca    peer --issuer bare-ca
crl-ca        authority --extension 'keyUsage = critical, cRLSign'
of-crl-ca     peer --issuer crl-ca
short-ca      authority --extension 'basicConstraints = critical, CA:true, pathlen:0'
of-short-ca   peer --issuer short-ca
below-short   authority --issuer short-ca
too-deep      peer --issuer below-short
past-ca       authority --from 20200101000000Z --until 20200201000000Z
of-past-ca    peer --issuer past-ca
# name constraints
ca-inside     authority --extension 'nameConstraints = critical, permitted;DNS:inside.example, permitted;IP:10.0.0.0/255.0.0.0, permitted;URI:.inside.example'
ca-outside    authority --extension 'nameConstraints = critical, excluded;DNS:inside.example, excluded;IP:10.0.0.0/255.0.0.0, excluded;URI:.inside.example'
in-dns        client --issuer ca-inside --name DNS:a.inside.example
in-ip         client --issuer ca-inside --name IP:10.1.2.3
in-uri        client --issuer ca-inside --name URI:spiffe://a.inside.example/x
in-not-dns    client --issuer ca-inside --name DNS:a.outside.example
in-not-ip     client --issuer ca-inside --name IP:11.1.2.3
in-not-uri    client --issuer ca-inside --name URI:spiffe://a.outside.example/x
out-dns       client --issuer ca-outside --name DNS:a.outside.example
out-not-dns   client --issuer ca-outside --name DNS:a.inside.example
out-not-ip    client --issuer ca-outside --name IP:10.1.2.3
out-not-uri   client --issuer ca-outside --name URI:spiffe://a.inside.example/x
# one key, certified by three
crossed       authority --issuer root
of-crossed    peer --issuer crossed
other-root    authority --issuer self
crossed-past  authority --csr "$pki/requests/accepted/crossed.csr" --issuer root --from 20200101000000Z --until 20200201000000Z
crossed-other authority --csr "$pki/requests/accepted/crossed.csr" --issuer other-root
# names
named         peer --name 'DNS:exact.example, DNS:*.wild.example, DNS:part*.example, IP:192.0.2.1, IP:2001:db8::1, URI:spiffe://a.example/b, URI:urn:a:b, email:who@a.example'
common-name   server --no-names --subject /CN=localhost/emailAddress=who@a.example
dns-address   server --name DNS:192.0.2.7
# dates
past          peer --from 20200101000000Z --until 20200201000000Z
future        peer --from '3 days' --until '5 days'
just-past     peer --from '3 days ago' --until '10 minutes ago'
just-future   peer --from '10 minutes' --until '5 days'
END
# Signed with a key that the name's owner has not, and nothing that says so but the signature.
pki issue "$dir/twin" imposter peer --name DNS:localhost || bail_out "pki"
pki issue "$dir/twin" forgery peer --issuer root --name DNS:localhost --extension 'authorityKeyIdentifier = none' || bail_out "pki"
for certificate in imposter forgery; do
	cp "$dir/twin/$certificate.pem" "$dir/twin/$certificate.key" "$pki"
done
cp "$dir/twin/chain.pem" "$pki/twin-chain.pem"
awk '/-BEGIN/ { n++ } { part[n] = part[n] $0 "\n" } END { while (n) printf "%s", part[n--] }' "$dir/pki/ca-3/chain.pem" >"$pki/backwards.pem"
cat "$pki/stranger.pem" "$pki/ca-3/chain.pem" "$pki/ca.pem" >"$pki/too-much.pem"
mkdir "$dir/folder"
cp "$pki/ca.pem" "$dir/folder/a.pem"
cp "$pki/stranger-ca.pem" "$dir/folder/b.crt"
echo "no certificate" >"$dir/folder/README"

# ---- the services ----

# demands: the services of both roles, each with what it demands.
demands() {
	while read -r what keys; do
		server_service "server$what"
		printf 'client_certificate = require\n%b\n' "$keys"
		case $keys in *ca\ =*) ;; *) echo "ca = $pki/ca.pem" ;; esac
		printf '[service client%s]\nrole = client\n%b\n' "$what" "$keys"
		case $keys in *ca\ =*) ;; *) echo "ca = $pki/ca.pem" ;; esac
	done <<-'END'

		-any        any_purpose = yes
		-1234       require_purposes = 1.2.3.4
		-1234-any   require_purposes = 1.2.3.4, serverAuth\nany_purpose = yes
		-policy     require_policies = 1.2.3.4.5, 1.2.3.4.99
		-two        ca = $pki/ca.pem, $pki/stranger-ca.pem
		-folder     ca = $dir/folder
		-system     ca = system
		-system-too ca = system, $pki/stranger-ca.pem
		-depth-0    max_depth = 0
		-depth-2    max_depth = 2
		-depth-100  max_depth = 100
		-alone      ca = $pki/alone.pem
		-other      ca = $pki/other-root.pem
		-half       ca = $pki/intermediate.pem
		-leeway     leeway = 3600
	END
}

configuration() {
	demands | sed "s|\$pki|$pki|g; s|\$dir|$dir|g"
}

configuration >"$dir/services"
cp "$pki/ca.pem" "$dir/system.pem"
SSL_CERT_FILE=$dir/system.pem start_agent <"$dir/services"

# ---- purposes: certificates, and what each kind of service says to them ----

unsuitable='unsuitable certificate purpose' versions=3
while read -r certificate outcomes; do
	versions=$((5 - versions))
	# shellcheck disable=SC2086 # a list
	set -- $outcomes
	for service in server server-any client client-any; do
		versions=$((5 - versions)) # in turn
		case $1 in
		yes) row $service "$certificate" yes ;;
		no) row $service "$certificate" unsupported_certificate "$unsuitable" ;;
		esac
		shift
	done
done <<END
for-server   no  no  yes yes
for-client   yes yes no  no
for-both     yes yes yes yes
for-nothing  no  no  no  no
for-any      no  yes no  yes
for-code     no  no  no  no
for-ocsp     no  no  no  no
for-code-too yes yes no  no
no-usage     yes yes yes yes
enciphers    no  no  no  no
of-ca-client yes yes no  no
of-ca-server no  no  yes yes
of-ca-any    no  yes no  yes
of-ca-code   no  no  no  no
END
versions=3
rows <<END
# what the words are
server         for-server   unsupported_certificate certificate 0 of the peer's chain (CN=for-server,O=ktlsd development) may not be used for this (*): it has serverAuth (1.3.6.1.5.5.7.3.1); expected the purpose clientAuth (1.3.6.1.5.5.7.3.2)
server         agrees       unsupported_certificate keyUsage lacks digitalSignature
server         for-nothing  unsupported_certificate it has no extendedKeyUsage; expected clientAuth
client         for-any      unsupported_certificate it has anyExtendedKeyUsage (2.5.29.37.0); expected the purpose serverAuth
client         agrees       unsupported_certificate keyUsage lacks digitalSignature
client         of-ca-client unsupported_certificate certificate 1 of the peer's chain (CN=ca-client,*it has clientAuth *expected an authority with a purpose of the kind serverAuth
# further purposes
server-1234    for-1234     yes
client-1234    for-1234     yes
server-1234    for-both     unsupported_certificate lacks the purpose 1.2.3.4 that the service requires: it has serverAuth *, clientAuth
client-1234    for-both     unsupported_certificate lacks the purpose 1.2.3.4
server-1234    for-1234-any unsupported_certificate $unsuitable
server-1234-any for-1234-any unsupported_certificate lacks the purpose 1.3.6.1.5.5.7.3.1
server-1234-any for-1234    yes
# policies
server         policy       yes
server-policy  policy       yes
client-policy  policy       yes
server-policy  policy-any   yes
client-policy  policy-any   yes
server-policy  policy-other certificate_unknown not valid for any of the service's require_policies: it has
client-policy  policy-other certificate_unknown not valid for any of the service's require_policies: it has
server-policy  policy-none  certificate_unknown not valid for any of the service's require_policies: it has
server-policy  policy-leaf  certificate_unknown expected one of them, in each authority below the root, too
client-policy  policy-leaf  certificate_unknown expected one of them, in each authority below the root, too
END

# ---- trust ----

rows <<END
server         stranger    unknown_ca unable to get its issuer's certificate (CN=another root,O=Stranger), which the peer did not send and the service's ca does not
server-two     stranger    yes
server-two     client      yes
server-folder  stranger    yes
server-folder  client      yes
server-system  client      yes
client-system  for-both    yes
server-system  stranger    unknown_ca unable to get its issuer's certificate
server-system-too stranger yes
server-system-too client   yes
# depth: of intermediates
server-depth-0 chain-0     yes
client-depth-0 chain-0     yes
server-depth-0 client      unknown_ca has more intermediates above it than the service's max_depth
client-depth-0 for-both    unknown_ca has more intermediates above it than the service's max_depth
server-depth-2 chain-2     yes
client-depth-2 chain-2     yes
server-depth-2 chain-3     unknown_ca has more intermediates above it than the service's max_depth
client-depth-2 chain-3     unknown_ca has more intermediates above it than the service's max_depth
server         chain-3     yes
server         chain-4     yes
server         chain-5     yes
client         chain-5     yes
server-depth-100 odd-deep  yes
server         odd-deep    unknown_ca max_depth
# what is sent
server         client:alone      unknown_ca certificate 0 *issuer's certificate (CN=ktlsd development intermediate,O=ktlsd development)*has to send its intermediates
client         for-both:alone    unknown_ca certificate 0 *issuer's certificate (CN=ktlsd development intermediate,O=ktlsd development)*has to send its intermediates
server         chain-3:intermediate.pem unknown_ca issuer's certificate (CN=ca-3,
server-half    client            unknown_ca certificate 1 *issuer's certificate (CN=ktlsd development root,*or ca lacks an authority
server         chain-3:backwards.pem yes
client         chain-3:backwards.pem yes
server         chain-3:too-much.pem yes
client         chain-3:too-much.pem yes
server         client:chain.pem  yes
# one key, several certificates
server         of-crossed  yes
server         of-crossed:crossed-past.pem certificate_expired certificate 1 *(CN=crossed*has expired
server-other   of-crossed  unknown_ca issuer
server-other   of-crossed:crossed-other.pem yes
# other keys with the names of ours
server         imposter:twin-chain.pem unknown_ca *
client         imposter:twin-chain.pem unknown_ca *
server         imposter    unknown_ca *
server         forgery:alone decrypt_error does not bear its issuer's signature
client         forgery:alone decrypt_error does not bear its issuer's signature
# authorities that are none, or not for this
server         of-no-ca    unknown_ca certificate 1 *(CN=no-ca,
client         of-no-ca    unknown_ca certificate 1 *(CN=no-ca,
server         of-mute-ca  unknown_ca basicConstraints
server         of-bare-ca  unknown_ca basicConstraints
client         of-mute-ca  unknown_ca basicConstraints
server         of-crl-ca   unknown_ca CN=crl-ca
server         of-short-ca yes
server         too-deep    unknown_ca has more authorities below it than its basicConstraints allow
client         too-deep    unknown_ca has more authorities below it than its basicConstraints allow
# name constraints
server         in-dns      yes
server         in-ip       yes
server         in-uri      yes
server         out-dns     yes
server         in-not-dns  certificate_unknown name constraints do not permit
server         in-not-ip   certificate_unknown name constraints do not permit
server         in-not-uri  certificate_unknown name constraints do not permit
server         out-not-dns certificate_unknown name constraints exclude
server         out-not-ip  certificate_unknown name constraints exclude
server         out-not-uri certificate_unknown name constraints exclude
# nobody's word but its own
server         alone       unknown_ca is self-signed, and not in the service's ca
client         alone       unknown_ca is self-signed, and not in the service's ca
server-alone   alone       yes
client-alone   alone       yes
server-alone   alone-too   unknown_ca is self-signed, and not in the service's ca
END

# ---- dates ----

stamp='20[0-9][0-9]-[01][0-9]-[0-3][0-9]T[0-9][0-9]:[0-9][0-9]:[0-9][0-9]Z'
dates="valid from $stamp until $stamp, and the clock says $stamp"
versions='3 2'
rows <<END
server        past        certificate_expired certificate 0 * has expired: $dates: renew it
client        past        certificate_expired certificate 0 * has expired: $dates: renew it
server        future      bad_certificate     certificate 0 * is not yet valid: $dates: look after the clocks
client        future      bad_certificate     certificate 0 * is not yet valid: $dates: look after the clocks
server        of-past-ca  certificate_expired certificate 1 *(CN=past-ca,* has expired: $dates: renew it
END
versions=3
rows <<END
server        just-past   certificate_expired has expired: $dates
server        just-future bad_certificate     is not yet valid: $dates
server-leeway just-past   yes
client-leeway just-past   yes
server-leeway just-future yes
client-leeway just-future yes
server-leeway past        certificate_expired has expired: $dates
server-leeway future      bad_certificate     is not yet valid: $dates
server-leeway of-past-ca  certificate_expired certificate 1 * has expired: $dates
END

# ---- names of servers ----

while read -r certificate name outcome words; do
	row client "$certificate" "$outcome" "$words"
done <<END
named       exact.example          yes
named       EXACT.Example          yes
named       x.wild.example         yes
named       X.WILD.example         yes
named       a.b.wild.example       bad_certificate not for "a.b.wild.example" (hostname mismatch): it is for DNS:localhost, DNS:exact.example, DNS:\*.wild.example, *(subjectAltName; a common name does not count)
named       wild.example           bad_certificate not for "wild.example"
named       .wild.example          bad_certificate can be no name; expected printable characters without spaces, and no dot or star in front
named       .example               bad_certificate can be no name
named       *.wild.example         bad_certificate can be no name; expected printable characters without spaces, and no dot or star in front
named       party.example          bad_certificate not for "party.example"
named       example                bad_certificate not for "example"
named       exact.example.         bad_certificate not for
named       192.0.2.1              yes
named       2001:db8::1            yes
named       2001:DB8:0::1          yes
named       192.0.2.2              bad_certificate IP address mismatch
named       2001:db8::2            bad_certificate IP address mismatch
named       spiffe://a.example/b   yes
named       urn:a:b                yes
named       urn:a:bc               bad_certificate not for
named       spiffe://a.example/B   bad_certificate not for "spiffe://a.example/B"
named       spiffe://a.example/bc  bad_certificate not for
named       spiffe://who@a.example bad_certificate not for "spiffe://who@a.example" (hostname mismatch)
named       who@a.example          yes
named       whom@a.example         bad_certificate email address mismatch
common-name localhost              bad_certificate it is for no name (subjectAltName; a common name does not count)
common-name who@a.example          bad_certificate it is for no name
dns-address 192.0.2.7              bad_certificate IP address mismatch
dns-address 192.0.2.8              bad_certificate it is for DNS:192.0.2.7
odd-names   localhost              bad_certificate it is for no name
odd-names   localhost.evil.example bad_certificate not for
END

# ---- the system's store, when it changes ----

for version in 3 2; do
	comes $version server-system client -sess_out "$dir/session-$version"
	comes $version server-system client -sess_in "$dir/session-$version"
	check "TLS 1.$version: a session resumes" [ "$error $resumed" = "none 1" ]
done
cp "$pki/stranger-ca.pem" "$dir/system.pem"
check "the system's store has another authority" agent_log_has 'service "server-system" has its changed files'
for version in 3 2; do
	comes $version server-system client -sess_in "$dir/session-$version"
	check "TLS 1.$version: the session does not resume, and is refused" [ "$error $resumed $alert" = "EKEYREJECTED 0 unknown_ca" ]
done

# ---- another client, and the log ----

# gnutls VERSION CERTIFICATE
# shellcheck disable=SC2317 # called by name
gnutls() {
	serving server
	printf 'hello\n' | timeout 10 gnutls-cli --insecure --priority "NORMAL:-VERS-ALL:+VERS-TLS1.$1" --x509certfile "$pki/$2.pem" \
		--x509keyfile "$pki/$2.key" -p "$port" localhost
}

sleep 5 # until the log takes like lines again
for version in 3 2; do
	says "gnutls-cli, TLS 1.$version" '^- Handshake was completed' '^hello' -- gnutls $version for-both
	says "gnutls-cli, TLS 1.$version, is told why" 'fatal alert.*[Uu]nsupported certificate|[Cc]ertificate.*not supported|alert \[43\]' -- gnutls $version for-server
done
check "the log says what the result says" agent_log_has \
	"service server, peer 127.0.0.1: certificate 0 of the peer's chain (CN=for-server,O=ktlsd development) may not be used for this"
finish

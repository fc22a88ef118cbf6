#!/bin/sh
# SPDX-License-Identifier: MIT
# Revocation lists: where they come from, what they have to be, what they do to handshakes and to sessions, and what is
# said of it.
# shellcheck disable=SC2317 # functions are called by name
# shellcheck source=tests/identity_lib.sh
. "$(dirname "$0")/identity_lib.sh"

make_pki
issue good peer --name DNS:localhost
issue gone peer --name DNS:localhost
issue leaving peer --name DNS:localhost
issue sub authority --subject '/O=ktlsd development/CN=sub'
issue of-sub peer --issuer sub --name DNS:localhost
issue of-root peer --issuer root --name DNS:localhost
issue bad authority
issue of-bad peer --issuer bad --name DNS:localhost
issue later authority
issue of-later peer --issuer later --name DNS:localhost
issue sub-too authority --subject '/O=ktlsd development/CN=sub' # another key
issue of-sub-too peer --issuer sub-too --name DNS:localhost
issue silent authority --extension 'keyUsage = critical, keyCertSign'
issue of-silent peer --issuer silent --name DNS:localhost
pki init "$dir/twin" || bail_out "pki" # the same names, other keys
pki issue "$dir/twin" sub authority --subject '/O=ktlsd development/CN=sub' || bail_out "pki"

# publish FOLDER [OPTION...]: the lists, as they are now, go there.
publish() {
	published=$dir/$1
	shift
	mkdir -p "$published"
	pki crl "$pki" "$@" || bail_out "pki crl"
	for authority in root sub sub-too bad later silent; do
		cp "$pki/$authority-crl.pem" "$published/$authority.pem"
	done
	cp "$pki/crl.pem" "$published/intermediate.pem"
}

pki revoke "$pki" gone keyCompromise || bail_out "pki"
pki revoke "$pki" bad CACompromise || bail_out "pki"
publish past --from 20200101000000Z --until 20200201000000Z
publish future --from '3 days' --until '5 days'
publish just-past --from '3 days ago' --until '10 minutes ago'
publish now
mkdir "$dir/folder" "$dir/empty"
cp "$dir/now/root.pem" "$dir/folder/a.pem"
openssl crl -in "$dir/now/intermediate.pem" -outform DER -out "$dir/folder/b.der"
echo "no list" >"$dir/folder/README"
cat "$dir/now/root.pem" "$dir/now/intermediate.pem" "$dir/now/bad.pem" "$dir/now/later.pem" "$dir/now/silent.pem" >"$dir/all.pem"
cp "$dir/all.pem" "$dir/changing.pem"
openssl crl -in "$dir/now/root.pem" -outform DER -out "$dir/root.der"
pki crl "$dir/twin" || bail_out "pki crl"

# ---- what a service makes of a list ----

now=$dir/now
changing="crl = $dir/changing.pem"
services() {
	cat <<-END
		-files|crl = $dir/root.der, $now/intermediate.pem
		-folder|crl = $dir/folder
		-all|crl = $dir/all.pem, $now/sub.pem
		-leaf|crl = $now/intermediate.pem\ncrl_scope = leaf
		-chain|crl = $now/intermediate.pem
		-soft|crl = $now/intermediate.pem\nrevocation_unknown = accept
		-none|crl = $dir/empty
		-none-soft|crl = $dir/empty\nrevocation_unknown = accept
		-past|crl = $now/root.pem, $dir/past/intermediate.pem
		-past-too|crl = $now/root.pem, $dir/past/intermediate.pem\nexpired_crl = accept
		-past-soft|crl = $now/root.pem, $dir/past/intermediate.pem\nrevocation_unknown = accept
		-just-past|crl = $now/root.pem, $dir/just-past/intermediate.pem
		-leeway|crl = $now/root.pem, $dir/just-past/intermediate.pem\nleeway = 3600
		-future|crl = $now/root.pem, $dir/future/intermediate.pem
		-both|crl = $now/root.pem, $dir/past/intermediate.pem, $now/intermediate.pem
		-twin|crl = $dir/all.pem, $dir/twin/sub-crl.pem
		-changing|$changing
		-changing-soft|$changing\nrevocation_unknown = accept
	END
}

which=. # of them are configured
configuration() {
	services | grep -- "$which" | while IFS='|' read -r what keys; do
		server_service "server$what"
		printf 'client_certificate = require\n%b\n' "$keys"
		case $keys in *ca\ =*) ;; *) echo "ca = $pki/ca.pem" ;; esac
		client_service "client$what"
		echo "$keys" | sed '/^ca =/d; s/\\n/\n/g'
	done
}

configuration >"$dir/services"
start_agent <"$dir/services"

stamp='20[0-9][0-9]-[01][0-9]-[0-3][0-9]T[0-9][0-9]:[0-9][0-9]:[0-9][0-9]Z'
versions='3 2'
rows <<END
server-files     good    yes
client-files     good    yes
server-files     gone    certificate_revoked certificate 0 of the peer's chain (CN=gone,O=ktlsd development): revoked $stamp (keyCompromise), says $now/intermediate.pem of $stamp
client-files     gone    certificate_revoked certificate 0 of the peer's chain (CN=gone,O=ktlsd development): revoked $stamp (keyCompromise), says $now/intermediate.pem of $stamp
server-all       of-bad  certificate_revoked certificate 1 of the peer's chain (CN=bad,O=ktlsd development): revoked $stamp (cACompromise), says $dir/all.pem
client-all       of-bad  certificate_revoked certificate 1 of the peer's chain (CN=bad,O=ktlsd development): revoked
END
versions=3
rows <<END
server-folder    good    yes
server-folder    gone    certificate_revoked says $dir/folder/b.der
server-all       of-sub  yes
server-files     of-root yes
# of one issuer there is none
server-all       of-silent decrypt_error  certificate 0 *there is a CRL in the name of CN=silent,*cRLSign
server-files     of-sub  unknown_ca    certificate 0 *there is no CRL of CN=sub,O=ktlsd development: add it to the service's crl
client-files     of-sub  unknown_ca    certificate 0 *there is no CRL of CN=sub,O=ktlsd development: add it to the service's crl
server-chain     good    unknown_ca    certificate 1 *there is no CRL of CN=ktlsd development root
server-chain     gone    certificate_revoked certificate 0 *: revoked
server-leaf      good    yes
server-leaf      gone    certificate_revoked certificate 0 *: revoked
server-leaf      of-sub  unknown_ca    there is no CRL of CN=sub
server-soft      good    yes
server-soft      of-sub  yes
client-soft      of-sub  yes
server-soft      gone    certificate_revoked certificate 0 *: revoked
server-soft      of-bad  certificate_revoked certificate 1 *: revoked
server-none      good    unknown_ca    there is no CRL of CN=ktlsd development intermediate
server-none-soft good    yes
# age
server-past      good    certificate_expired the CRL $dir/past/intermediate.pem has expired 2020-02-01T00:00:00Z; the clock says $stamp: publish a new one
client-past      good    certificate_expired the CRL $dir/past/intermediate.pem has expired 2020-02-01T00:00:00Z
server-past      gone    certificate_revoked says $dir/past/intermediate.pem
server-past-too  good    yes
server-past-too  gone    certificate_revoked says $dir/past/intermediate.pem
server-past-soft good    yes
server-past-soft gone    certificate_revoked says $dir/past/intermediate.pem
server-just-past good    certificate_expired has expired $stamp
server-leeway    good    yes
server-leeway    gone    certificate_revoked *
server-future    good    bad_certificate the CRL $dir/future/intermediate.pem is not valid before $stamp; the clock says $stamp
server-both      good    yes
server-both      gone    certificate_revoked says $now/intermediate.pem
# with another key, of an issuer whom only the peer has
server-twin      of-sub  decrypt_error there is a CRL in the name of CN=sub,O=ktlsd development, but it is not signed with its key
server-twin      good    yes
END

# ---- ktlsctl revoked ----

serial() {
	openssl x509 -in "$pki/$1.pem" -noout -serial | cut -d= -f2
}

refused "revoked SERIAL: its status is 1 for a revoked one" ktlsctl revoked "$(serial gone)"
says "and it says which services know that, and from where" \
	"^service server-files: revoked $stamp \\(keyCompromise\\), says $now/intermediate.pem of $stamp \\(issuer CN=ktlsd development intermediate,O=ktlsd development\\)\$" \
	'^service client-past: .*past/intermediate.pem' -- ktlsctl revoked "$(serial gone)"
refused "in small letters, too" ktlsctl revoked "$(serial gone | tr A-F a-f)"
check "revoked SERIAL: nobody has it" ktlsctl revoked "$(serial good)"
says "and it says so" '^no list revokes this number, and no responder was asked about it lately$' -- ktlsctl revoked "$(serial good)"
for serial in zz 12345678901234567890123456789012345678901234567890123456789012345 -5; do
	refused "revoked $serial" ktlsctl revoked -- $serial
	says "is no serial number" 'is no serial number; expected hexadecimal digits, at most 63' -- ktlsctl revoked -- $serial
done
refused "revoked FILE: a revoked one" ktlsctl revoked "$pki/gone.pem"
check "revoked FILE: a good one" ktlsctl revoked "$pki/good.pem"
says "what each service would say" '^service server-files: accepted: certificate 0 .*: not revoked, says .*now/intermediate.pem' \
	'^service server-past: refused: .*has expired 2020-02-01' '^service server-past-too: accepted: .*: not revoked' \
	'^service server-none: refused: .*there is no CRL of' -- ktlsctl revoked "$pki/good.pem"
says "without its issuer" "^service server-files: refused: .*unable to get its issuer's certificate" -- \
	ktlsctl revoked "$dir/leaf/good"
sed 5d "$pki/good.pem" >"$dir/damaged"
says "a damaged file" 'is damaged' -- ktlsctl revoked "$dir/leaf/good" "$dir/damaged"
answers() {
	ktlsctl revoked --json "$pki/good.pem" | jq '.answers | length'
}
check "as JSON" [ "$(answers)" -gt 10 ]

# ---- what is refused when it is loaded ----

which=-changing # a reload has only that to load

# refused_list FILE WORDS: and the agent goes on with what it has.
refused_list() {
	changing="crl = $1"
	says "at load: $2" "ktlsd.conf:[0-9]+: $1:? $2" -- reload
}

# with_extension LINE: $dir/odd.pem, a list of the root's that has it.
with_extension() {
	cp "$pki/root/ca.cnf" "$dir/ca.cnf"
	sed -i "s/^\[crl\]/&\n$1/" "$pki/root/ca.cnf"
	printf '[point]\nonlyuser = TRUE\n' >>"$pki/root/ca.cnf"
	pki crl "$pki" || bail_out "pki crl"
	cp "$dir/ca.cnf" "$pki/root/ca.cnf"
	cp "$pki/root-crl.pem" "$dir/odd.pem"
}

refused_list "$dir/twin/root-crl.pem" "the CRL that bears the name of CN=ktlsd development root,O=ktlsd development is not signed by it"
with_extension 'issuingDistributionPoint = critical, @point'
refused_list "$dir/odd.pem" "the CRL of CN=ktlsd development root,.* has the extension X509v3 Issuing Distribution Point"
with_extension 'issuingDistributionPoint = @point'
refused_list "$dir/odd.pem" "the CRL of .* has the extension X509v3 Issuing Distribution Point"
with_extension '2.5.29.27 = critical, DER:02:01:01'
refused_list "$dir/odd.pem" "the CRL of .* has the extension X509v3 Delta CRL Indicator; expected a complete list"
with_extension '1.2.3.4 = critical, ASN1:UTF8String:x'
refused_list "$dir/odd.pem" "the CRL of .* has the extension 1.2.3.4"
: >"$dir/odd.pem"
refused_list "$dir/odd.pem" "can't be read: it is empty; expected a CRL"
echo "no list" >"$dir/odd.pem"
refused_list "$dir/odd.pem" "CRL 1 is damaged or missing"
head -c 100 "$dir/root.der" >"$dir/odd.pem"
refused_list "$dir/odd.pem" "CRL 1 is damaged or missing"
sed 8d "$now/root.pem" | cat "$now/intermediate.pem" - >"$dir/odd.pem"
refused_list "$dir/odd.pem" "CRL 2 is damaged or missing"
head -c 5000 /dev/urandom >"$dir/odd.pem"
refused_list "$dir/odd.pem" "CRL 1 is damaged or missing"
refused_list "$pki/good.pem" "CRL 1 is damaged or missing"
refused_list "$dir/nowhere" "can't be read: No such file or directory"
row server-changing good yes

# ---- sessions: a list that comes later counts for them, too ----

# session NAME VERSION SERVICE SHOWN: left in $dir/session-NAME-VERSION, and it resumes.
session() {
	comes "$2" "$3" "$4" -sess_out "$dir/session-$1-$2"
	comes "$2" "$3" "$4" -sess_in "$dir/session-$1-$2"
	check "TLS 1.$2, $3, $4: a session resumes" [ "$error $resumed" = "none 1" ]
}

# is_refused NAME VERSION SERVICE SHOWN ALERT WORDS
is_refused() {
	comes "$2" "$3" "$4" -sess_in "$dir/session-$1-$2"
	check "TLS 1.$2, $3, $4: it does not resume, and is refused: $5" [ "$error $resumed $alert" = "EKEYREJECTED 0 $5" ]
	says "because of it: $6" "$6" -- echo "$why"
}

changing="crl = $dir/changing.pem"
check "back to lists that are good" reload
for version in 3 2; do
	session leaf $version server-changing leaving
	session chain $version server-changing of-later
	session good $version server-changing good
	session soft $version server-changing-soft leaving
done
pki revoke "$pki" leaving superseded || bail_out "pki"
pki revoke "$pki" later cessationOfOperation || bail_out "pki"
publish now
cat "$now/root.pem" "$now/intermediate.pem" "$now/bad.pem" "$now/later.pem" >"$dir/changing.pem"
for version in 3 2; do
	comes $version server-changing leaving -sess_in "$dir/session-leaf-$version"
	check "TLS 1.$version: nothing is known before the reload" [ "$error $resumed" = "none 1" ]
done
check "a new list" reload
for version in 3 2; do
	touch "$dir/changing.pem"
	check "a list whose signature nobody has seen yet" reload
	is_refused soft $version server-changing-soft leaving certificate_revoked "certificate 0 .*: revoked"
done
for version in 3 2; do
	is_refused leaf $version server-changing leaving certificate_revoked "certificate 0 .*: revoked .*\\(superseded\\)"
	is_refused chain $version server-changing of-later certificate_revoked "certificate 1 .*: revoked .*\\(cessationOfOperation\\)"
	comes $version server-changing good -sess_in "$dir/session-good-$version"
	check "TLS 1.$version: who is not revoked resumes" [ "$error $resumed" = "none 1" ]
done
rows <<END
server-changing leaving  certificate_revoked certificate 0
server-changing of-later certificate_revoked certificate 1
END

# Two authorities of one name: the list of the one says nothing of the other's certificates.
changing="crl = $dir/changing.pem, $now/sub.pem, $now/sub-too.pem"
check "lists of two authorities with one name" reload
for version in 3 2; do
	comes $version server-changing of-sub-too -sess_out "$dir/session-twin-$version"
done
pki revoke "$pki" of-sub-too || bail_out "pki"
publish now
check "one of them has a new list" reload
comes 3 server-changing of-sub
check "the other's list is known" [ "$error" = none ]
for version in 3 2; do
	is_refused twin $version server-changing of-sub-too certificate_revoked "certificate 0 .*: revoked"
done

# Tickets that were given when the lists did not count for the chain, or not at all.
for before in '' "crl = $dir/changing.pem\ncrl_scope = leaf"; do
	changing=$before
	check "lists that count for less: ${before:-none}" reload
	for version in 3 2; do
		session less $version server-changing of-later
	done
	changing="crl = $dir/changing.pem"
	check "and then for all" reload
	for version in 3 2; do
		is_refused less $version server-changing of-later certificate_revoked "certificate 1 .*: revoked"
	done
done

# An authority that expires while the sessions of its clients live.
changing=''
check "without lists" reload
issue short authority --from 20200101000000Z --until '6 seconds'
issue of-short peer --issuer short --name DNS:localhost
for version in 3 2; do
	session short $version server-changing of-short
done
while openssl x509 -in "$pki/short.pem" -noout -checkend 0 >/dev/null; do
	sleep 0.2
done
sleep 1
for version in 3 2; do
	is_refused short $version server-changing of-short certificate_expired "certificate 1 .*\\(CN=short,.* has expired"
done
finish

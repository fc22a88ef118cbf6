#!/bin/sh
# SPDX-License-Identifier: MIT
# The allow list: of those whose certificates verify, who is admitted, under which name, and what is said to the others.
# shellcheck disable=SC2317 # functions are called by name
# shellcheck source=tests/identity_lib.sh
. "$(dirname "$0")/identity_lib.sh"

make_pki
issue one peer --name 'DNS:localhost, DNS:one.allow.example'
issue device device
issue number client --name 'IP:192.0.2.7, IP:2001:db8::7, IP:::ffff:192.0.2.9'
issue works client --subject '/O=a\+b/CN=Works as Designed, Inc.'
issue nobody client --no-names

# fingerprint NAME: upper case, as openssl shows them.
fingerprint() {
	openssl x509 -in "$pki/$1.pem" -outform DER | sha256sum | cut -d' ' -f1 | tr a-f A-F
}
key_fingerprint() {
	openssl pkey -in "$pki/$1.key" -pubout -outform DER | sha256sum | cut -d' ' -f1
}
sha256=$(fingerprint client) key_sha256=$(key_fingerprint client)
with_colons=$(echo "$sha256" | sed 's/../&:/g; s/:$//')

# Each row is a service of its own. "|" stands between its entries.
cat >"$dir/rows" <<END
server one      yes/One     DNS:one.allow.example as One
client one      yes/One     DNS:one.allow.example as One
server one      yes/One     DNS:ONE.Allow.example as One
server one      yes         DNS:one.allow.example
server one      yes/wild    DNS:*.allow.example as wild
client one      yes/wild    DNS:*.ALLOW.example as wild
server one      no          DNS:*.example
server one      no          DNS:allow.example
server one      no          DNS:two.allow.example
client one      no          DNS:two.allow.example
server one      no          IP:127.0.0.1 | email:one@allow.example | URI:dns://one.allow.example/
server device   yes/exact   URI:spiffe://development/device/device as exact
server device   yes/all     URI:spiffe://development/device/* as all
server device   yes/longer  URI:spiffe://development/device/* as longer | URI:spiffe://development/* as shorter
server device   yes/longer  URI:spiffe://development/* as shorter | URI:spiffe://development/device/* as longer
server device   yes/exact   URI:spiffe://development/device/* as all | URI:spiffe://development/device/device as exact
server device   no          URI:spiffe://development/device
server device   no          URI:spiffe://development/devices/*
server device   no          URI:spiffe://Development/device/device
server device   no          DNS:*.device | DNS:device
server number   yes/seven   IP:192.0.2.7 as seven
server number   yes/seven   IP:2001:DB8:0:0::7 as seven
server number   yes/nine    IP:::ffff:c000:209 as nine
server number   no          IP:192.0.2.9
server client   yes/mail    email:client@example as mail
server client   no          email:CLIENT@example
server client   yes/whole   subject:CN=client,O=ktlsd development as whole
server client   no          subject:O=ktlsd development,CN=client
server client   no          subject:CN=client
server client   yes/theirs  issuer:CN=ktlsd development intermediate,O=ktlsd development as theirs
server client   no          issuer:CN=ktlsd development root,O=ktlsd development
server client   yes/print   sha256:$sha256 as print
server client   yes/print   sha256:$with_colons as print
server client   no          sha256:$(fingerprint one)
server client   yes/key     key-sha256:$key_sha256 as key
server client   no          key-sha256:$sha256 | sha256:$key_sha256
server works    yes/W       subject:CN=Works as Designed\\, Inc.,O=a\\+b as W
server nobody   no          DNS:nobody | DNS:*.nobody
server client   yes/print   issuer:CN=ktlsd development intermediate,O=ktlsd development as theirs | subject:CN=client,O=ktlsd development as whole | DNS:client.example as name | key-sha256:$key_sha256 as key | sha256:$sha256 as print
server client   yes/key     issuer:CN=ktlsd development intermediate,O=ktlsd development as theirs | subject:CN=client,O=ktlsd development as whole | DNS:client.example as name | key-sha256:$key_sha256 as key
server client   yes/name    issuer:CN=ktlsd development intermediate,O=ktlsd development as theirs | subject:CN=client,O=ktlsd development as whole | email:client@example as mail | DNS:client.example as name
server client   yes/whole   issuer:CN=ktlsd development intermediate,O=ktlsd development as theirs | subject:CN=client,O=ktlsd development as whole
END
# The services, and one whose lists are in files.
configuration() {
	row_number=0
	while read -r role _ _ entries; do
		row_number=$((row_number + 1))
		case $role in
		server) server_service "server-$row_number" && printf 'client_certificate = require\nca = %s\n' "$pki/ca.pem" ;;
		client) client_service "client-$row_number" ;;
		esac
		echo "allow_peer = $entries" | sed 's/ | /\nallow_peer = /g'
	done <"$dir/rows"
	server_service server-changing
	printf 'client_certificate = require\nca = %s\nallow_peers_file = %s\n' "$pki/ca.pem" "$dir/list, $dir/more"
}

: >"$dir/list"
: >"$dir/more"
configuration >"$dir/services"
start_agent <"$dir/services"

not_listed="the peer is not in the service's allow list (allow_peer): *CN=*, sha256:[0-9a-f][0-9a-f]"
row_number=0
while read -r role shown outcome _ <&4; do
	row_number=$((row_number + 1)) versions=$((3 - row_number % 2))
	case $outcome in
	no) row "$role-$row_number" "$shown" handshake_failure "$not_listed" ;;
	*) row "$role-$row_number" "$shown" "$outcome" ;;
	esac
done 4<"$dir/rows"

# ---- files ----

versions='3 2'
row server-changing client handshake_failure \
	"allow_peer): CN=client,O=ktlsd development, DNS:client.example, email:client@example, sha256:$(echo "$sha256" | tr A-F a-f)"
row server-changing nobody handshake_failure 'allow_peer): CN=nobody,O=ktlsd development, no name, sha256:'
check "what it says can be put into the list as it is" grep -q "^  failed .* sha256:" "$dir/verify.log"
sed -n 's/^  failed .* \(sha256:[0-9a-f]*\)$/\1 as nobody/p' "$dir/verify.log" >"$dir/list"
cat >"$dir/more" <<-'END'
	# those of the mail

	  email:client@example   as   the client, by mail
	 # and one more
	DNS:one.allow.example
END
check "reload" reload
row server-changing nobody yes/nobody
row server-changing client 'yes/the client, by mail'
row server-changing one yes
row server-changing number handshake_failure "$not_listed"

awk 'BEGIN { for (i = 1; i < 10000; i++) printf "sha256:%064x as device-%05d\n", i * 7919, i }' >"$dir/list"
echo "SHA256:$sha256" | sed 's/^SHA/sha/; s/$/ as ten thousandth/' >>"$dir/list"
check "ten thousand fingerprints" reload
row server-changing client 'yes/ten thousandth'
row server-changing nobody handshake_failure "$not_listed"

# ---- a session of a peer that is taken off the list ----

again() {
	comes "$1" server-changing "$2" "$3" "$dir/session-$1"
}

for version in 3 2; do
	again $version client -sess_out
	again $version client -sess_in
	check "TLS 1.$version: a session resumes" [ "$error $resumed $peer_name" = "none 1 ten thousandth" ]
done
sed -i "/$sha256/ s/ as .*/ as another/" "$dir/list"
check "the list has another name for it" reload
for version in 3 2; do
	again $version client -sess_in
	check "TLS 1.$version: a resumption knows the new name" [ "$error $resumed $peer_name" = "none 1 another" ]
done
sed -i "/$sha256/d" "$dir/list"
: >"$dir/more"
check "the peer is taken off the list" reload
for version in 3 2; do
	again $version client -sess_in
	check "TLS 1.$version: it does not resume, and is refused" [ "$error $resumed $alert" = "EKEYREJECTED 0 handshake_failure" ]
	case $why in
	*"allow list"*) ok "TLS 1.$version: because of the list" ;;
	*) not_ok "TLS 1.$version: because of the list: $why" ;;
	esac
done

# ---- faults ----

# fault ENTRY EXPECTED: in a file.
# Without the other services: each fault is a reload.
: >"$dir/rows"
while IFS='|' read -r entry expected; do
	printf '# the first line\nDNS:good.example\n%s\n' "$entry" >"$dir/list"
	says "a fault in a file, with its line: $entry" "$dir/list, line 3: \"$entry\"; expected $expected" -- reload
done <<END
nonsense|DNS:, IP:, URI:, email:, subject:, issuer:, sha256: or key-sha256: with a value
DNS:one, two|DNS:, IP:
DNS:one.example as|DNS:, IP:
sha256:0123|DNS:, IP:
END
printf 'DNS:one.example as one\nDNS:ONE.example as two\n' >"$dir/list"
says "a peer that is there twice" 'its list of peers has DNS:one.example twice; expected it once' -- reload
printf 'URI:spiffe://a/b/* as one\nURI:spiffe://a/b/* as two\n' >"$dir/list"
says "and one with a star" 'its list of peers has URI:spiffe://a/b/\* twice; expected it once' -- reload
echo 'DNS:one.example' >"$dir/list"
echo 'DNS:one.example' >"$dir/more"
says "in two files" 'its list of peers has DNS:one.example twice' -- reload
rm "$dir/more"
says "no such file" 'more can.t be read: No such file or directory; expected a list of peers, one a line' -- reload
mkdir "$dir/more"
says "a folder" 'more can.t be read: Is a directory' -- reload
row server-1 one yes/One # the agent goes on with what it has
finish

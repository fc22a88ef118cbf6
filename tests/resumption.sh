#!/bin/sh
# SPDX-License-Identifier: MIT
# Tickets: as many as configured, good for all workers and beyond a reload and a restart, and never under another policy than their own.
# shellcheck disable=SC2317 # functions are called by name
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

server() {
	server_service "$1" "$certificate"
}

# config TRUST CA: two services with one policy, one with another, one for each number of tickets. It changes by TRUST and CA
# and by $certificate.
config() {
	echo "workers = 4"
	for tickets in 0 1 2 5; do
		server tickets-$tickets
		echo "tickets = $tickets"
	done
	server lax
	server lax-too
	server strict
	printf 'client_certificate = require\nca = %s\n' "$dir/pki/ca.pem"
	server changing
	printf 'client_certificate = %s\nca = %s\n' "$1" "$dir/pki/$2"
}

make_pki
certificate='server-ecdsa'
start_agent <<END
$(config request ca.pem)
END

# session NAME SERVICE OPTION...: leaves a session in $dir/session. What s_client prints of a ticket may have no end of line.
session() {
	title=$1 service=$2
	shift 2
	rm -f "$dir/session"
	says "$title" '^New, ' '^result: error = none' '^result: resumed = 0' 'hello$' -- \
		through "$service" s_client -sess_out "$dir/session" "$@"
}

# resumes NAME SERVICE OPTION...
resumed=0
resumes() {
	title=$1 service=$2 resumed=$((resumed + 1))
	shift 2
	says "$title" '^Reused, ' '^result: error = none' '^result: resumed = 1' 'hello$' -- \
		through "$service" s_client -sess_in "$dir/session" "$@"
}

does_not_resume() {
	title=$1 service=$2
	shift 2
	says "$title" '^New, ' '^result: resumed = 0' -- through "$service" s_client -sess_in "$dir/session" "$@"
}

# occupy_worker: with a client that says nothing, so that the next handshake goes to another.
occupied=''
occupy_worker() {
	in_background "$dir/occupied.log" timeout 20 serve lax
	wait_for 10 grep -q '^port' "$dir/occupied.log"
	in_background /dev/null nc -d 127.0.0.1 "$(sed -n 's/^port //p' "$dir/occupied.log")"
	occupied="$occupied $!"
	wait_for 10 in_flight "$(echo "$occupied" | wc -w)"
}

in_flight() {
	[ "$(agent_status .in_flight)" = "$1" ]
}

free_workers() {
	for client in $occupied; do
		end "$client"
	done
	occupied=''
	wait_for 10 in_flight 0
}

reload() {
	write_config <<END
$(config "$@")
END
	ktlsctl reload
}

for version in 3 2; do
	for tickets in 1 2 5; do
		session "TLS 1.$version: a session from a service with $tickets tickets" tickets-$tickets -tls1_$version
		[ $version = 2 ] || check "$tickets came" [ "$(grep -c 'New Session Ticket arrived' "$dir/said")" = $tickets ]
		resumes "TLS 1.$version: it resumes" tickets-$tickets -tls1_$version
		[ $version = 2 ] || check "with a new ticket, for the next time" \
			[ "$(grep -c 'New Session Ticket arrived' "$dir/said")" = 1 ]
	done
	session "TLS 1.$version: a service without tickets" tickets-0 -tls1_$version
	refused "TLS 1.$version: gives none" grep -aq "New Session Ticket arrived\|TLS session ticket:" "$dir/said"

	session "TLS 1.$version: a session" lax -tls1_$version
	for again in 1 2 3 4 5 6; do
		resumes "TLS 1.$version: resumption $again" lax -tls1_$version
		occupy_worker
	done
	check "on four workers" [ "$(agent_status '[.workers[] | select(.done > 0)] | length')" = 4 ]
	free_workers
	does_not_resume "TLS 1.$version: not in another service with the same policy" lax-too -tls1_$version
	does_not_resume "TLS 1.$version: not in a service that trusts otherwise" strict -tls1_$version
	check "which then refuses who shows no certificate" grep -q 'result: error = \(EPROTO\|EKEYREJECTED\)' "$dir/said"

	session "TLS 1.$version: a session of a client with a certificate" strict -tls1_$version \
		-cert "$dir/pki/client.pem" -key "$dir/pki/client.key" -cert_chain "$dir/pki/intermediate.pem"
	resumes "TLS 1.$version: it resumes without showing it again" strict -tls1_$version
	check "and the result says whose it is" grep -q 'result: peer = CN=client,O=ktlsd development' "$dir/said"
	check "and that it was verified" grep -q 'result: verified = 1' "$dir/said"

	session "TLS 1.$version: a session before a reload" changing -tls1_$version
	check "reload" reload request ca.pem
	resumes "TLS 1.$version: the same configuration: it resumes" changing -tls1_$version
	kill -HUP "$agent"
	resumes "TLS 1.$version: after SIGHUP, too" changing -tls1_$version
	certificate='server-rsa'
	check "a reload brings another certificate with the same names" reload request ca.pem
	resumes "TLS 1.$version: it resumes" changing -tls1_$version
	does_not_resume "TLS 1.$version: a new client gets the new certificate" lax-too -tls1_$version
	check "which is RSA" grep -q '^Peer signature type: rsa' "$dir/said"
	certificate='server-ecdsa'
	check "a reload brings another authority" reload request stranger-ca.pem
	does_not_resume "TLS 1.$version: it does not resume" changing -tls1_$version
	check "a reload asks for certificates" reload require ca.pem
	does_not_resume "TLS 1.$version: it does not resume" changing -tls1_$version
	check "a reload takes it all back" reload request ca.pem
	resumes "TLS 1.$version: it resumes" changing -tls1_$version
done

# RFC 8446 §C.4: browsers use a ticket once, so each resumption has to bring the next.
for service in lax strict; do
	session "TLS 1.3: a session of $service for a client that uses tickets once" "$service" -tls1_3 \
		-cert "$dir/pki/client.pem" -key "$dir/pki/client.key" -cert_chain "$dir/pki/intermediate.pem"
	for again in 1 2 3 4; do
		resumes "it resumes with ticket $again and gets the next" "$service" -tls1_3 -sess_out "$dir/session"
		check "one" [ "$(grep -c 'New Session Ticket arrived' "$dir/said")" = 1 ]
	done
done
check "the last one still says whose it is" grep -q 'result: peer = CN=client,O=ktlsd development' "$dir/said"

# A certificate that expires while its session lives: the ticket is no way around.
pki issue "$dir/pki" short client --subject /CN=short --from 20200101000000Z --until '5 seconds' || bail_out "pki"
for version in 3 2; do
	session "TLS 1.$version: a session with a certificate of five seconds" strict -tls1_$version \
		-cert "$dir/pki/short.pem" -key "$dir/pki/short.key" -cert_chain "$dir/pki/intermediate.pem"
	cp "$dir/session" "$dir/session-$version"
done
cp "$dir/session-3" "$dir/session"
resumes "it resumes while the certificate is valid" strict -tls1_3
while openssl x509 -in "$dir/pki/short.pem" -noout -checkend 0 >/dev/null; do
	sleep 0.2
done
sleep 1
for version in 3 2; do
	cp "$dir/session-$version" "$dir/session"
	does_not_resume "TLS 1.$version: it does not when the certificate is expired" strict -tls1_$version
	says "TLS 1.$version: and showing it again does not help" '^result: alert_sent = certificate_expired' \
		'^result: error = EKEYREJECTED' -- through strict s_client -tls1_$version -sess_in "$dir/session" \
		-cert "$dir/pki/short.pem" -key "$dir/pki/short.key" -cert_chain "$dir/pki/intermediate.pem"
done
check "the agent has counted them" [ "$(agent_status .resumed)" = $resumed ]

# The keys lie in a file that nobody else can read, so sessions survive the agent.
sessions() {
	for version in 3 2; do
		session "TLS 1.$version: a session before $1" lax -tls1_$version
		cp "$dir/session" "$dir/session-$version"
	done
}

restart() {
	stop_agent
	start_agent <<END
$([ $# = 0 ] || printf '%s\n' "$@")
$(config request ca.pem)
END
}

check "the keys lie in a file that nobody else can read" [ "$(stat -c '%a %F' "$dir/keys")" = '600 regular file' ]
sessions "a restart"
cp "$dir/keys" "$dir/keys-before"
restart
for version in 3 2; do
	cp "$dir/session-$version" "$dir/session"
	resumes "TLS 1.$version: it resumes behind it" lax -tls1_$version
done
check "the file is the same" cmp "$dir/keys" "$dir/keys-before"
chmod 644 "$dir/keys"
restart
check "a file that others may read: the log says it" agent_log_has 'key_file .*/keys: is open to group or others'
for version in 3 2; do
	cp "$dir/session-$version" "$dir/session"
	does_not_resume "TLS 1.$version: and the keys are new" lax -tls1_$version
done
check "so is the file" [ "$(stat -c %a "$dir/keys")" = 600 ]
refused "with other keys in it" cmp "$dir/keys" "$dir/keys-before"
rm "$dir/keys"
restart 'key_file = none'
check "key_file = none: there is no file" [ ! -e "$dir/keys" ]
sessions "a restart without it"
restart 'key_file = none'
for version in 3 2; do
	cp "$dir/session-$version" "$dir/session"
	does_not_resume "TLS 1.$version: it does not resume behind it" lax -tls1_$version
done
finish

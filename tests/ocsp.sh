#!/bin/sh
# SPDX-License-Identifier: MIT
# OCSP through the agent: clients whose revocation is asked for while their handshakes are held, servers whose staples count,
# staples of our own. The responder is "openssl ocsp"; where one has to misbehave, ocsp_responder.py stands before it.
# shellcheck disable=SC2317 # functions are called by name
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

# ---- certificates and answers ----

# next_device: $device is a certificate that nobody has asked about yet.
devices=0
next_device() {
	devices=$((devices + 1))
	device=$(printf 'device-%05d' $devices)
	[ -e "$dir/pki/$device.pem" ] || bail_out "there are no more devices"
}

serial_of() {
	openssl x509 -in "$dir/pki/$1.pem" -noout -serial | cut -d= -f2
}

# record FILE CERTIFICATE OPTION...: an answer about it in $dir/answers/FILE
record() {
	recorded=$dir/answers/$1 about=$dir/pki/$2.pem
	shift 2
	openssl ocsp -index "$dir/pki/intermediate/index.txt" -CA "$dir/pki/intermediate.pem" \
		-rsigner "$dir/pki/intermediate-ocsp.pem" -rkey "$dir/pki/intermediate-ocsp.key" -nmin 10 -noverify \
		-issuer "$dir/pki/intermediate.pem" -cert "$about" -respout "$recorded" "$@" >"$dir/record.log" 2>&1 ||
		bail_out "openssl ocsp: $(cat "$dir/record.log")"
}

revoke() {
	pki revoke "$dir/pki" "$1" keyCompromise || bail_out "pki revoke"
}

# start_responder: the one that misbehaves, on $responder
start_responder() {
	in_background "$dir/responder.log" ocsp_responder.py "$responder" "$real" "$dir/answers"
	responder_pid=$!
	wait_for 10 listens_on "$responder" || bail_out "no responder: $(cat "$dir/responder.log")"
}

# asked PATH: how often
asked() {
	grep -c "^/$1\$" "$dir/responder.log"
}

asked_exceeds() {
	[ "$(asked "$1")" -gt "$2" ]
}

# ---- services ----

# asks NAME URL [KEY...]: a server service that asks there about its clients
asks() {
	server_service "$1"
	printf 'client_certificate = require\nca = %s\nocsp = ask\nocsp_responder = %s\n' "$dir/pki/ca.pem" "$2"
	shift 2
	[ $# = 0 ] || printf '%s\n' "$@"
}

# asks_both NAME URL [KEY...]: hard-NAME and soft-NAME
asks_both() {
	both_name=$1 both_url=$2
	shift 2
	asks "hard-$both_name" "$both_url" "$@"
	asks "soft-$both_name" "$both_url" "$@" 'revocation_unknown = accept'
}

# checks NAME [KEY...]: a client service
checks() {
	client_service "$1"
	shift
	[ $# = 0 ] || printf '%s\n' "$@"
}

# staples NAME CERTIFICATE URL [KEY...]
staples() {
	server_service "$1" "$2"
	printf 'staple = yes\nstaple_responder = %s\n' "$3"
	shift 3
	[ $# = 0 ] || printf '%s\n' "$@"
}

config() {
	at=http://127.0.0.1:$responder
	echo 'workers = 2'
	asks real "http://127.0.0.1:$real"
	asks_both down "http://127.0.0.1:$nobody"
	for mode in garbage endless silent; do
		asks_both $mode "$at/$mode" 'ocsp_timeout = 0.4'
	done
	for mode in other stranger delegate nonce unknown; do
		asks_both $mode "$at/file/$mode"
	done
	asks_both old "$at/file/old" 'ocsp_max_age = 1'
	asks_both late "$at/slow/3" 'timeout = 1'
	asks slow-1 "$at/slow/1"
	asks gated "$at/gate/open" 'timeout = 20' 'ocsp_timeout = 10'
	asks brief "$at/pass" 'ocsp_refresh = 2'
	asks replayed "$at/as/replayed" 'ocsp_refresh = 1' 'ocsp_nonce = no'
	server_service plain
	printf 'client_certificate = require\nca = %s\n' "$dir/pki/ca.pem"
	checks off
	checks staple 'ocsp = staple'
	checks staple-fresh 'ocsp = staple' 'ocsp_max_age = 1'
	checks staple-soft 'ocsp = staple' 'revocation_unknown = accept'
	checks ask 'ocsp = ask' "ocsp_responder = $at/pass" 'ocsp_refresh = 1'
	checks ask-down 'ocsp = ask' "ocsp_responder = http://127.0.0.1:$nobody"
	checks ask-down-soft 'ocsp = ask' "ocsp_responder = http://127.0.0.1:$nobody" 'revocation_unknown = accept'
	staples stapled server-ecdsa "$at/pass/stapled"
	printf 'certificate = %s\nkey = %s\n' "$dir/pki/server-rsa.pem" "$dir/pki/server-rsa.key"
	staples renewed renewed "$at/pass/renewed"
	staples disowned disowned "$at/pass/disowned"
	staples unlucky server-ed25519 "$at/as/unlucky"
}

start() {
	start_agent <<-END
		$(config)
	END
}

make_pki
pki bulk "$dir/pki" 64 2>/dev/null || bail_out "pki bulk"
for name in renewed disowned revoked-server good-server other-server unasked; do
	pki issue "$dir/pki" $name server --name DNS:localhost,IP:127.0.0.1 || bail_out "pki issue"
done
pki issue "$dir/pki" must-staple server --name DNS:localhost --extension 'tlsfeature = status_request' || bail_out "pki issue"
pki issue "$dir/pki" intermediate-ocsp ocsp || bail_out "pki issue"
pki issue "$dir/pki" stranger-ocsp ocsp --issuer stranger-ca || bail_out "pki issue"
revoke revoked-server
mkdir "$dir/answers"
mkfifo "$dir/quiet" # standard input of servers that go on
exec 7<>"$dir/quiet"
echo silent >"$dir/answers/unlucky"
next_port
real=$port
in_background "$dir/real.log" pki ocsp "$dir/pki" "$real" --minutes 1
next_port
nobody=$port
next_port
responder=$port
start_responder
wait_for 10 listens_on "$real" || bail_out "no responder: $(cat "$dir/real.log")"

# ---- our clients ----

# shows DEVICE OPTION...: of a client with this certificate
shows() {
	shown=$dir/pki/$1
	shift
	s_client -cert "$shown.pem" -key "$shown.key" -cert_chain "$dir/pki/intermediate.pem" "$@"
}

# tickets_of VERSION: how many the client has got
tickets_of() {
	case $1 in
	3) grep -ac 'New Session Ticket arrived' "$dir/said" ;;
	2) grep -ac 'TLS session ticket:' "$dir/said" ;;
	esac
}

# admitted NAME SERVICE DEVICE OPTION...
admitted() {
	title=$1 service=$2
	shift 2
	says "$title" '^result: error = none' '^result: verified = 1' '^result: kernel = 2' 'hello$' -- \
		through "$service" shows "$@"
}

# turned_away NAME ALERT WHY SERVICE DEVICE OPTION...: and neither a ticket nor data came before
turned_away() {
	title=$1 alert=$2 why=$3 service=$4
	shift 4
	case $alert in
	certificate_revoked) alert_number=44 ;;
	certificate_unknown) alert_number=46 ;;
	esac
	rm -f "$dir/session"
	says "$title" "SSL alert number $alert_number" "^result: alert_sent = $alert" '^result: error = EKEYREJECTED' \
		"^result: why = .*$why" '^result: verified = 0' '^result: kernel = 0' -- \
		through "$service" shows "$@" -sess_out "$dir/session"
	refused "and neither a ticket nor data came before" \
		grep -a 'New Session Ticket arrived\|TLS session ticket:\|hello$' "$dir/said"
	check "and there is nothing to resume" [ ! -e "$dir/session" ]
}

start
says "no staple yet: handshakes don't mind" 'OCSP response: no response sent' '^result: error = none' 'hello$' -- \
	through unlucky s_client -status
unlucky_failed() {
	ktlsctl status | grep -q '^  unlucky, .*server-ed25519.pem: none yet; last attempt: .*as/unlucky'
}

for version in 3 2; do
	tickets=$((version * 2 / 3)) # one in TLS 1.2
	next_device
	good=$device
	admitted "TLS 1.$version: good, says the responder" real "$good" -tls1_$version
	check "and the tickets came" [ "$(tickets_of $version)" = $tickets ]
	next_device
	revoke "$device"
	turned_away "TLS 1.$version: revoked, says the responder" certificate_revoked \
		"revoked 20.* \(keyCompromise\), says http://127.0.0.1:$real of 20" real "$device" -tls1_$version
	check "and the result says who it was" grep -q "^result: peer = .*$device" "$dir/said"
	check "and the log why" agent_log_has "service real, peer 127.0.0.1: the peer's certificate: revoked 20"
	turned_away "TLS 1.$version: revoked, says the cache" certificate_revoked 'revoked 20' hard-down "$device" -tls1_$version
	admitted "TLS 1.$version: good, says the cache, where nobody could be asked" hard-down "$good" -tls1_$version

	next_device
	slow=$device began=$(date +%s%3N)
	admitted "TLS 1.$version: good, says the responder after a second" slow-1 "$slow" -tls1_$version -sess_out "$dir/session"
	check "and the tickets came" [ "$(tickets_of $version)" = $tickets ]
	check "and the client was held for so long" [ $(($(date +%s%3N) - began)) -ge 1000 ]
	says "TLS 1.$version: such a ticket resumes" '^Reused, ' '^result: error = none' '^result: resumed = 1' \
		"^result: peer = .*$slow" 'hello$' -- through slow-1 s_client -tls1_$version -sess_in "$dir/session"
	next_device
	revoke "$device"
	turned_away "TLS 1.$version: revoked, says the responder after a second" certificate_revoked 'revoked 20' slow-1 \
		"$device" -tls1_$version

	record other "$good" -no_nonce
	while read -r mode versions why; do
		case $versions in *$version*) ;; *) continue ;; esac
		next_device
		case $mode in
		unknown) record unknown "$device" -no_nonce -index /dev/null ;;
		old) record old "$device" -no_nonce && sleep 2 ;;
		stranger)
			record stranger "$device" -no_nonce -rsigner "$dir/pki/stranger-ocsp.pem" -rkey "$dir/pki/stranger-ocsp.key"
			;;
		delegate) record delegate "$device" -no_nonce -rsigner "$dir/pki/client.pem" -rkey "$dir/pki/client.key" ;;
		nonce) record nonce "$device" -nonce ;;
		esac
		turned_away "TLS 1.$version: $mode: refused" certificate_unknown \
			"whether the peer's certificate was revoked can't be found out: .*$why" hard-"$mode" "$device" -tls1_$version
		[ $version = 3 ] || continue
		next_device
		admitted "TLS 1.$version: $mode: accepted, where that will do" soft-"$mode" "$device" -tls1_$version
	done <<-END
		down     3,2 Connection refused
		silent   3,2 (did not answer within 400 ms|no answer within)
		garbage  3   are no OCSP response
		endless  3   (longer than|max resp len exceeded)
		other    3   about another certificate
		stranger 3   signed by CN=stranger-ocsp
		delegate 3   lacks OCSPSigning
		nonce    3   has another nonce
		old      3   old; expected at most 1 s
		unknown  3,2 unknown to the responder
	END
done

check "status says why there is no staple" wait_for 10 unlucky_failed
echo pass >"$dir/answers/unlucky"

# Held for longer than a handshake may take: the handshake's time counts, whatever the policy.
for policy in hard soft; do
	next_device
	says "the responder is slower than the handshake may be ($policy)" '^result: error = ETIMEDOUT' \
		'^result: why = the handshake took longer than 1000 ms' '^result: kernel = 0' -- through $policy-late shows "$device"
done

# ---- replayed answers ----

next_device
record before "$device" -no_nonce
echo pass >"$dir/answers/replayed"
revoke "$device"
turned_away "a device that was revoked" certificate_revoked 'revoked 20' replayed "$device"
echo file/before >"$dir/answers/replayed"
sleep 1.1
turned_away "it stays so where an answer of before is replayed" certificate_revoked 'revoked 20' replayed "$device"
check "which the agent did ask for" [ "$(asked as/replayed)" = 2 ]

# ---- resumption ----

for version in 3 2; do
	next_device
	admitted "TLS 1.$version: a session" brief "$device" -tls1_$version -sess_out "$dir/session"
	began=$(date +%s%3N)
	says "TLS 1.$version: it resumes while the answer is fresh" '^Reused, ' '^result: resumed = 1' -- \
		through brief shows "$device" -tls1_$version -sess_in "$dir/session"
	sleep 2
	says "TLS 1.$version: the answer is no longer fresh: a full handshake" '^New, ' '^result: error = none' '^result: resumed = 0' -- \
		through brief shows "$device" -tls1_$version -sess_in "$dir/session"
	says "TLS 1.$version: and the ticket is good again" '^Reused, ' '^result: resumed = 1' -- \
		through brief shows "$device" -tls1_$version -sess_in "$dir/session"
	revoke "$device"
	began=$(date +%s%3N)
	until turned=$(through brief shows "$device" -tls1_$version -sess_in "$dir/session" 2>&1) &&
		echo "$turned" | grep -aq '^result: alert_sent = certificate_revoked'; do
		[ $(($(date +%s%3N) - began)) -lt 6000 ] || break
	done
	took=$(($(date +%s%3N) - began))
	check "TLS 1.$version: revoked: refused by resumption, too, within one refresh interval ($took ms)" [ $took -le 3000 ]
	says "TLS 1.$version: and without the certificate" '^New, ' '^result: resumed = 0' \
		'^result: error = EPROTO' -- through brief s_client -tls1_$version -sess_in "$dir/session"
done

# ---- what the agent says without a handshake ----

verdict_of() {
	timeout 20 ktlsctl cert verify --service "$1" "$dir/pki/$2.pem" 2>&1
	echo "status $?"
}

revoked() {
	timeout 20 ktlsctl revoked "$@" 2>&1
	echo "status $?"
}

says "revoked, by number" "revoked 20.*says http" '^status 1' -- revoked "$(serial_of "$device")"
says "by file, with the word of each service" '^service brief: .*revoked 20' '^service hard-down: .*revoked 20' '^status 1' -- \
	revoked "$dir/pki/$device.pem"
says "cert verify likewise" 'failed +revocation +.*revoked 20' '^refused' '^status 1' -- verdict_of hard-down "$device"
next_device
says "nobody has asked about it" 'no responder was asked about it' '^status 0' -- revoked "$(serial_of "$device")"
says "cert verify asks" 'passed +revocation +.*not revoked, says http' '^accepted' '^status 0' -- verdict_of brief "$device"
says "and then it is known" 'not revoked, says http' '^status 0' -- revoked "$(serial_of "$device")"
next_device
says "cert verify, and the responder is down" 'failed +revocation .*Connection refused' '^refused' '^status 1' -- verdict_of hard-down "$device"
says "which may be good enough" 'passed +revocation .*Connection refused' '^accepted' '^status 0' -- verdict_of soft-down "$device"

# ---- our servers ----

# against CERTIFICATE STAPLE OPTION... -- SERVICE: what a client of the service says of a server with them (- for no staple), and
# what the server says.
against() {
	next_port
	against_server=$dir/pki/$1 against_options=''
	[ "$2" = - ] || against_options="-status_file $dir/answers/$2"
	shift 2
	while [ "$1" != -- ]; do
		against_options="$against_options $1"
		shift
	done
	: >"$dir/s_server.log"
	# shellcheck disable=SC2086 # words without blanks
	timeout 20 openssl s_server -accept "127.0.0.1:$port" -naccept 1 -cert "$against_server.pem" \
		-key "$against_server.key" -cert_chain "$dir/pki/intermediate.pem" $against_options <"$dir/quiet" >"$dir/s_server.log" 2>&1 &
	jobs="$jobs $!"
	wait_for 10 grep -q ^ACCEPT "$dir/s_server.log" || return 124
	timeout 10 ktlsctl probe --service "$2" --server-name localhost --json "localhost:$port"
	wait_for 5 grep -q '^CONNECTION CLOSED\|^ERROR' "$dir/s_server.log"
	sed 's/^/server: /' "$dir/s_server.log"
}

record good server-ecdsa -no_nonce
record aged server-ecdsa -no_nonce
record revoked revoked-server -no_nonce
record must must-staple -no_nonce
record unsaid server-ecdsa -no_nonce -index /dev/null
printf '\060\003\012\001\003' >"$dir/answers/later" # a whole response: try later
record before good-server -no_nonce
sleep 1.1

while read -r certificate staple service versions outcome; do
	for version in 3 2; do
		case $versions in *$version*) ;; *) continue ;; esac
		title="TLS 1.$version: certificate $certificate, staple $staple, service $service: ${outcome%% *}"
		case $outcome in
		taken) set -- '"ok": ?true' ;;
		revoked*) set -- '"ok": ?false' '"alert_sent": ?"certificate_revoked"' 'server: .*alert certificate revoked' ;;
		refused*) set -- '"ok": ?false' '"alert_sent": ?"certificate_unknown"' 'server: .*alert certificate unknown' ;;
		esac
		[ "$outcome" = taken ] || set -- "$@" '"errno": ?"EKEYREJECTED"' "${outcome#* }"
		says "$title" "$@" -- against "$certificate" "$staple" -tls1_$version -- "$service"
	done
done <<END
server-ecdsa   good     staple        3,2 taken
revoked-server revoked  staple        3,2 revoked revoked 20.*staple
server-ecdsa   aged     staple-fresh  3   refused old; expected at most 1 s
server-ecdsa   must     staple        3,2 refused about another certificate
server-ecdsa   later    staple        3   refused trylater
server-ecdsa   unsaid   staple        3   refused unknown to the responder
server-ecdsa   -        staple        3,2 refused the server gave no staple
server-ecdsa   -        staple-soft   3,2 taken
server-ecdsa   must     staple-soft   3   taken
revoked-server revoked  staple-soft   3   revoked revoked 20
must-staple    must     off           3,2 taken
must-staple    -        off           3,2 refused gave no staple, and its certificate demands one
must-staple    -        staple-soft   3   refused gave no staple, and its certificate demands one
must-staple    good     off           3   refused about another certificate
server-ecdsa   must     off           3   taken
good-server    -        ask           3   taken
other-server   must     ask           3,2 taken
revoked-server -        ask           3,2 revoked revoked 20.*says http
unasked        -        ask-down      3,2 refused Connection refused
unasked        -        ask-down-soft 3,2 taken
unasked        good     ask-down      3   refused Connection refused
server-ecdsa   good     ask-down      3   taken
END

# A staple is signed for as long as it says; that a responder has spoken of a revocation since counts more.
says "a server of its own accord" '"ok": ?true' -- against good-server - -- ask
revoke good-server
sleep 1.1
says "the responder says that it was revoked" 'revoked 20' -- against good-server - -- ask
says "its staple of before does not help" '"ok": ?false' 'revoked 20' -- against good-server before -- ask
sleep 1.1
says "nor later" '"ok": ?false' 'revoked 20' -- against good-server before -- ask
says "nor where nobody is asked" '"ok": ?false' 'revoked 20' -- against good-server before -- staple
says "nor to have none where that will do" '"ok": ?false' 'revoked 20' -- against good-server - -- staple-soft

# ---- held ----

in_flight() {
	[ "$(agent_status .in_flight)" = "$1" ]
}

# hold COUNT VERSION [END]: so many clients at once, of a device that the responder is asked about until $dir/answers/open is
# there. Their END comes with "orders".
hold() {
	rm -f "$dir/answers/open"
	wait_for 10 in_flight 0 || bail_out "some are held still: $(agent_status .in_flight)"
	next_device
	start_server example-epoll-echo --service gated
	tls_clients.py "$port" "$dir/pki" "$device" "$2" "$1" "${3:-}" <"$dir/orders" >"$dir/clients.log" 2>&1 &
	clients=$!
	jobs="$jobs $clients"
	wait_for 10 in_flight "$1" || bail_out "$1 clients are not held but $(agent_status .in_flight): $(cat "$dir/clients.log" "$dir/server.log")"
}

open_gate() {
	: >"$dir/answers/open"
}

# all_were NAME OUTCOME
all_were() {
	wait $clients
	end "$server"
	check "$1" [ "$(cat "$dir/clients.log")" = "$2" ]
}

mkfifo "$dir/orders"
exec 8<>"$dir/orders"

for version in 3 2; do
	hold 5 $version
	open_gate
	all_were "TLS 1.$version: data right behind Finished arrives whole when the client is let in" "5 echoed"
	hold 5 $version
	revoke "$device"
	open_gate
	all_were "TLS 1.$version: and those that are turned away hear why" "5 refused: SSLV3_ALERT_CERTIFICATE_REVOKED"
done

hold 3 3 half
echo end >&8
sleep 0.3
check "clients that close their half are held on" in_flight 3
open_gate
all_were "and get their echo" "3 echoed"

for way in reset close; do
	hold 3 3 $way
	echo end >&8
	sleep 0.3
	open_gate
	all_were "clients that $way while they are held" "3 $way"
	check "are over when the answer is there" wait_for 5 in_flight 0
done

hold 3 3
end "$server"
check "a caller that goes takes what is held with it" wait_for 3 in_flight 0
open_gate
all_were "and the clients hear of it" "3 ended"

hold 5 3
config | sed '/^\[service gated\]/,/^$/ d' >"$dir/without"
write_config <"$dir/without"
check "a reload takes the service away" ktlsctl reload
check "those that are held stay" in_flight 5
open_gate
all_were "and get in" "5 echoed"
config >"$dir/with"
write_config <"$dir/with"
check "a reload brings it back" ktlsctl reload

# ---- many ----

# rate PORT: handshakes per second of one client; the best of three, for the machine may be busy otherwise
rate() {
	for _ in 1 2 3; do
		tls_clients.py "$1" "$dir/pki" "$good" 3 rate
	done | sed -n 's/^rate //p' | sort -n | tail -n 1
}

start_server example-epoll-echo --service plain
plain_port=$port
start_server example-epoll-echo --service real
plain=$(rate "$plain_port") cached=$(rate "$port")
echo "# handshakes per second, one client: $plain without OCSP, $cached with a cached answer"
check "an answer that is known costs little" [ $((cached * 2)) -ge "$plain" ]
hold 100 3
beside=$(rate "$plain_port")
echo "# and beside 100 that are held: $beside"
check "100 are held, and who asks nobody is not" [ $((beside * 2)) -ge "$plain" ]
check "they still are" in_flight 100
open_gate
all_were "all get in" "100 echoed"

# resident: kilobytes
resident() {
	sed -n 's/^VmRSS:[^0-9]*\([0-9]*\) kB/\1/p' "/proc/$agent/status"
}

descriptors() {
	find "/proc/$agent/fd" -type l | wc -l
}

as_few_descriptors() {
	[ "$(descriptors)" -le "${before% *}" ]
}

hold_a_hundred() {
	hold 100 3 "$1"
	[ -z "$1" ] || echo end >&8
	open_gate
	wait $clients
	end "$server"
	wait_for 5 in_flight 0 || bail_out "some are held still: $(agent_status .in_flight)"
}

for how in '' reset; do
	hold_a_hundred "$how"
done
before="$(descriptors) $(resident)"
for how in '' reset close '' half reset '' close '' ''; do
	hold_a_hundred "$how"
done
after="$(descriptors) $(resident)"
echo "# descriptors and KB before and after 1,000 that were held: $before, $after"
check "no descriptor stays" wait_for 5 as_few_descriptors # a responder may be asked at this moment
if grep -q libasan "/proc/$agent/maps"; then
	skip "no memory stays" "the sanitizer keeps it"
else
	check "no memory stays" [ "${after#* }" -le $((${before#* } + 1024)) ]
fi

# ---- staples of our own ----

staple_of() {
	agent_status ".services[] | select(.name == \"$1\") | .staples[]"
}

staple_is() {
	staple_of "$1" | grep -q "$2"
}

# status_from SERVICE OPTION...: what a client hears that asks for a staple
status_from() {
	status_service=$1
	shift
	through "$status_service" s_client -status "$@"
}

staples_itself() {
	says "$1" 'OCSP Response Status: successful' 'Cert Status: good' "Serial Number: $(serial_of "$2")" '^result: error = none' \
		'hello$' -- status_from "$3" "$4" -sigalgs "$5"
}

for version in 3 2; do
	staples_itself "TLS 1.$version: a staple for the ECDSA certificate" server-ecdsa stapled -tls1_$version ECDSA+SHA256
	staples_itself "TLS 1.$version: a staple for the RSA certificate" server-rsa stapled -tls1_$version RSA-PSS+SHA256
	says "TLS 1.$version: and none for who does not ask" '^result: error = none' -- through stapled s_client -tls1_$version
	refused "as it should be" grep -a "OCSP [Rr]esponse" "$dir/said"
done
gnutls() {
	timeout 10 gnutls-cli --ocsp --x509cafile "$dir/pki/ca.pem" -p "$port" localhost </dev/null
}

says "gnutls-cli is content with it" '^- Status: The certificate is trusted' '^- Options:.*OCSP status request' '^result: error = none' -- \
	through stapled gnutls
check "status says what is stapled" staple_is stapled '^not revoked, says http.*until 20'
staples_itself "what could not be had at first was fetched later" server-ed25519 unlucky -tls1_3 ed25519
check "and is fetched again at half of its life" wait_for 40 asked_exceeds pass/stapled 3

pki issue "$dir/pki" renewed-again server --name DNS:localhost || bail_out "pki issue"
cp "$dir/pki/renewed-again.key" "$dir/pki/renewed.key"
cp "$dir/pki/renewed-again.pem" "$dir/pki/renewed.pem"
new_staple() {
	status_from renewed >"$dir/renewed" 2>&1
	grep -aq "Serial Number: $(serial_of renewed-again)" "$dir/renewed"
}
check "a renewed certificate gets a staple of its own" wait_for 10 new_staple

fetched=$(grep -c . "$dir/responder.log")
check "ktlsd --check is content" ktlsd --check "$agent_config"
check "and fetches nothing" [ "$(grep -c . "$dir/responder.log")" = "$fetched" ]

revoke disowned
end "$responder_pid"
stop_agent
start
staples_itself "after a restart, with the responder down: the staple of before" server-ecdsa stapled -tls1_3 ECDSA+SHA256
start_responder
check "its own certificate was revoked: the log says so" \
	wait_for 12 grep -q "OUR CERTIFICATE CN=disowned.* IS REVOKED: revoked 20.*replace it" "$agent_log"
says "and that is what clients hear" 'Cert Status: revoked' '^result: error = none' -- status_from disowned

# ---- settings ----

# complains NAME PATTERN... <SERVICE
complains() {
	{
		printf '[ktlsd]\nhandoff_socket = none\n'
		cat
	} >"$dir/wrong.conf"
	says "$@" -- ktlsd --check "$dir/wrong.conf"
}

somewhere=http://127.0.0.1/
complains "https:// for a responder" 'ocsp_responder = https://127.0.0.1/; expected http://' <<END
$(asks x https://127.0.0.1/)
END
complains "https:// for a staple's" 'staple_responder = https://127.0.0.1/; expected http://' <<END
$(staples x server-ecdsa https://127.0.0.1/)
END
complains "staple in a client service" 'staple = yes is for server services' <<END
$(checks x 'staple = yes')
END
complains "ocsp = staple in a server service" 'expected ocsp = ask' <<END
$(asks x $somewhere | sed 's/^ocsp = ask/ocsp = staple/')
END
complains "ocsp where nobody is verified" 'asks clients for no certificate' <<END
$(server_service x)
ocsp = ask
END
openssl x509 -in "$dir/pki/server-ecdsa.pem" >"$dir/pki/alone.pem"
cp "$dir/pki/server-ecdsa.key" "$dir/pki/alone.key"
complains "a staple for a certificate without its issuer" \
	"alone.pem can't have a staple: its issuer's certificate has to stand behind it in the file" <<END
$(staples x alone $somewhere)
END
complains "a staple for a certificate that names no responder" "can't have a staple: the certificate names no OCSP responder" <<END
$(server_service x)
staple = yes
END
complains "a certificate that demands a staple, and no staple" \
	'must-staple.pem demands a staple \(must-staple\); expected staple = yes' <<END
$(server_service x must-staple)
END
complains "which a client can't give" "good, 1 service" <<END
$(checks x "certificate = $dir/pki/must-staple.pem" "key = $dir/pki/must-staple.key")
END
refused "so nothing is said of it there" grep 'demands a staple' "$dir/said"
for setting in 'ocsp = maybe' 'ocsp_timeout = 0' 'ocsp_refresh = 0' 'ocsp_nonce = 2' 'revocation_unknown = perhaps' 'staple = always'; do
	complains "$setting" "$setting; expected" <<END
$(checks x "$setting")
END
done

# ---- drain ----

hold 5 3
kill "$agent"
sleep 0.3
open_gate
began=$(date +%s%3N)
wait "$agent"
check "the agent is told to stop: it ends when those that are held have got in ($(($(date +%s%3N) - began)) ms)" \
	[ "$? $(($(date +%s%3N) - began < 1500))" = "0 1" ]
agent=''
all_were "and their caller knows" "5 echoed"
start
hold 5 3
began=$(date +%s%3N)
stop_agent
check "no answer in that time: it does not wait for the responder ($(($(date +%s%3N) - began)) ms)" \
	[ $(($(date +%s%3N) - began)) -lt 5000 ]
all_were "and the clients hear of it" "5 ended"
finish

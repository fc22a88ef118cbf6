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
	asks slow-2 "$at/slow/2"
	asks slow-5 "$at/slow/5" 'timeout = 20' 'ocsp_timeout = 10'
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
pki bulk "$dir/pki" 50 2>/dev/null || bail_out "pki bulk"
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
finish

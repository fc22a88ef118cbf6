#!/bin/sh
# SPDX-License-Identifier: MIT
# Two devices, a and b, each with a network, an agent and certificates of its own, joined by a cable: who may talk with whom,
# whoever connects. Both run the example; what it says on each side is what counts.
# shellcheck disable=SC2086,SC2154,SC2317 # words without blanks, and commands with their options; functions are called by
# name, variables set by eval
# shellcheck source=devices_lib.sh
. "$(dirname "$0")/devices_lib.sh"

# ---- addresses ----

# address DEVICE FAMILY
address() {
	case $1$2 in
	a4) echo 192.0.2.1 ;;
	b4) echo 192.0.2.2 ;;
	a6) echo 2001:db8::1 ;;
	b6) echo 2001:db8::2 ;;
	esac
}

# ---- meetings ----

# begin DEVICE SERVICE [NAME ADDRESS]: its example. The other's may not be there yet.
begin() {
	on "$1"
	begin_service=$2 begin_log=$dir/$1/said
	shift 2
	: >"$begin_log"
	in_background "$begin_log" $in example-peer --listen :: --service "$begin_service" "$@"
	examples="$examples $!"
	wait_for 5 grep -q "^listening" "$begin_log" || bail_out "the example does not listen: $(cat "$begin_log")"
}

# meeting TITLE [DEVICE PATTERN]...: a check: each says that, and then both are ended.
examples=''
meeting() {
	meeting_title=$1 missing=''
	shift
	while [ $# -gt 0 ]; do
		wait_for 4 grep -qE -- "$2" "$dir/$1/said" || missing="$missing $1: \"$2\""
		shift 2
	done
	{ kill $examples && wait $examples; } 2>/dev/null
	examples=''
	if [ -z "$missing" ]; then
		ok "$meeting_title"
	else
		{
			echo "(missing:$missing)"
			tail -n 3 "$dir/a/agent.log" "$dir/b/agent.log"
		} >"$dir/check"
		not_ok "$meeting_title" "$dir/check" "$dir/a/said" "$dir/b/said"
	fi
}

other() {
	case $1 in
	a) echo b ;;
	b) echo a ;;
	esac
}

# calls DEVICE SERVICE OTHERS-SERVICE FAMILY NAME: DEVICE connects to the other.
calls() {
	begin "$(other "$1")" "$3"
	begin "$1" "$2" "$5" "$(address "$(other "$1")" "$4")"
}

are_connected_twice() {
	[ "$($in ss -Hnt state established '( sport = :4433 or dport = :4433 )' | wc -l)" = 2 ]
}

# ---- what devices have ----

uri=spiffe://development/device

# issue DEVICE KIND PROFILE OPTION...
issue() {
	issue_name=$1-$2 issue_device=$1 issue_profile=$3
	shift 3
	[ $# -gt 0 ] || set -- --name "URI:$uri/$issue_device"
	pki issue "$dir/ca" "$issue_name" "$issue_profile" "$@" || bail_out "pki issue"
}

make_certificates() {
	pki init "$dir/ca" || bail_out "pki init"
	for device in a b; do
		issue $device good peer --name "URI:$uri/$device,DNS:$device.example,IP:$(address $device 4),email:$device@example"
		issue $device unlisted peer --name "URI:$uri/$device-unlisted"
		issue $device server-only server --name "URI:$uri/$device"
		issue $device client-only device
		issue $device revoked peer --name "URI:$uri/$device"
		issue $device expired peer --name "URI:$uri/$device" --from 20200101000000Z --until 20200201000000Z
		pki revoke "$dir/ca" $device-revoked keyCompromise || bail_out "pki revoke"
	done
	pki crl "$dir/ca" || bail_out "pki crl"
}

# half ROLE NAME VERSION KEY...: a service
half() {
	printf '[service %s-%s-%s]\nrole = %s\nmin_version = %s\nmax_version = %s\n' "$2" "$3" "$1" "$1" "$3" "$3"
	shift 3
	[ $# = 0 ] || printf '%s\n' "$@"
}

certificate() {
	printf 'certificate = %s\nkey = %s\n' "$dir/ca/$1.pem" "$dir/ca/$1.key"
}

trust() {
	printf 'ca = %s\ncrl = %s, %s\n' "$dir/ca/ca.pem" "$dir/ca/crl.pem" "$dir/ca/root-crl.pem"
}

# What a device demands of others, in both roles.
demands() {
	trust
	echo "require_purposes = serverAuth, clientAuth"
	for demands_device in a b; do
		echo "allow_peer = URI:$uri/$demands_device as device $demands_device"
	done
}

kinds="good unlisted server-only client-only revoked expired"

# services DEVICE: a pair for each kind of certificate and version, and those for the tables of one-way and mutual TLS.
services() {
	for version in 1.2 1.3; do
		for kind in $kinds; do
			half server "$kind" $version "$(certificate "$1-$kind")" "client_certificate = require" "$(demands)"
			half client "$kind" $version "$(certificate "$1-$kind")" "$(demands)"
		done
		half server none $version "$(certificate "$1-good")"
		half server request $version "$(certificate "$1-good")" "client_certificate = request" "$(trust)"
		half server require $version "$(certificate "$1-good")" "client_certificate = require" "$(trust)"
		half client without $version "$(trust)"
		half client with $version "$(certificate "$1-good")" "$(trust)"
	done
}

for device in a b; do
	make_device $device
done
join_devices a b
for device in a b; do
	set_addresses $device "$(address $device 4)" "$(address $device 6)"
done

# ---- docs/peers.md, as it is written there ----

# block KIND NUMBER
block() {
	awk -v kind="$1" -v number="$2" '
		/^```/ { inside = $0 == "```" kind && !inside; count += inside; next }
		inside && count == number' "$guide"
}

# said_in_guide DEVICE MARK: what stands behind it.
said_in_guide() {
	sed -n "s/^$1$2 //p" "$guide"
}

run_block() {
	block sh "$1" >"$dir/commands"
	[ -s "$dir/commands" ] && (cd "$dir/guide" && sh -e "$dir/commands")
}

begin_as_in_guide() {
	for device in a b; do
		command=$(said_in_guide $device '[$]')
		on $device
		: >"$dir/$device/said"
		in_background "$dir/$device/said" $in $command
		examples="$examples $!"
	done
}

has_taken_files() {
	[ "$($in ktlsctl status --json | jq .refresh.done_s)" != null ]
}

guide=$tests/peers.md
[ -e "$guide" ] || guide=$tests/../docs/peers.md
mkdir -p "$dir/guide/scripts"
ln -s "$(command -v pki)" "$dir/guide/scripts/pki"
check "the guide: certificates" run_block 1
check "the guide: files" run_block 2
for device in a b; do
	block ini 1 | sed "1d; s,/etc/ktlsd,$dir/guide/$device,g; s,allow_users = device,allow_users = root," >"$dir/services"
	start_device $device <"$dir/services"
done
begin_as_in_guide
meeting "the guide: the two meet" a "^$(said_in_guide a :)$" a "^I called you" b "^$(said_in_guide b :)$" b "^you called me"
check "the guide: a device is lost" run_block 3
on a
check "the agent takes the CRL by itself" wait_for 10 has_taken_files
begin_as_in_guide
meeting "the guide: it is refused" a "who called us: .*revoked .*keyCompromise" b "alert certificate_revoked"
stop_device a
stop_device b

# ---- devices of many kinds ----

make_certificates
for device in a b; do
	start_device $device <<END
$(services $device)
END
done

# ---- those who know each other ----

for version in 1.3 1.2; do
	for family in 4 6; do
		for caller in a b; do
			called=$(other $caller)
			calls $caller good-$version good-$version $family $uri/$called
			meeting "TLS $version, IPv$family: $caller connects to $called, and each knows the other" \
				$caller "^connected to device $called: .*URI:$uri/$called,.*TLS $version" $caller "^device $called says:" \
				$caller "^hello, device $caller" $caller "^you called me" \
				$called "^was called by device $caller: .*URI:$uri/$caller,.*TLS $version" \
				$called "^device $caller says:" $called "^hello, device $called" $called "^I called you"
		done
		kill -STOP "$agent_a" "$agent_b"
		begin a good-$version $uri/b "$(address b $family)"
		begin b good-$version $uri/a "$(address a $family)"
		wait_for 5 are_connected_twice
		kill -CONT "$agent_a" "$agent_b"
		meeting "TLS $version, IPv$family: both connect at once, and each knows the other twice" \
			a "^connected to device b" a "^was called by device b" a "^you called me" a "^I called you" \
			b "^connected to device a" b "^was called by device a" b "^you called me" b "^I called you"
	done
done

# ---- those who are refused ----

# What the one who refuses says of a certificate, and the alert that the other gets. In TLS 1.3 who connects is ready before he
# is refused.
while read -r kind alert words; do
	name=''
	[ "$kind" != unlisted ] || name=-unlisted
	for version in 1.3 1.2; do
		family=4
		[ $version = 1.3 ] || family=6
		for bad in a b; do
			good=$(other $bad)
			calls $bad "$kind-$version" good-$version $family "$uri/$good"
			meeting "TLS $version: $bad, $kind, connects to $good, which refuses" \
				"$good" "who called us: .*$words" "$bad" "the peer sent the alert \"?$alert"
			calls "$good" good-$version "$kind-$version" $family "$uri/$bad$name"
			meeting "TLS $version: $good connects to $bad, $kind, and refuses" \
				"$good" "$uri/$bad$name: .*$words" "$bad" "who called us: the peer sent the alert \"?$alert"
		done
	done
done <<END
unlisted    handshake.failure       is not in the service's allow list .*URI:$uri/[ab]-unlisted
server-only unsupported.certificate (expected|lacks) the purpose .*7\.3\.2
client-only unsupported.certificate (expected|lacks) the purpose .*7\.3\.1
revoked     certificate.revoked     revoked
expired     certificate.expired     has expired: valid from 2020-01-01.* until 2020-02-01
END

# ---- one certificate, two, or none ----

words() {
	case $1 in
	server) echo "^connected to somebody: URI:$uri/b," ;;
	client) echo "^was called by somebody: URI:$uri/a," ;;
	nobody) echo "^was called by somebody: without a certificate" ;;
	missing) echo "who called us: .*peer did not return a certificate" ;;
	none) echo "the peer sent the alert \"?(certificate_required|handshake failure)" ;;
	esac
}

while read -r asks shows a_says b_says; do
	for version in 1.3 1.2; do
		calls a "$shows-$version" "$asks-$version" 4 $uri/b
		meeting "TLS $version: client_certificate = $asks, a client $shows one" a "$(words "$a_says")" b "$(words "$b_says")"
	done
done <<END
none    without server nobody
none    with    server nobody
request without server nobody
request with    server client
require without none   missing
require with    server client
END

# ---- names that a client expects ----

while read -r outcome name; do
	calls a with-1.3 none-1.3 6 "$name"
	case $outcome in
	right)
		meeting "b is $name" a "^connected to somebody: URI:$uri/b," a "^you called me" b "^I called you"
		;;
	wrong)
		meeting "b is not $name" a "$name: the server's certificate is not for .*$name.*it is for .*b.example" \
			b "sent the alert"
		;;
	esac
done <<END
right $uri/b
right b.example
right B.Example
right 192.0.2.2
right b@example
wrong $uri/a
wrong $uri/B
wrong $uri
wrong $uri/b/
wrong a.example
wrong 192.0.2.1
wrong 2001:db8::2
wrong a@example
END

# asks_for NAME VERSION: what the server's result says.
asks_for() {
	on b
	in_background "$dir/serve.log" $in timeout 20 serve "none-$2-server"
	server=$!
	wait_for 10 grep -q '^port' "$dir/serve.log" || return 124
	$in timeout 10 example-client --service "with-$2-client" --listen 127.0.0.1 \
		--port "$(sed -n 's/^port //p' "$dir/serve.log")" "$1"
	wait $server
	cat "$dir/serve.log"
}

for version in 1.3 1.2; do
	for name in $uri/b 192.0.2.2 b@example; do
		says "TLS $version: the name $name is not sent" '^hello$' '^result: server_name = $' -- asks_for $name $version
	done
	says "TLS $version: the name b.example is" '^hello$' '^result: server_name = b.example$' -- asks_for b.example $version
done

stop_device a
stop_device b
finish

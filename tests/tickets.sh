#!/bin/sh
# SPDX-License-Identifier: MIT
# Ticket keys that machines share: two agents in two networks resume each other's sessions while their keys are rotated, each at
# its own moment; bad keys change nothing and are told of; keys that are replaced are gone from memory.
# shellcheck disable=SC2086,SC2154,SC2317 # commands with their options; variables set by eval; functions called by name
# shellcheck source=devices_lib.sh
. "$(dirname "$0")/devices_lib.sh"
chmod 755 "$dir" # the agents are nobody here: root reads everything

# ---- keys ----

# key NUMBER: $key is a file with that key, made when it is first asked for.
key() {
	key=$dir/keys/$1
	[ -e "$key" ] || openssl rand 80 >"$key"
}

# name_of NUMBER: as people read of it
name_of() {
	key "$1"
	head -c 4 "$key" | od -An -tx1 | tr -d ' \n'
}

# deploy DEVICE NUMBER: that key and its neighbours, as Kubernetes puts a new version of a Secret into place.
version=0
deploy() {
	version=$((version + 1))
	folder=$dir/$1/secret new=$dir/$1/secret/..$version
	mkdir -p "$new"
	for deployed in "previous $(($2 - 1))" "current $2" "next $(($2 + 1))"; do
		key "${deployed#* }"
		cp "$key" "$new/${deployed% *}"
		[ -L "$folder/${deployed% *}" ] || ln -s "..data/${deployed% *}" "$folder/${deployed% *}"
	done
	own "$new"
	old=$(readlink "$folder/..data")
	ln -s "..$version" "$folder/..data_tmp"
	mv -T "$folder/..data_tmp" "$folder/..data"
	[ -z "$old" ] || rm -r "${folder:?}/$old"
}

own() {
	chown -R nobody "$1"
	chmod -R go= "$1"
}

# ---- agents ----

# status_of DEVICE FILTER
status_of() {
	on "$1"
	$in ktlsctl status --json | jq -r "$2"
}

seals_with() { # DEVICE NUMBER
	[ "$(status_of "$1" '.ticket_keys[] | select(.use == "seals") | .name')" = "$(name_of "$2")" ]
}

# rotate DEVICE NUMBER
rotate() {
	deploy "$@"
	check "$1 takes key $2" wait_for 5 seals_with "$@"
}

full_handshakes() {
	status_of "$1" '.done - .resumed'
}

# config [KEY...]: keys for [ktlsd]
config() {
	printf 'user = nobody\nworkers = 2\n'
	[ $# = 0 ] || printf '%s\n' "$@"
	server_service web
}

reload() { # DEVICE KEY...
	reload_device=$1
	shift
	configure_device $reload_device <<END
$(config "$@")
END
	on $reload_device
	$in ktlsctl reload
}

# ---- a client ----

start_client() {
	mkfifo "$dir/client.in" "$dir/client.out"
	sessions.py "$dir/pki/ca.pem" <"$dir/client.in" >"$dir/client.out" 2>"$dir/client.log" &
	jobs="$jobs $!"
	exec 5>"$dir/client.in" 6<"$dir/client.out"
}

# client COMMAND...: see sessions.py
client() {
	echo "$@" >&5
	read -r answer <&6
	echo "$answer"
}

# connect COMMAND NAME VERSION: for "through"
connect() {
	client "$@" "$port" "$dir/$device/net"
}

# session TITLE DEVICE VERSION NAME: with tickets of that device
session() {
	device=$2
	on "$device"
	says "TLS 1.$3: $1" '^New$' '^result: error = none' '^result: resumed = 0' -- through web connect new "$4-$3" "1.$3"
}

# resumes TITLE DEVICE VERSION NAME: and goes on with the ticket that it gets.
resumes() {
	device=$2
	on "$device"
	says "TLS 1.$3: $1" '^Reused$' '^result: error = none' '^result: resumed = 1' -- \
		through web connect resume "$4-$3" "1.$3"
}

does_not_resume() {
	device=$2
	on "$device"
	says "TLS 1.$3: $1" '^New$' '^result: error = none' '^result: resumed = 0' -- \
		through web connect resume "$4-$3" "1.$3"
}

make_pki
chown -R nobody "$dir/pki"
start_client
mkdir "$dir/keys"
for device in a b; do
	make_device $device
	on $device
	$in ip link set lo up || bail_out "no loopback"
	deploy $device 1
	start_device $device <<END
$(config)
END
done

# ---- without shared keys ----

for tls in 3 2; do
	session "each its own keys: a session from a" a $tls alone
	does_not_resume "b does not know it" b $tls alone
done
check "what they are is no secret" [ "$(status_of a '.ticket_keys | length')" = 2 ]
says "for people, too" '^ticket keys' '^  [0-9a-f]{8} seals, made [0-9]+ s ago$' '^  [0-9a-f]{8} opens, made' -- $in ktlsctl status

# ---- three rotations ----

for device in a b; do
	check "$device gets shared keys" reload $device "ticket_keys = $dir/$device/secret"
	check "they count" seals_with $device 1
done
says "they are named" "^  $(name_of 1) seals, loaded [0-9]+ s ago from $dir/b/secret/current\$" \
	"^  $(name_of 0) opens, .*/previous\$" "^  $(name_of 2) opens, .*/next\$" -- $in ktlsctl status
for tls in 3 2; do
	session "a session from a" a $tls from-a
	session "a session from b" b $tls from-b
	client copy from-a-$tls resting-$tls >/dev/null
done
full_a=$(full_handshakes a) full_b=$(full_handshakes b)
for tls in 3 2; do
	resumes "b resumes it" b $tls from-a
	resumes "and a" a $tls from-a
done
for generation in 2 3 4; do
	rotate a $generation
	for tls in 3 2; do
		resumes "a, with key $generation, resumes what is from before" a $tls from-a
		resumes "b, which has not rotated yet, resumes what is sealed with key $generation" b $tls from-a
		resumes "a resumes b's, sealed with key $((generation - 1))" a $tls from-b
		resumes "b goes on with it" b $tls from-b
	done
	rotate b $generation
	for tls in 3 2; do
		resumes "b, with key $generation, too" b $tls from-a
		resumes "and a again" a $tls from-a
		resumes "b its own" b $tls from-b
	done
done
check "a has made no full handshake" [ "$(full_handshakes a)" = "$full_a" ]
check "nor has b" [ "$(full_handshakes b)" = "$full_b" ]
for tls in 3 2; do
	resumes "b's session is still good" a $tls from-b
	does_not_resume "the session that has rested since key 1 is not" a $tls resting
done

# ---- what is in memory ----

# in_memory DEVICE NUMBER: whether a secret of the key is in the agent's memory.
in_memory() {
	key "$2"
	eval "pid=\$agent_$1"
	python3 - "$pid" "$key" <<'END'
import re, sys
pid, key = sys.argv[1], open(sys.argv[2], "rb").read()
secrets = [key[16:32], key[48:64]] # HMAC, AES
found = False
with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", 0) as memory:
    for line in maps:
        begin, end, rights = re.match("([0-9a-f]+)-([0-9a-f]+) (....)", line).groups()
        if rights[0] != "r" or line.rstrip().endswith(("[vvar]", "[vsyscall]")):
            continue
        try:
            memory.seek(int(begin, 16))
            content = memory.read(int(end, 16) - int(begin, 16))
        except (OSError, ValueError, OverflowError):
            continue
        found |= any(secret in content for secret in secrets)
sys.exit(not found)
END
}

not_in_memory() {
	! in_memory "$@"
}

for which in 3 4 5; do
	check "key $which is in a's memory" in_memory a $which
done
for which in 0 1 2; do
	check "key $which is not, any more" wait_for 4 not_in_memory a $which
done

# ---- reloads, and other ways to put keys into place ----

loads=0
load() {
	while [ -e "$dir/loading" ]; do
		$in timeout 10 openssl s_client -connect "127.0.0.1:$1" -tls1_3 -ign_eof -sess_in "$dir/load" -sess_out "$dir/load" \
			</dev/null 2>/dev/null | grep -a -E '^(New|Reused), '
	done
}

on a
in_background "$dir/load-serve.log" $in timeout 60 serve web 1000
wait_for 10 grep -q '^port' "$dir/load-serve.log"
port=$(sed -n 's/^port //p' "$dir/load-serve.log")
s_client -tls1_3 -sess_out "$dir/load" >/dev/null 2>&1
: >"$dir/loading"
in_background "$dir/load.log" load "$port"
load=$!
for _ in 1 2 3 4 5 6 7 8 9 10; do
	reload a "ticket_keys = $dir/a/secret" >/dev/null
	deploy a 4
	sleep 0.2
done
rotate a 5
rm "$dir/loading"
wait $load
loads=$(grep -c '^Reused' "$dir/load.log")
check "while keys are reloaded and rotated, sessions go on resuming" [ "$loads" -gt 5 ]
check "each of them" [ "$(grep -c '^New' "$dir/load.log")" = 0 ]
echo "# $loads resumptions"

rotate b 5
for tls in 3 2; do
	session "a session from b" b $tls late
done
mkdir "$dir/b/list"
key 5
cp "$key" "$dir/b/list/1"
key 4
cp "$key" "$dir/b/list/2"
own "$dir/b/list"
check "b takes them as files of a list" reload b "ticket_keys = $dir/b/list/1, $dir/b/list/2"
for tls in 3 2; do
	resumes "it resumes what is from before" b $tls late
done
key 6
cp "$key" "$dir/b/list/new"
own "$dir/b/list"
mv "$dir/b/list/new" "$dir/b/list/1"
check "renamed over" wait_for 5 seals_with b 6
key 7
cat "$key" >"$dir/b/list/1"
check "written in place" wait_for 5 seals_with b 7
stop_device b
start_device b <<END
$(config "ticket_keys = $dir/b/list/1, $dir/b/list/2")
END
check "after a restart: the same keys" seals_with b 7

# nginx's older form, on both machines
openssl rand 48 >"$dir/keys/48"
for device in a b; do
	cp "$dir/keys/48" "$dir/$device/short"
	own "$dir/$device/short"
	check "a key of 48 bytes for $device" reload $device "ticket_keys = $dir/$device/short"
done
for tls in 3 2; do
	session "a session under it, from b" b $tls short
	resumes "a resumes it" a $tls short
done

# ---- bad ones: nothing changes, and it is said why ----

check "a goes back to the folder" reload a "ticket_keys = $dir/a/secret"
for tls in 3 2; do
	session "a session from a" a $tls kept
done
rm -r "$dir/a/secret"
mkdir "$dir/a/secret"

# good: the keys as plain files
good() {
	rm -rf "$dir/a/secret"
	mkdir "$dir/a/good"
	for deployed in "previous 4" "current 5" "next 6"; do
		key "${deployed#* }"
		cp "$key" "$dir/a/good/${deployed% *}"
	done
	own "$dir/a/good"
	mv "$dir/a/good" "$dir/a/secret"
}

has_fault() {
	status_of a .ticket_keys_fault | grep -q -- "$1"
}

has_no_fault() {
	[ "$(status_of a .ticket_keys_fault)" = null ]
}

# refuses NAME PATTERN COMMAND...: in the folder. Each is told of, whatever was before.
refuses() {
	refuses_name=$1 refuses_pattern=$2
	shift 2
	good
	check "good ones are taken" wait_for 5 has_no_fault
	said_before=$(wc -c <"$dir/a/agent.log")
	(cd "$dir/a/secret" && "$@") || bail_out "$*"
	check "$refuses_name: the log says it" wait_for 5 log_says
	check "and that nothing changes" wait_for 2 log_says_it_stays
	check "so does the status" wait_for 2 has_fault "$refuses_pattern"
	check "the keys are those before" seals_with a 5
	for tls in 3 2; do
		resumes "a session from before resumes" a $tls kept
	done
}

log_says() {
	tail -c +$((said_before + 1)) "$dir/a/agent.log" | grep -q -- "$refuses_pattern"
}

log_says_it_stays() {
	tail -c +$((said_before + 1)) "$dir/a/agent.log" | grep -q 'changed ticket keys are not taken; those before stay in force'
}

# in place: the new content, with the old permissions
refuses "truncated" 'secret/current has 79 bytes; expected 80 random bytes (openssl rand 80)' truncate -s 79 current
refuses "an empty one" 'secret/next has 0 bytes' truncate -s 0 next
refuses "a longer one" 'secret/next has 81 bytes' truncate -s 81 next
refuses "one of zeroes" 'secret/next holds no key' sh -c 'head -c 80 /dev/zero >next'
refuses "one that the agent may not read" "secret/previous can't be read: Permission denied; expected .* user" chown root previous
refuses "one that everyone may read" 'secret/next may be read by everyone (mode 0604); .* chmod o=' chmod 604 next
refuses "a pipe" 'secret/next is not a regular file' sh -c 'rm next && mkfifo next'
refuses "a folder" 'secret/more is not a regular file' mkdir more
refuses "an empty folder" 'secret has no ticket key called current' rm current previous next
refuses "the same one twice" 'secret/current and .*/next: ticket keys with the same name' cp -p current next
refuses "two that are current" 'both are called current' sh -c 'cp -p next current.1'

good
check "good ones are taken" wait_for 5 has_no_fault
rm -r "$dir/a/secret"
on a
check "the folder is gone: it is said" wait_for 5 grep -q "ticket_keys: $dir/a/secret is gone" "$dir/a/agent.log"
for tls in 3 2; do
	resumes "a session from before resumes" a $tls kept
done
refused "a reload without keys is refused" $in ktlsctl reload
says "and says why" "ktlsd.conf:[0-9]+: $dir/a/secret can't be read: No such file" -- $in ktlsctl reload
for tls in 3 2; do
	resumes "a session from before resumes" a $tls kept
done
refused "a configuration with bad keys is not good" $in ktlsd --check "$dir/a/ktlsd.conf"
says "and says why" "ktlsd.conf:[0-9]+: $dir/a/secret can't be read: No such file" -- $in ktlsd --check "$dir/a/ktlsd.conf"

# neither the log nor the status may have more of a key than the beginning of its name
said_secrets() {
	for which in 0 1 2 3 4 5 6 7; do
		key $which
		tail -c +17 "$key" | od -An -tx1 -v | tr -d ' \n' | head -c 16
		echo
	done
}
said_secrets >"$dir/secrets"
status_of a . | cat - "$dir"/?/agent.log | tr -d ' :' >"$dir/all"
refused "no key is in a log or in the status" grep -qif "$dir/secrets" "$dir/all"
stop_device a
stop_device b
finish

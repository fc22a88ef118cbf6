#!/bin/sh
# SPDX-License-Identifier: MIT
# Renewed files: taken within two seconds in every way that they are renewed, without a restart and without a failed handshake
# under load; what can't be taken leaves the old in force, and is said. Certificates that end are told of in time.
# shellcheck disable=SC2317 # functions are called by name
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
chmod 755 "$dir" # the agent is nobody here: root reads everything

# ---- certificates ----

# authority NAME: $dir/NAME.pem and .key
authority() {
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$dir/$1.key" -out "$dir/$1.pem" \
		-subj "/CN=$1" -days 3650 -addext keyUsage=critical,keyCertSign 2>/dev/null || bail_out "openssl req"
}

# issue NAME AUTHORITY OPTION...: $dir/NAME.pem and .key for localhost; $serial is its number.
serial=4096
issue() {
	serial=$((serial + 1))
	issued=$1 issuer=$2
	shift 2
	[ $# -gt 0 ] || set -- -days 90
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$dir/$issued.key" -out "$dir/$issued.pem" \
		-CA "$dir/$issuer.pem" -CAkey "$dir/$issuer.key" -subj "/CN=$issued" -set_serial $serial \
		-addext subjectAltName=DNS:localhost,IP:127.0.0.1 -addext basicConstraints=critical,CA:false \
		-addext extendedKeyUsage=serverAuth,clientAuth "$@" 2>/dev/null || bail_out "openssl req"
	chown nobody "$dir/$issued.pem" "$dir/$issued.key"
}

# in_hours N: as openssl takes dates
in_hours() {
	date -u -d "$1 hours" +%Y%m%d%H%M%SZ
}

# install_pair NAME FOLDER CERTIFICATE KEY: copies of NAME's files, in a folder that need not be there yet
install_pair() {
	mkdir -p "$2"
	cp -p "$dir/$1.pem" "$2/$3"
	cp -p "$dir/$1.key" "$2/$4"
	chown nobody "$2"
}

# ---- the agent and its servers ----

# service NAME CERTIFICATE KEY: relative to $dir
service() {
	printf '[service %s]\nrole = server\ncertificate = %s\nkey = %s\n' "$1" "$dir/$2" "$dir/$3"
}

config() {
	printf 'log_level = info\nworkers = 2\nuser = nobody\nkey_file = none\n'
	service plain plain/web.pem plain/web.key
	service certbot letsencrypt/live/site/fullchain.pem letsencrypt/live/site/privkey.pem
	service kubernetes secret/tls.crt secret/tls.key
	service members plain/web.pem plain/web.key
	printf 'client_certificate = require\nca = %s\n' "$dir/members.pem"
}

# served PORT: the serial number of the certificate that is shown there
served() {
	served_serial=$(timeout 10 openssl s_client -connect "127.0.0.1:$1" -CAfile "$dir/ca.pem" -verify_return_error \
		</dev/null 2>/dev/null | openssl x509 -noout -serial 2>/dev/null) || return
	echo $((0x${served_serial#serial=}))
}

serves() {
	asked=$(date +%s%3N)
	[ "$(served "$1")" = "$2" ]
}

# in_time NAME PORT: who connects two seconds after $began, at the latest, sees the last certificate that was issued.
in_time() {
	if wait_for 10 serves "$2" $serial && [ $((asked - began)) -le 2000 ]; then
		ok "$1: it is served within 2 s ($((asked - began)) ms)"
	else
		not_ok "$1: it is served within 2 s (now: $(served "$2"), expected: $serial, $((asked - began)) ms)"
	fi
}

# mark, then news PATTERN: whether the log has got it since.
mark() {
	marked=$(wc -c <"$agent_log")
}

news() {
	tail -c +$((marked + 1)) "$agent_log" | grep -q -- "$1"
}

refresh_says() {
	agent_status ".refresh.$1"
}

fault_of() {
	agent_status ".services[] | select(.name == \"$1\") | .fault"
}

# Handshakes without end, in rounds: what each counted is a line of load.json; one that fails ends it. Nicely, so that what
# is measured beside it on the same processor is the agent.
load() {
	while [ -e "$dir/loading" ]; do
		nice ktls-bench handshake --connections 3 --duration 2 --warmup 0 --path /hello --json "$@" || break
	done
	echo '"ended"'
}

for name in ca members new-members; do
	authority $name
done
issue web ca
install_pair web "$dir/plain" web.pem web.key
issue site1 ca
install_pair site1 "$dir/letsencrypt/archive/site" fullchain1.pem privkey1.pem
mkdir -p "$dir/letsencrypt/live/site"
ln -s ../../archive/site/fullchain1.pem "$dir/letsencrypt/live/site/fullchain.pem"
ln -s ../../archive/site/privkey1.pem "$dir/letsencrypt/live/site/privkey.pem"
issue secret ca
install_pair secret "$dir/secret/..2026_1" tls.crt tls.key
ln -s ..2026_1 "$dir/secret/..data"
ln -s ..data/tls.crt ..data/tls.key "$dir/secret/"
issue client members
issue new-client new-members

mkdir "$dir/www"
echo hello >"$dir/www/hello"

start_agent <<END
$(config)
END
for name in plain certbot kubernetes; do
	start_server example-uring-https --service $name "$dir/www"
	eval "$name=\$port"
done
# shellcheck disable=SC2154 # set by eval
set -- "127.0.0.1:$plain" "127.0.0.1:$certbot" "127.0.0.1:$kubernetes"
: >"$dir/loading"
in_background "$dir/load.json" load "$@"

# ---- an agent that may watch nothing looks once a minute: it has until the end of this script ----

polling() {
	KTLSD_CONTROL="$dir/polling/control" ktlsctl status --json | jq -r "$1"
}

issue polling ca
install_pair polling "$dir/polling" web.pem web.key
{
	printf '[ktlsd]\nhandoff_socket = %s\ncontrol_socket = %s\n' "$dir/polling/handoff" "$dir/polling/control"
	service web polling/web.pem polling/web.key
} >"$dir/polling/ktlsd.conf"
chown root "$dir/polling" "$dir/polling/web.key"
# shellcheck disable=SC2016 # for the shell in there
in_background "$dir/polling/log" unshare --user --map-root-user sh -c \
	'echo 0 >/proc/sys/user/max_inotify_watches && exec ktlsd --config "$1/ktlsd.conf"' sh "$dir/polling"
polling=$!
check "an agent that may watch nothing says so" \
	wait_for 10 grep -q "can't be watched: No space left on device (the limit is fs.inotify.max_user_watches)" "$dir/polling/log"
check "once" [ "$(grep -c "can't be watched" "$dir/polling/log")" = 1 ]
issue polling ca
cat "$dir/polling.key" >"$dir/polling/web.key"
cat "$dir/polling.pem" >"$dir/polling/web.pem"
polling_began=$(date +%s)

# ---- the ways of renewal, under load ----

begin() {
	began=$(date +%s%3N)
}

# renew_by_renaming: the files of "plain"
renew_by_renaming() {
	issue renewed ca
	install_pair renewed "$dir/plain" new.pem new.key
	begin
	mv "$dir/plain/new.key" "$dir/plain/web.key"
	mv "$dir/plain/new.pem" "$dir/plain/web.pem"
}

says "a session from before all renewals" '^New, ' '^result: error = none' -- \
	through plain s_client -CAfile "$dir/ca.pem" -tls1_3 -sess_out "$dir/session"
check "nothing was refreshed yet" [ "$(refresh_says services)" = null ]

issue renewed ca
begin
cat "$dir/renewed.key" >"$dir/plain/web.key"
cat "$dir/renewed.pem" >"$dir/plain/web.pem"
in_time "written in place" "$plain"

renew_by_renaming
in_time "renamed over the old ones" "$plain"
check "by the services that have these files, and by no other" [ "$(refresh_says services)" = 2 ]

issue renewed ca
install_pair renewed "$dir/plain" new.pem new.key
begin
mv "$dir/plain/new.pem" "$dir/plain/web.pem"
sleep 0.3
mv "$dir/plain/new.key" "$dir/plain/web.key"
in_time "the key 0.3 s behind the certificate" "$plain"
check "there was nothing to complain about so far" [ "$(refresh_says failed_s)" = null ]

issue renewed ca
install_pair renewed "$dir/plain" new.pem new.key
mv "$dir/plain/new.key" "$dir/plain/web.key"
sleep 2
check "the key 2 s before the certificate: the old ones stay" serves "$plain" $((serial - 1))
check "and the log says why" agent_log_has 'web.key is not the key of the first certificate in .*web.pem'
begin
mv "$dir/plain/new.pem" "$dir/plain/web.pem"
in_time "then the certificate" "$plain"

issue renewed ca
install_pair renewed "$dir/plain.new" web.pem web.key
begin
mv "$dir/plain" "$dir/plain.old"
mv "$dir/plain.new" "$dir/plain"
in_time "the folder swapped for another" "$plain"

issue renewed ca
rm -r "$dir/plain"
sleep 1
check "without the folder the agent serves what it has" serves "$plain" $((serial - 1))
check "and says so" agent_log_has 'plain/web.pem is gone (No such file or directory); what was read from it stays in force'
begin
install_pair renewed "$dir/plain" web.pem web.key
in_time "a folder where none was" "$plain"

for round in 2 3; do
	issue site$round ca
	install_pair site$round "$dir/letsencrypt/archive/site" fullchain$round.pem privkey$round.pem
	begin
	for file in privkey fullchain; do
		ln -s ../../archive/site/$file$round.pem "$dir/letsencrypt/new"
		mv -T "$dir/letsencrypt/new" "$dir/letsencrypt/live/site/$file.pem"
	done
	in_time "certbot's way, $((round - 1))" "$certbot"
done

for round in 2 3; do
	issue secret ca
	install_pair secret "$dir/secret/..2026_$round" tls.crt tls.key
	begin
	ln -s ..2026_$round "$dir/secret/..data_tmp"
	mv -T "$dir/secret/..data_tmp" "$dir/secret/..data"
	rm -r "$dir/secret/..2026_$((round - 1))"
	in_time "Kubernetes' way, $((round - 1))" "$kubernetes"
done

says "the session from before still resumes" '^Reused, ' '^result: resumed = 1' -- \
	through plain s_client -CAfile "$dir/ca.pem" -tls1_3 -sess_in "$dir/session"

# ---- files that can't be taken, under load ----

status_says_fault() {
	fault_of plain | grep -q "$1" && refresh_says why | grep -q "$1"
}

no_fault() {
	[ "$(fault_of plain)" = null ]
}

# refuses NAME PATTERN: what was done to the files of "plain" is not taken for this reason, until they are good again.
refuses() {
	check "$1: the log says it" wait_for 2 news "ktlsd.conf:.*$2"
	check "$1: and that the old stays" \
		wait_for 2 news 'service "plain" can.t have its changed files; the certificate before stays in force until 20'
	check "$1: so does the status" wait_for 2 status_says_fault "$2"
	check "$1: the old stays" serves "$plain" $serial
	rm "$dir/plain/web.pem" "$dir/plain/web.key"
	renew_by_renaming
	in_time "$1, and then repaired" "$plain"
	check "$1: the fault is gone" wait_for 2 no_fault
	mark
}

renew_by_renaming
in_time "renamed once more" "$plain"
mark
head -c 600 /dev/urandom >"$dir/plain/web.pem"
refuses "garbage" 'plain/web.pem holds no certificate'
head -c 300 "$dir/renewed.pem" >"$dir/plain/web.pem"
refuses "half a certificate" 'plain/web.pem'
: >"$dir/plain/web.key"
refuses "an empty key" 'plain/web.key holds no usable private key'
cat "$dir/client.key" >"$dir/plain/web.key"
refuses "another's key" 'plain/web.key is not the key of the first certificate'
chown root "$dir/plain/web.key"
refuses "a file that the agent may not read" "plain/web.key can't be read: Permission denied"
chmod 644 "$dir/plain/web.key"
refuses "a key that everyone may read" 'plain/web.key may be read by everyone'

rm "$dir/loading"
check "the load ends" wait_for 20 grep -q ended "$dir/load.json"
handshakes=$(jq -s '[.[] | objects | .completed] | add' "$dir/load.json")
check "no handshake failed on the way" [ "$(jq -s '[.[] | objects | .failed[]] | add // 0' "$dir/load.json")" = 0 ]
check "the agent knows of none either" [ "$(agent_status '[.failed[]] | add // 0')" = 0 ]
check "there were some" [ "$handshakes" -gt 100 ]
echo "# $handshakes handshakes while files were renewed"

# ---- a new authority, and a changed ktlsd.conf ----

member() {
	through members s_client -CAfile "$dir/ca.pem" -cert "$dir/$1.pem" -key "$dir/$1.key"
}

says "a client of an authority that is not known" '^result: error = EKEYREJECTED' -- member new-client
mark
cat "$dir/members.pem" "$dir/new-members.pem" >"$dir/both"
mv "$dir/both" "$dir/members.pem"
check "the authorities are renewed" wait_for 2 news 'service "members" has its changed files'
says "its client gets in" '^result: error = none' '^result: verified = 1' -- member new-client
says "as does who got in before" '^result: error = none' -- member client

write_config <<END
$(config)
$(service late plain/web.pem plain/web.key)
END
renew_by_renaming
in_time "files renewed beside a changed ktlsd.conf" "$plain"
check "which is not read at that" [ "$(agent_status '.services | length')" = 4 ]
check "but by a reload" ktlsctl reload
check "then it counts" [ "$(agent_status '.services | length')" = 5 ]
renew_by_renaming
in_time "renewed after a reload" "$plain"
says "for people" 'renewed files taken [0-9]+ s ago, by services: 3' 'changed files not taken .* ago: .*web.key may be read' \
	'days left' '^  plain +server .* (89|90)$' -- ktlsctl status
stop_agent

# ---- the end of certificates ----

issue month ca -not_after "$(in_hours $((29 * 24)))"
issue week ca -not_after "$(in_hours $((6 * 24)))"
issue day ca -not_after "$(in_hours 12)"
issue over ca -not_before "$(in_hours -100)" -not_after "$(in_hours -36)"
issue year ca -days 365
# so that whole days are not what is left
sleep 1
start_agent <<END
user = nobody
key_file = none
$(for name in month week day over year; do service $name $name.pem $name.key; done)
END

days_left() {
	check "$1: days left: $2" [ "$(agent_status ".services[] | select(.name == \"$1\") | .expires_in_days")" = "$2" ]
}

# told NAME PATTERN: in the log, once
told() {
	check "$1: the log says it" agent_log_has "service \"$1\": the certificate in $dir/$1.pem $2"
	check "$1: once" [ "$(grep -c "service \"$1\": the certificate in" "$agent_log")" = 1 ]
}

days_left month 28
days_left week 5
days_left day 0
days_left over -2
days_left year 364
check "it is said which file" \
	[ "$(agent_status '.services[] | select(.name == "week") | .expires_file')" = "$dir/week.pem" ]
check "reload" ktlsctl reload
told month 'expires on 20.* UTC, within 30 days; renew it'
told week 'expires on 20.* UTC, within 7 days; renew it'
told day 'expires on 20.* UTC, within 1 day; renew it'
told over 'expired on 20.* UTC; peers refuse it'
refused "year: the log says nothing" grep -q 'service "year"' "$agent_log"
mark
issue week ca -not_after "$(in_hours $((19 * 24 + 12)))"
check "renewed" wait_for 2 news 'service "week" has its changed files; its certificate is good until 20'
days_left week 19
check "it ends soon, too" wait_for 2 news 'service "week": the certificate in .* expires on 20.* UTC, within 30 days'
stop_agent

# ---- a thousand services with two certificates each ----

# copies FILE FOLDER SUFFIX: FOLDER/1SUFFIX to FOLDER/1000SUFFIX
copies() {
	mkdir -p "$2"
	# shellcheck disable=SC2016 # for the shell in there
	seq -f "$2/%g$3" 1000 | xargs -n 250 sh -c 'file=$1; shift; tee "$@" <"$file" >/dev/null' sh "$1"
}

# thousand FOLDER: in two folders, certificates and keys
thousand() {
	for kind in ec rsa; do
		copies "$dir/$kind.pem" "$1/certificates" .$kind.pem
		copies "$dir/$kind.key" "$1/keys" .$kind.key
	done
	chmod -R o-rwx "$1/keys"
	chown -R nobody "$1"
}

milliseconds_since() {
	echo $(($(date +%s%3N) - $1))
}

# refreshed NAME COUNT: in a while. To ask all the time would take the processor away from it.
refreshed() {
	sleep 4
	check "$1" [ "$(refresh_says services)" = "$2" ]
	echo "# it took $(refresh_says took_ms) ms"
}

issue ec ca
openssl req -x509 -newkey rsa:2048 -nodes -keyout "$dir/rsa.key" -out "$dir/rsa.pem" -subj /CN=rsa -days 90 \
	-addext subjectAltName=DNS:localhost 2>/dev/null
thousand "$dir/many"
thousand "$dir/more"
begin
start_agent <<END
log_level = info
user = nobody
key_file = none
$(for i in $(seq 1000); do
	service "s$i" "many/certificates/$i.ec.pem" "many/keys/$i.ec.key"
	printf 'certificate = %s\nkey = %s\n' "$dir/many/certificates/$i.rsa.pem" "$dir/many/keys/$i.rsa.key"
done)
END
echo "# 1000 services with 2 certificates each: start $(milliseconds_since "$began") ms"
begin
check "reload" ktlsctl reload
echo "# reload $(milliseconds_since "$began") ms"
cat "$dir/ec.pem" >"$dir/many/certificates/500.ec.pem"
refreshed "one of them is refreshed" 1
mv "$dir/many" "$dir/before"
mv "$dir/more" "$dir/many"
refreshed "all of them are refreshed, at once" 1000
stop_agent

polled() {
	[ "$(polling .refresh.services)" = 1 ]
}
polling_left=$((65 - $(date +%s) + polling_began))
[ $polling_left -gt 0 ] || polling_left=1
check "the agent that may watch nothing has taken the renewed files, too" wait_for $polling_left polled
end "$polling"
finish

# shellcheck shell=sh
# SPDX-License-Identifier: MIT
# For scripts, to be sourced: who meets whom, and what comes of it. A row is a certificate and a service; openssl shows the one
# to the other, as a client or a server, and "ktlsctl cert verify" is asked about the same. What the result says and what it
# says have to be the same, to the letter.
# shellcheck disable=SC2034,SC2317 # for the script; called by name
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/lib.sh"

pki=$dir/pki
versions='3 2' # TLS 1.x
name=localhost # of servers

# issue NAME PROFILE OPTION...
issue() {
	pki issue "$pki" "$@" || bail_out "pki issue $*"
}

# ---- what is shown ----

# split CERTIFICATE: its first one, and what comes behind, each in a file of its own.
split() {
	mkdir -p "$dir/leaf" "$dir/rest"
	[ -e "$dir/rest/$1" ] || awk -v leaf="$dir/leaf/$1" -v rest="$dir/rest/$1" '
		BEGIN { printf "" >rest }
		/-BEGIN/ { n++ }
		{ print >(n < 2 ? leaf : rest) }' "$pki/$1.pem"
}

# shown SHOWN: CERTIFICATE as it lies there, with its intermediates; CERTIFICATE:alone; CERTIFICATE:FILE, with what FILE holds
# instead. Sets $leaf, $rest and $key.
shown() {
	split "${1%%:*}"
	leaf=$dir/leaf/${1%%:*} rest=$dir/rest/${1%%:*} key=$pki/${1%%:*}.key
	[ -e "$key" ] || key=$pki/odd.key
	case $1 in
	*:alone) rest=/dev/null ;;
	*:*) rest=$pki/${1#*:} ;;
	esac
}

# ---- who it is shown to ----

# No more servers and clients than there are names for them: each serves many rows.
forget_servers() {
	kill_servers=$(cat "$dir"/at/*.pid 2>/dev/null)
	# shellcheck disable=SC2086 # a list
	[ -z "$kill_servers" ] || end_all $kill_servers
	rm -rf "$dir/at"
	mkdir "$dir/at"
}

end_all() {
	kill "$@" 2>/dev/null
	wait "$@" 2>/dev/null
}

mkdir "$dir/at"

# serving SERVICE: $port, and $log, which is emptied.
serving() {
	log=$dir/at/$1.log
	if [ ! -e "$log" ]; then
		serve "$1" 1000 >>"$log" 2>&1 </dev/null &
		jobs="$jobs $!"
		echo $! >"$dir/at/$1.pid"
		wait_for 10 grep -q '^port' "$log" || bail_out "serve $1: $(cat "$log")"
		sed -n 's/^port //p' "$log" >"$dir/at/$1.port"
	fi
	read -r port <"$dir/at/$1.port"
	: >"$log"
}

# a_server VERSION SHOWN: $port.
a_server() {
	at=$dir/at/server-$1-$(echo "$2" | tr / _)
	shown "$2"
	if [ ! -e "$at.port" ]; then
		next_port
		set -- -tls1_"$1"
		[ ! -s "$rest" ] || set -- "$@" -cert_chain "$rest"
		in_background "$at.log" openssl s_server -accept "127.0.0.1:$port" -www -cipher DEFAULT@SECLEVEL=0 \
			-cert "$leaf" -key "$key" "$@"
		echo $! >"$at.pid"
		wait_for 10 grep -q ^ACCEPT "$at.log" || bail_out "s_server: $(cat "$at.log")"
		echo "$port" >"$at.port"
	fi
	read -r port <"$at.port"
}

# ---- what comes of it: $error, $why, $alert, $peer_name ----

nothing_yet() {
	error='' why='' alert='' peer_name='' resumed='' over=''
}

take_result() {
	while read -r _ result_name _ result_value; do
		case $result_name in
		error) error=$result_value ;;
		why) why=$result_value ;;
		alert_sent) alert=$result_value ;;
		peer_name) peer_name=$result_value ;;
		resumed) resumed=$result_value ;;
		over) over=1 ;;
		esac
	done <"$log"
	[ -n "$over" ]
}

client() {
	timeout 20 openssl s_client -brief -connect "127.0.0.1:$port" -cipher DEFAULT@SECLEVEL=0 -ign_eof "$@" >"$dir/client.log" 2>&1 </dev/null
}

# comes VERSION SERVICE SHOWN [OPTION...]: a client to our server.
comes() {
	comes_version=$1
	serving "$2"
	shown "$3"
	shift 3
	[ ! -s "$rest" ] || set -- "$@" -cert_chain "$rest"
	client -tls1_"$comes_version" -cert "$leaf" -key "$key" "$@"
	nothing_yet
	wait_for 5 take_result
}

# goes VERSION SERVICE SHOWN: our client to a server.
goes() {
	a_server "$1" "$3"
	timeout 10 ktlsctl probe --service "$2" --server-name "$name" "localhost:$port" >"$dir/client.log" 2>&1
	nothing_yet
	error=none
	while read -r first second value; do
		case $first-$second in
		error-*) why="$second $value" ;;
		errno-*) error=$second ;;
		alert-sent) alert=$value ;;
		peer-name) peer_name=$value ;;
		esac
	done <"$dir/client.log"
}

# ask SERVICE: what the agent would say of $leaf and $rest: $said_why, $said_name.
ask() {
	said_why=nothing said_name=''
	set -- --service "$1"
	[ "$role" = server ] || set -- "$@" --name "$name"
	set -- "$@" "$leaf"
	[ ! -s "$rest" ] || set -- "$@" "$rest"
	ktlsctl cert verify "$@" >"$dir/verify.log" 2>&1
	while read -r first second value; do
		case $first in
		failed) said_why=${value#list  } ;; # "allow list" is two words
		accepted) said_why='' ;;
		accepted,) said_why='' said_name=$value ;;
		esac
	done <"$dir/verify.log"
}

# without_clock TEXT: $text, without the time that the clock says, which goes on.
without_clock() {
	text=$1
	case $text in
	*'the clock says '*Z*) text="${1%%the clock says *}${1#*the clock says *Z}" ;;
	esac
}

# ---- rows ----

# wrong WHAT: the row is; the first reason counts.
wrong() {
	[ -n "$fault" ] || fault=$1
}

expect_yes() {
	[ "$error" = none ] || wrong "refused"
	[ "$peer_name" = "$1" ] || wrong "peer_name is '$peer_name'"
	[ "$said_name" = "$1" ] || wrong "cert verify calls it '$said_name'"
}

# client_heard ALERT: with blanks where its name has underlines.
client_heard() {
	heard=$1
	while case $heard in *_*) ;; *) false ;; esac do
		heard="${heard%%_*} ${heard#*_}"
	done
	while IFS= read -r line; do
		case $line in
		*"alert $heard:"*) return ;;
		esac
	done <"$dir/client.log"
	false
}

# expect_no ALERT WORDS: a pattern of the shell's.
expect_no() {
	[ "$error" = EKEYREJECTED ] || wrong "error $error"
	[ "$alert" = "$1" ] || wrong "alert $alert"
	# shellcheck disable=SC2254
	case $why in
	*$2*) ;;
	*) wrong "other words" ;;
	esac
	[ "$role" = client ] || client_heard "$1" || wrong "the client has another alert"
}

role_of() {
	case $1 in
	client*) role=client ;;
	*) role=server ;;
	esac
}

# row SERVICE SHOWN yes[/NAME] | row SERVICE SHOWN ALERT WORDS: a check for each version. New processes are what it costs: it
# begins as few as it can.
row() {
	role_of "$1"
	said_of=''
	for version in $versions; do
		fault=''
		case $role in
		server) comes "$version" "$1" "$2" ;;
		client) goes "$version" "$1" "$2" ;;
		esac
		[ "$said_of" = "$1 $2" ] || ask "$1"
		said_of="$1 $2"
		case $3 in
		yes) expect_yes "" ;;
		yes/*) expect_yes "${3#yes/}" ;;
		*) expect_no "$3" "$4" ;;
		esac
		without_clock "$why"
		result_text=$text
		without_clock "$said_why"
		[ "$text" = "$result_text" ] || wrong "cert verify says otherwise"
		row_title="$1, TLS 1.$version, $2"
		[ "$role" = server ] || row_title="$row_title as $name"
		if [ -z "$fault" ]; then
			ok "$row_title: $3${4:+: $4}"
		else
			printf '%s\n' "($fault)" "result: $error, $alert, $peer_name: $why" "verify: $said_why" >"$dir/row"
			tail -n 3 "$dir/client.log" >>"$dir/row"
			not_ok "$row_title: $3${4:+: $4}" "$dir/row"
		fi
	done
}

# rows: of standard input; "#" begins a comment.
rows() {
	while read -r row_service row_shown row_outcome row_words <&3; do
		case $row_service in
		'' | \#*) continue ;;
		esac
		row "$row_service" "$row_shown" "$row_outcome" "$row_words"
	done 3<<-END
		$(cat)
	END
}

# reload: with what "configuration" prints.
reload() {
	configuration | write_config
	ktlsctl reload
}

# shellcheck shell=sh
# SPDX-License-Identifier: MIT
# For scripts, to be sourced: a conversation between talk.c and a program that knows nothing of ktlsd. Lines go to both
# through fifos, and what they print, received lines among it, is in $dir/peer.log and $dir/talk.log.
# shellcheck disable=SC2034,SC2317 # for the script; called by name
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/lib.sh"

# ---- the two ----

peer='' talk=''

# begin_peer COMMAND...
begin_peer() {
	rm -f "$dir/peer.in"
	mkfifo "$dir/peer.in"
	: >"$dir/peer.log"
	exec 5<>"$dir/peer.in"
	timeout 60 "$@" <"$dir/peer.in" >"$dir/peer.log" 2>&1 &
	peer=$!
	jobs="$jobs $peer"
}

# begin_talk OPTION...: $TALK_UNDER, such as setpriv with options, runs it.
begin_talk() {
	rm -f "$dir/talk.in"
	mkfifo "$dir/talk.in"
	: >"$dir/talk.log"
	exec 6<>"$dir/talk.in"
	# shellcheck disable=SC2086 # a command and its options
	timeout 60 ${TALK_UNDER:-} talk "$@" <"$dir/talk.in" >"$dir/talk.log" 2>&1 &
	talk=$!
	jobs="$jobs $talk"
}

talk_listens() {
	begin_talk --listen "$@"
	talk_says '^talk: port' && port=$(sed -n 's/^talk: port //p' "$dir/talk.log")
}

part() {
	# shellcheck disable=SC2086 # a list
	kill $peer $talk 2>/dev/null
	# shellcheck disable=SC2086
	wait $peer $talk 2>/dev/null
	peer='' talk=''
}

# ---- steps ----

peer() { echo "$*" >&5; }
talk() { echo "$*" >&6; }
peer_says() { wait_for 10 grep -aqE -- "$1" "$dir/peer.log"; }
talk_says() { wait_for 10 grep -aqE -- "$1" "$dir/talk.log"; }
talk_has_not_said() { ! grep -aqE -- "$1" "$dir/talk.log"; }
theirs() { peer "theirs $1" && talk_says "^theirs $1\$"; }
ours() { talk "ours $1" && peer_says "ours $1\$"; }
is_over() { ! kill -0 "$1"; }
ends() { wait_for 10 is_over "$1"; }

# both NAME STEP...: a check; if a step fails, with what both said.
both() {
	both_name=$1
	shift
	for step in "$@"; do
		eval "$step" && continue
		{
			echo "(this failed: $step)"
			echo "the peer's last words:"
			tail -n 8 "$dir/peer.log"
			echo "ours:"
			tail -n 8 "$dir/talk.log"
		} >"$dir/check" 2>&1
		not_ok "$both_name" "$dir/check"
		return
	done
	ok "$both_name"
}

# ---- whom we talk with ----

# How a peer is told to replace its key, and to ask for ours, too, and what it says to our alert.
openssl_peer() { name="openssl $1" update=k request=K alert='SSL alert number 80'; }
gnutls_peer() { name=gnutls-cli update='^rekey1^' request='^rekey^' alert='Internal error'; }

kernel_count() { awk -v name="$1" '$1 == name { print $2 }' /proc/net/tls_stat; }
updates_exceed() { [ "$(kernel_count TlsRxRekeyReceived)" -gt "$1" ]; }

# tell_peer ORDER: $update or $request, until it is here. What came along in one read would be taken for a part of it.
tell_peer() {
	updates=$(kernel_count TlsRxRekeyReceived)
	peer "$1" && wait_for 10 updates_exceed "$updates"
}

s_client_to() {
	begin_peer openssl s_client -brief -connect "127.0.0.1:$port" -CAfile "$dir/pki/ca.pem" "$@"
}

gnutls_cli_to() {
	begin_peer gnutls-cli --inline-commands --x509cafile "$dir/pki/ca.pem" -p "$port" "$@" localhost
}

# with_...: begins both, talk with the options given. $peer_options are for the peer.
peer_options=''

# shellcheck disable=SC2086 # $peer_options is a list
with_s_client() {
	openssl_peer s_client
	talk_listens "$@" && s_client_to $peer_options && talk_says '^talk: ready'
}

# shellcheck disable=SC2086
with_gnutls_cli() {
	gnutls_peer
	talk_listens "$@" && gnutls_cli_to $peer_options && talk_says '^talk: ready' &&
		peer_says '^- Simple Client Mode'
}

talks_to_server() {
	wait_for 10 listens_on "$port" || return
	begin_talk --port "$port" "$@"
	talk_says '^talk: ready'
}

# shellcheck disable=SC2086
with_s_server() {
	openssl_peer s_server
	next_port
	begin_peer openssl s_server -naccept 1 -accept "127.0.0.1:$port" -cert "$dir/pki/server-ecdsa.pem" \
		-cert_chain "$dir/pki/server-ecdsa.pem" -key "$dir/pki/server-ecdsa.key" $peer_options
	talks_to_server "$@"
}

with_gnutls_serv() {
	next_port
	begin_peer gnutls-serv --echo -p "$port" --x509certfile "$dir/pki/server-ecdsa.pem" \
		--x509keyfile "$dir/pki/server-ecdsa.key"
	talks_to_server "$@"
}

# begin WITH_... OPTION...
begin() {
	"$@" || bail_out "$*: $(tail -n 15 "$dir/peer.log" "$dir/talk.log")"
	peer_options=''
	case $* in *--polling*) way=polling ;; *) way=blocking ;; esac
}

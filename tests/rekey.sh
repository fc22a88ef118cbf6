#!/bin/sh
# SPDX-License-Identifier: MIT
# KeyUpdate, where OpenSSL or GnuTLS is at the other end: in a conversation with a stream of ours, with the examples, and in
# bulk (rekey.c). On kernels that can't replace keys, and over TLS 1.2, how that is told to both ends.
# shellcheck disable=SC2016,SC2154,SC2317 # steps are expanded later; variables are of talk_lib.sh; functions are called by name
# shellcheck source=tests/talk_lib.sh
. "$(dirname "$0")/talk_lib.sh"

remember_counts() {
	sent_before=$(kernel_count TlsTxRekeyOk) received_before=$(kernel_count TlsRxRekeyOk)
}

# counted SENT RECEIVED: so many keys the kernel has replaced since then.
counted() {
	[ $(($(kernel_count TlsTxRekeyOk) - sent_before)) = "$1" ] &&
		[ $(($(kernel_count TlsRxRekeyOk) - received_before)) = "$2" ]
}

# for_all FUNCTION: with each peer that can be told to replace its key, and each way to read.
for_all() {
	for with in with_s_client with_gnutls_cli with_s_server; do
		"$1" $with
		"$1" $with --polling
	done
}

# ---- a stream of ours ----

replace_keys() {
	remember_counts
	begin "$@"
	both "$name, $way: data before, between and after KeyUpdates of both ends" \
		'theirs 1' 'ours 1' 'tell_peer "$update"' 'theirs 2' 'ours 2' 'tell_peer "$request"' 'theirs 3' 'ours 3' \
		'talk :rekey' 'ours 4' 'theirs 4' 'talk :request' 'ours 5' 'theirs 5' 'ours 6' 'theirs 6' \
		'talk :info' 'talk_says "rekeys: 3 sent, 3 received"' 'counted 3 3' 'talk :end' 'ends $peer' 'ends $talk'
	part
}

echoes() { talk "ours $1" && talk_says "^ours $1\$"; }

# gnutls-serv takes no orders.
replace_ours() {
	remember_counts
	begin with_gnutls_serv "$@"
	
	both "gnutls-serv, $way: it follows our KeyUpdates, and answers them" \
		'echoes 1' 'talk :rekey' 'echoes 2' 'talk :request' 'echoes 3' 'echoes 4' \
		'talk :info' 'talk_says "rekeys: 2 sent, 1 received"' 'counted 2 1'
	part
}

cannot_replace() {
	begin "$@"
	both "$name, $way: a KeyUpdate ends the connection, and both are told" \
		'theirs 1' 'ours 1' 'talk :rekey' 'talk_says "^talk: rekey: EOPNOTSUPP"' 'ours 2' 'peer "$update"' \
		'talk_says "^talk: receive: EKEYEXPIRED: the peer replaced its key, and we can.t: .*Linux 6.14"' \
		'talk_says "^talk: alert sent: internal_error"' 'peer_says "$alert"' 'ends $talk' 'ends $peer'
	part
}

# ---- the examples ----

answers() { peer "theirs $1" && peer_says "^theirs $1\$"; }

# get N: the N-th file comes.
get() { printf 'GET /%s HTTP/1.1\r\nHost: localhost\r\n\r\n' "$1" >&5 && peer_says "^this is file $1\$"; }

# to_example NAME
to_example() {
	remember_counts
	case $1 in
	example-uring-https) start_server "$1" "$dir/www" ;;
	*) start_server "$1" ;;
	esac
	: >"$dir/talk.log"
}

example_replaces() {
	both "$name, $1: data before, between and after KeyUpdates" \
		"$2 1" 'tell_peer "$update"' "$2 2" 'tell_peer "$request"' "$2 3" 'counted 1 2'
	part
	end "$server"
}

example_cannot() {
	both "$name, $1: a KeyUpdate ends the connection, and both are told" \
		"$2 1" 'peer "$request"' 'peer_says "$alert"' 'ends $peer' \
		'wait_for 10 grep -q "replaced its key, and we can.t" "$dir/server.log"'
	part
	end "$server"
}

# examples FUNCTION
examples() {
	to_example example-epoll-echo
	openssl_peer s_client
	s_client_to
	"$1" example-epoll-echo answers
	to_example example-epoll-echo
	gnutls_peer
	gnutls_cli_to
	"$1" example-epoll-echo answers
	to_example example-uring-https
	openssl_peer s_client
	s_client_to
	"$1" example-uring-https get
	to_example example-uring-https
	gnutls_peer
	gnutls_cli_to
	"$1" example-uring-https get
}

# It ends its half at once, and reads on.
blocking_example_replaces() {
	to_example example-blocking
	run_program "example-blocking, with a KeyUpdate behind Finished" timeout 20 rekey --greeted "$port" "$dir/pki"
	check "example-blocking: the peer's key was replaced, its own is not used any more" wait_for 10 counted 0 1
	end "$server"
}

# ---- TLS 1.2 ----

# Both of them ask, and when that is declined give up: OpenSSL at once, GnuTLS after some more tries. It is they who end
# the connection, with an alert.

openssl_renegotiates() {
	peer_options='-tls1_2 -legacy_renegotiation'
	begin "$@"
	both "$name, $way, TLS 1.2: renegotiation is declined, and it is the peer that ends the connection" \
		'theirs 1' 'ours 1' 'peer R' 'peer_says "no renegotiation"' \
		'talk_says "^talk: receive: EREMOTEIO"' 'talk_says "^talk: alert received: handshake_failure"' \
		'talk_has_not_said "^talk: alert sent"' 'ends $talk'
	part
}

gnutls_renegotiates() {
	peer_options=--priority=NORMAL:-VERS-TLS1.3
	begin with_gnutls_cli "$@"
	both "$name, $way, TLS 1.2: renegotiation is declined each time, and it is the peer that ends the connection" \
		'theirs 1' 'ours 1' 'peer "^renegotiate^"' 'peer_says "alert .100.: No renegotiation"' \
		'peer_says "ReHandshake has failed"' 'talk_says "^talk: receive: EREMOTEIO"' \
		'talk_has_not_said "^talk: alert sent"' 'ends $talk'
	part
}

make_pki
mkdir "$dir/www"
for file in 1 2 3; do
	echo "this is file $file" >"$dir/www/$file"
done
start_agent <<END
$(server_service server)
$(server_service web)
$(client_service client)
END
errors_before=$(kernel_count TlsDecryptError)

if kernel_is_at_least 6.14; then
	for_all replace_keys
	replace_ours
	replace_ours --polling
	examples example_replaces
	blocking_example_replaces
	run_program "bulk" timeout 120 rekey "$dir/pki"
else
	for_all cannot_replace
	examples example_cannot
fi
for with in with_s_client with_s_server; do
	openssl_renegotiates $with
	openssl_renegotiates $with --polling
done
gnutls_renegotiates
gnutls_renegotiates --polling
check "the kernel could decrypt every record" [ "$(kernel_count TlsDecryptError)" = "$errors_before" ]
finish

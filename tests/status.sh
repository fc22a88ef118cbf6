#!/bin/sh
# SPDX-License-Identifier: MIT
# What the agent counts, and how it takes orders.
# shellcheck disable=SC2317 # functions are called by name
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

make_pki
config() {
	cat <<END
workers = 2
install = $1
$(server_service web)
$(server_service rsa server-rsa)
END
}

count() {
	check "$1 = $2" [ "$(agent_status "$1")" = "$2" ]
}

repeat() {
	for _ in $(seq "$1"); do
		through "$2" s_client "$3" "$4"
	done >/dev/null 2>&1
}

for way in $(install_ways); do
	start_agent <<END
$(config "$way")
END
	repeat 3 web -tls1_3 -ign_eof
	repeat 2 web -tls1_2 -ign_eof
	repeat 1 rsa -ciphersuites TLS_CHACHA20_POLY1305_SHA256
	repeat 2 rsa -groups P-521
	repeat 1 nobody -tls1_3 -ign_eof
	count .done 6
	count .in_flight 0
	count .callers 0
	count .resumed 0
	count '.versions["TLS 1.3"]' 4
	count '.versions["TLS 1.2"]' 2
	count .ciphers.TLS_AES_128_GCM_SHA256 3
	count .ciphers.TLS_CHACHA20_POLY1305_SHA256 1
	count .ciphers.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256 2
	count ".installs.$way" 6
	count .failed.EPROTO 2
	count .failed.ENOENT 1
	count '.services[] | select(.name == "web") | .done' 5
	count '.services[] | select(.name == "rsa") | .failed' 2
	count '.workers | length' 2
	count '[.workers[].done] | add' 6
	count '.offered | length' 10
	count .pid "$agent"
	says "for people" "6 done" "3 failed" "^  TLS 1.3 +4$" "EPROTO +2$" "$way +6$" "^  web +server" -- ktlsctl status
	stop_agent
done

# A way that the kernel has not is refused when it is asked for, and not taken by itself.
best=$(install_ways | head -n 1)
start_agent <<END
$(config auto)
END
count '.installs | keys[0]' "$best"
if [ "$best" != io_uring ]; then
	sed "s/^install = .*/install = io_uring/; s|$dir/handoff|$dir/other-handoff|; s|$dir/control|$dir/other-control|" \
		"$agent_config" >"$dir/other.conf"
	says "install = io_uring is refused on this kernel" "no io_uring socket commands" "expected install = auto or setsockopt" -- \
		timeout 10 ktlsd --config "$dir/other.conf"
fi
stop_agent

kernel_counts() {
	awk -v name="$1" '$1 == name { print $2 }' /proc/net/tls_stat
}
start_agent <<END
$(config auto)
END
before=$(kernel_counts TlsTxSw) # the agent has tried each cipher already
repeat 3 web -tls1_3 -ign_eof
check "the kernel counts as many" [ $(($(kernel_counts TlsTxSw) - before)) = 3 ]

as_nobody() {
	setpriv --reuid nobody --regid nogroup --clear-groups "$@"
}
chmod 755 "$dir"

# Another process's sockets.
connected() {
	[ "$(ktlsctl socket --json "$server" | jq length)" = 1 ]
}
start_server example-epoll-echo --service web
in_background "$dir/client.log" sh -c "{ printf 'hello\n'; sleep 20; } | openssl s_client -quiet -tls1_3 -connect 127.0.0.1:$port"
check "a process has one socket with TLS" wait_for 5 connected
check "it echoes" wait_for 5 grep -q '^hello' "$dir/client.log"
socket_says() {
	check "of which is said: $1" [ "$(ktlsctl socket --json "$server" | jq -r ".[0] | $1")" = true ]
}
socket_says '.version == "TLS 1.3" and .cipher == "AES-128-GCM" and .tx and .rx'
socket_says '.tx_records == 3 and .rx_records == 1' # two of them are tickets
socket_says '.key_records == 23726566 and .key_used_percent > 0'
socket_says ".local == \"127.0.0.1:$port\""
says "for people" "TLS 1.3 AES-128-GCM +tx rx +3 +1 +0.00 %" -- ktlsctl socket "$server"
says "a descriptor that is none" "no socket with TLS" -- ktlsctl socket "$server" 0
says "a process that is none" "No such process" -- ktlsctl socket 999999999
refused "other users' processes are not looked into" as_nobody ktlsctl socket "$server"
end "$server"

says "an unknown order" "unknown request" -- sh -c "printf 'dance\n' | socat -t 2 - UNIX-CONNECT:$KTLSD_CONTROL"
check "the control socket is its owner's alone" [ "$(stat -c %a "$KTLSD_CONTROL")" = 600 ]
refused "another user may not read the status" as_nobody ktlsctl status

# ---- ktlsd --check ----

faults() {
	printf '%s\n' "$@" >"$dir/faulty.conf"
	ktlsd --check "$dir/faulty.conf"
}
check "a good file is good" ktlsd --check "$agent_config"
says "which is said" "good, 2 services" -- ktlsd --check "$agent_config"
cp "$dir/pki/server-ecdsa.key" "$dir/open.key"
chmod 644 "$dir/open.key"
openssl pkey -in "$dir/pki/server-ecdsa.key" -aes256 -passout pass:x -out "$dir/locked.key"
: >"$dir/empty.key"
chmod 600 "$dir/empty.key"
head -c 300 "$dir/pki/server-ecdsa.pem" >"$dir/damaged.pem"
server="[service s]"
role="role = server"
certificate="certificate = $dir/pki/server-ecdsa.pem"
says "a key of another certificate" "faulty.conf:4: .*server-rsa.key is not the key of the first certificate in " -- \
	faults "$server" "$role" "$certificate" "key = $dir/pki/server-rsa.key"
says "a key that all may read" "faulty.conf:4: .*open.key may be read by everyone; expected .*chmod o-r" -- \
	faults "$server" "$role" "$certificate" "key = $dir/open.key"
says "a key with a passphrase" "faulty.conf:4: .*locked.key holds no usable private key \(it is encrypted\)" -- \
	faults "$server" "$role" "$certificate" "key = $dir/locked.key"
says "a key that is none" "faulty.conf:4: .*empty.key holds no usable private key; expected PEM" -- \
	faults "$server" "$role" "$certificate" "key = $dir/empty.key"
says "no key in the certificate's file" "faulty.conf:3: .*server-ecdsa.pem holds no usable private key; expected PEM" -- \
	faults "$server" "$role" "$certificate"
says "a damaged certificate" "faulty.conf:3: .*damaged.pem" -- \
	faults "$server" "$role" "certificate = $dir/damaged.pem" "key = $dir/pki/server-ecdsa.key"
says "a group that OpenSSL has not" "faulty.conf:5: group \"X25520\" is unknown to OpenSSL .*; expected X25519MLKEM768" -- \
	faults "$server" "$role" "$certificate" "key = $dir/pki/server-ecdsa.key" "groups = X25519, X25520"
refused "and the status is not 0" faults "$server"

# ---- who reads his answer slowly holds up nobody else's ----

many_services() {
	for many in $(seq 4000); do
		client_service "a-service-with-a-name-that-makes-the-answer-longer-$many"
	done
}
many_services | write_config
check "four thousand services" ktlsctl reload
in_background "$dir/slow.log" python3 -u -c '
import os, socket, time
control = socket.socket(socket.AF_UNIX)
control.connect(os.environ["KTLSD_CONTROL"])
control.sendall(b"status\n")
while control.recv(1024):
    print("reading")
    time.sleep(0.05)'
check "somebody reads slowly" wait_for 10 grep -q reading "$dir/slow.log"
check "and the next is answered soon" timeout 5 ktlsctl status
finish

#!/bin/sh
# SPDX-License-Identifier: MIT
# What callers can do wrong: messages, descriptors, authority; callers that die, hang or come in crowds.
# shellcheck source=tests/hostile_lib.sh
. "$(dirname "$0")/hostile_lib.sh"

start 'workers = 1'
cases messages
cases rekeys
cases challenges
stop

start 'workers = 1' 'token_lifetime = 1'
cases rekeys lapse
stop

start
cases rekeys gone "sed -i '/service small/,/^max_handshakes/d' $agent_config && ktlsctl reload"
stop

start
hostile_client rekeys restart >"$dir/cases" 2>&1 </dev/null &
rekeyer=$!
wait "$agent" 2>/dev/null
start
wait $rekeyer
take_cases $? rekeys
stop

start 'workers = 1'
mount_fuse
cases descriptors
unmount_fuse
stop

start 'workers = 1'
cases authority
openssl x509 -in "$dir/pki/server-ecdsa.pem" -outform der -out "$dir/server.der"
openssl x509 -in "$dir/pki/client.pem" -outform der -out "$dir/client.der"
cases chain "$dir/server.der" "$dir/client.der"
stop

start 'workers = 1'
cases callers
stop

start 'workers = 4'
cases callers
stop
finish

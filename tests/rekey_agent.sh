#!/bin/sh
# SPDX-License-Identifier: MIT
# The agent that a KeyUpdate needs: away for a moment, away for good, or not willing.
# shellcheck disable=SC2016,SC2154,SC2317 # steps are expanded later; variables are of talk_lib.sh; functions are called by name
# shellcheck source=tests/talk_lib.sh
. "$(dirname "$0")/talk_lib.sh"

# serve_with KEY...: starts the agent with the keys of [ktlsd]. The keys that seal tokens are in a file beside its socket.
serve_with() {
	start_agent <<END
$(printf '%s\n' "$@")
$(server_service server)
END
}

# agent_gone SIGNAL
agent_gone() {
	kill "-$1" "$agent"
	wait "$agent" 2>/dev/null
	agent=''
}

for_both_ways() {
	"$1"
	"$1" --polling
}

# ---- away ----

# goes_and_comes SIGNAL [OPTION]
goes_and_comes() {
	signal=$1
	shift
	serve_with
	begin with_s_client "$@"
	both "$way, the agent gone by SIG$signal: what is sent goes on, a KeyUpdate waits until it is back, nothing is lost" \
		'theirs 1' 'ours 1' 'agent_gone $signal' 'tell_peer "$request"' 'peer "theirs 2"' 'ours 2' 'ours 3' 'sleep 1' 'ours 4' \
		'talk_has_not_said "^theirs 2"' 'serve_with' 'talk_says "^theirs 2\$"' 'ours 5' 'theirs 3' \
		'talk :info' 'talk_says "rekeys: 1 sent, 1 received"' 'tell_peer "$request"' 'theirs 4' 'ours 6' \
		'talk :info' 'talk_says "rekeys: 2 sent, 2 received"'
	part
	stop_agent
}

our_own() {
	serve_with
	begin with_s_client "$@"
	both "$way: a key of our own that is wanted while the agent is away" \
		'ours 1' 'agent_gone TERM' 'talk :rekey' 'sleep 0.5' 'serve_with' 'talk_says "^talk: rekey\$"' \
		'agent_log_has "next keys .*server.s 1"' 'ours 2' 'theirs 1' 'talk :rekey' 'agent_log_has "next keys .*server.s 2"' \
		'ours 3' 'theirs 2' 'talk :info' 'talk_says "rekeys: 2 sent, 0 received"'
	part
	stop_agent
}

gone_for_good() {
	serve_with
	begin with_s_client --timeout-ms 1500 "$@"
	both "$way: an agent that does not come back: an error when its time is up, to who waits for the socket, too" \
		'theirs 1' 'agent_gone TERM' 'tell_peer "$update"' 'ours 1' 'talk_has_not_said "^talk: receive"' \
		'talk_says "^talk: receive: EKEYEXPIRED: the agent gave no new keys in time"' \
		'talk_says "^talk: alert sent: internal_error"' 'peer_says "$alert"' 'ends $talk' 'ends $peer'
	part
}

# Its keys are another's: the file is gone, too.
void_keys() {
	serve_with
	begin with_s_client "$@"
	both "$way: an agent that has lost its keys refuses" \
		'theirs 1' 'agent_gone TERM' 'rm "$dir/keys"' 'serve_with' 'tell_peer "$update"' \
		'talk_says "^talk: receive: EKEYEXPIRED: the agent refuses new keys: the token is sealed with a key that the agent does not have"' \
		'peer_says "$alert"' 'ends $talk' 'ends $peer'
	part
	stop_agent
}

# ---- lapsed tokens ----

lapses() {
	serve_with 'token_lifetime = 1'
	begin with_s_client
	both "$way: a token that lapsed while nobody looked at it is refused" \
		'theirs 1' 'sleep 2.5' 'tell_peer "$update"' \
		'talk_says "^talk: receive: EKEYEXPIRED: the agent refuses new keys: the token has lapsed"' \
		'peer_says "$alert"' 'ends $talk' 'ends $peer'
	part
	stop_agent
}

is_renewed() {
	serve_with 'token_lifetime = 2'
	begin with_s_client --polling
	both "$way: a token is renewed in time, while nothing else happens" \
		'theirs 1' 'sleep 5' 'tell_peer "$request"' 'theirs 2' 'ours 1' 'sleep 3' 'tell_peer "$update"' 'theirs 3' 'ours 2'
	part
	stop_agent
}

# ---- authority ----

reconfigure() { write_config && ktlsctl reload >/dev/null; }

service_goes() {
	serve_with
	begin with_s_client "$@"
	both "$way: a service that is no longer there gives no keys" \
		'theirs 1' 'server_service other | reconfigure' 'tell_peer "$update"' \
		'talk_says "^talk: receive: EKEYEXPIRED: the agent refuses new keys: the connection.s service is no longer in"' \
		'peer_says "$alert"' 'ends $talk' 'ends $peer'
	part
	stop_agent
}

user_goes() {
	TALK_UNDER='setpriv --reuid nobody --regid nogroup --clear-groups'
	start_agent <<END
$(server_service server)
allow_users = nobody
END
	begin with_s_client "$@"
	both "$way: a user who may not use the service any more gets no keys" \
		'theirs 1' 'tell_peer "$request"' 'theirs 2' 'server_service server | reconfigure' 'tell_peer "$update"' \
		'talk_says "^talk: receive: EKEYEXPIRED: the agent refuses new keys: the caller.s user may not use the service"' \
		'peer_says "$alert"' 'ends $talk' 'ends $peer'
	part
	stop_agent
	TALK_UNDER=''
}

kernel_is_at_least 6.14 || skip_all "this kernel can't replace keys"
make_pki
chmod 755 "$dir"
goes_and_comes TERM
goes_and_comes TERM --polling
goes_and_comes KILL
goes_and_comes KILL --polling
for_both_ways our_own
for_both_ways gone_for_good
for_both_ways void_keys
lapses
is_renewed
for_both_ways service_goes
for_both_ways user_goes
finish

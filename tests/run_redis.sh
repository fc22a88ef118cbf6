#!/bin/sh
# SPDX-License-Identifier: MIT
# Redis as Debian has it, listening in clear, under ktls-run, with redis-cli --tls: pipelines, publish and subscribe, large values,
# a background save (which forks) with connections open, and a restart under load.
# shellcheck disable=SC2016,SC2317 # expanded later; functions are called by name
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=run_lib.sh
. "$(dirname "$0")/run_lib.sh"

make_pki
start_agent <<END
$(server_service default)
END

start_redis() {
	run "$dir/redis.log" redis-server --port "$port" --bind 127.0.0.1 -::1 --dir "$dir" --save '' --loglevel verbose
	redis=$!
	wait_for 10 grep -q 'Ready to accept' "$dir/redis.log" || bail_out "redis: $(cat "$dir/redis.log")"
}

cli() {
	timeout 20 redis-cli --tls --cacert "$dir/pki/ca.pem" -h 127.0.0.1 -p "$port" "$@"
}

next_port
start_redis
check "both of its listeners are handed over" handed "$dir/redis.log" 2
says "a value is stored" '^OK' -- cli set key value
says "and fetched" '^value' -- cli get key
says "over IPv6" '^value' -- timeout 20 redis-cli --tls --cacert "$dir/pki/ca.pem" -h ::1 -p "$port" get key
says "Redis knows the peer's address" 'addr=127.0.0.1:[0-9]+ laddr=127.0.0.1' -- cli client list

large_value() {
	cli -x set large <"$dir/www/large" && cli get large | head -c 3000000 | cmp - "$dir/www/large"
}

pipeline() {
	for i in $(seq 2000); do
		printf 'SET key:%d value:%d\r\n' "$i" "$i"
	done | cli --pipe
	[ "$(cli get key:1999)" = value:1999 ]
}

check "3 MB in both directions" large_value
check "a pipeline of 2000 commands" pipeline

in_background "$dir/subscriber.log" cli subscribe news
subscriber=$!
wait_for 5 grep -q subscribe "$dir/subscriber.log"
says "a subscriber is found" '^1' -- cli publish news hello
check "and gets what is published" wait_for 5 grep -q hello "$dir/subscriber.log"
says "a background save begins" 'saving started' -- cli bgsave
wait_for 10 grep -q 'terminated with success' "$dir/redis.log"
says "after its end the subscriber is there" '^1' -- cli publish news again
check "and gets more" wait_for 5 grep -q again "$dir/subscriber.log"
end $subscriber

# Published by a pipeline over another connection, heard by three.
many_messages() {
	subscribers=''
	for i in 1 2 3; do
		in_background "$dir/subscriber.$i" cli subscribe many
		subscribers="$subscribers $!"
	done
	wait_for 5 eval '[ "$(cli pubsub numsub many | tail -n 1)" = 3 ]'
	for i in $(seq 1000); do printf 'PUBLISH many message:%d\r\n' "$i"; done | cli --pipe
	seq 1000 >"$dir/sent"
	for i in 1 2 3; do
		wait_for 5 grep -q '^message:1000$' "$dir/subscriber.$i"
		sed -n 's/^message:\([0-9]\)/\1/p' "$dir/subscriber.$i" | cmp - "$dir/sent" || return
	done
}
check "1000 messages, published by a pipeline, reach three subscribers in order" many_messages
for i in $subscribers; do end "$i"; done
says "redis-benchmark, 20 connections, pipelined" 'requests per second' -- timeout 60 redis-benchmark --tls --cacert "$dir/pki/ca.pem" \
	-h 127.0.0.1 -p "$port" -c 20 -n 2000 -P 8 -q -t set,get

# Clients that come again until they get through, as clients of Redis do.
counting() {
	while [ ! -e "$dir/stop" ]; do
		cli incr counter
	done
}

counting >>"$dir/counting" 2>&1 &
counter=$!
counting >>"$dir/counting" 2>&1 &
jobs="$jobs $counter $!"
second=$!
wait_for 10 grep -q '^6' "$dir/counting"
cli shutdown save
wait $redis
before=$(grep -c '^[0-9]' "$dir/counting")
start_redis
wait_for 10 eval '[ "$(grep -c "^[0-9]" "$dir/counting")" -gt $((before + 2)) ]'
touch "$dir/stop"
wait $counter $second
check "a restart under load: every answer counted" [ "$(cli get counter)" -ge "$(grep -c '^[0-9]' "$dir/counting")" ]
check "and none came twice" [ -z "$(grep '^[0-9]' "$dir/counting" | sort | uniq -d)" ]
check "and it went on" [ "$(grep -c '^[0-9]' "$dir/counting")" -gt "$before" ]
says "and what was stored is there" '^value' -- cli get key
cli shutdown nosave
check "it ends in order" wait $redis
finish

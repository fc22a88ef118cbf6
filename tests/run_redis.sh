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
says "redis-benchmark, 20 connections, pipelined" 'requests per second' -- timeout 60 redis-benchmark --tls --cacert "$dir/pki/ca.pem" \
	-h 127.0.0.1 -p "$port" -c 20 -n 2000 -P 8 -q -t set,get

# A client that comes again until it gets through, as clients of Redis do.
counting() {
	while [ ! -e "$dir/stop" ]; do
		cli incr counter
	done
}

counting >"$dir/counting" 2>&1 &
counter=$!
jobs="$jobs $counter"
wait_for 10 grep -q '^3' "$dir/counting"
cli shutdown save
wait $redis
before=$(grep -c '^[0-9]' "$dir/counting")
start_redis
wait_for 10 eval '[ "$(grep -c "^[0-9]" "$dir/counting")" -gt $((before + 2)) ]'
touch "$dir/stop"
wait $counter
check "a restart under load: every answer counted" [ "$(tail -n 1 "$dir/counting")" -ge "$(grep -c '^[0-9]' "$dir/counting")" ]
check "and it went on" [ "$(grep -c '^[0-9]' "$dir/counting")" -gt "$before" ]
says "and what was stored is there" '^value' -- cli get key
cli shutdown nosave
check "it ends in order" wait $redis
finish

#!/bin/sh
# SPDX-License-Identifier: MIT
# ktls-bench against servers that know nothing of ktlsd: nginx, openssl s_server, and targets that refuse, reset, stall, speak no
# TLS or show certificates that fail. Runs end by a count wherever they can; what is checked is what was counted, not how fast.
# shellcheck disable=SC2317,SC2154,SC2046 # functions are called by name, target sets variables, rows hold lists of options
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

make_pki
pki issue "$dir/pki" past server --name DNS:localhost --from 20200101000000Z --until 20200201000000Z >"$dir/check" 2>&1 ||
	bail_out "pki: $(cat "$dir/check")"
chmod 755 "$dir"
mkdir "$dir/www"
echo ok >"$dir/www/index.html"
head -c 3000000 /dev/zero >"$dir/www/large"

# target NAME: a port of its own, $NAME from now on
target() {
	next_port
	eval "$1=$port"
}

# ---- servers ----

nginx_server() {
	cat <<-END
		server {
			listen 127.0.0.1:$1 ssl backlog=1024;
			ssl_certificate $dir/pki/$2.pem;
			ssl_certificate_key $dir/pki/$2.key;
			$3
		}
	END
}

for name in web ticketless only13 strict expired short; do
	target $name
done
cat >"$dir/nginx.conf" <<END
daemon off;
pid $dir/nginx.pid;
error_log $dir/nginx.log;
events { worker_connections 512; }
http {
	access_log off;
	root $dir/www;
	ssl_protocols TLSv1.2 TLSv1.3;
	ssl_session_cache off;
	$(nginx_server "$web" server-ecdsa "")
	$(nginx_server "$ticketless" server-ecdsa "ssl_session_tickets off;")
	$(nginx_server "$only13" server-ecdsa "ssl_protocols TLSv1.3;")
	$(nginx_server "$strict" server-ecdsa "ssl_client_certificate $dir/pki/ca.pem; ssl_verify_client on;")
	$(nginx_server "$expired" past "")
	$(nginx_server "$short" server-ecdsa "keepalive_requests 10;")
}
END
in_background "$dir/nginx.out" nginx -c "$dir/nginx.conf" -e "$dir/nginx.log"
nginx=$!
wait_for 10 listens_on "$web" || bail_out "nginx: $(cat "$dir/nginx.out" "$dir/nginx.log")"

# background NAME COMMAND...: a server for $NAME, whose port stands for @ in the command
background() {
	background_name=$1
	target "$1"
	shift
	in_background "$dir/$background_name.log" sh -c "exec $(echo "$*" | sed "s/@/$port/g")"
	wait_for 10 listens_on "$port" || bail_out "$background_name: $(cat "$dir/$background_name.log")"
}

cat >"$dir/reset.py" <<'END'
import socket, struct, sys
server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
while True:
    client, _ = server.accept()
    client.recv(1)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()
END
s_server="openssl s_server -quiet -accept @ -cert $dir/pki/server-ecdsa.pem -key $dir/pki/server-ecdsa.key"
background echo "$s_server -rev"
background drain "$s_server >/dev/null"
background source socat -U "OPENSSL-LISTEN:@,reuseaddr,fork,verify=0,cert=$dir/pki/server-ecdsa.pem,key=$dir/pki/server-ecdsa.key" OPEN:/dev/zero
background stall nc -lk 127.0.0.1 @
background text "socat TCP-LISTEN:@,fork,reuseaddr SYSTEM:'echo 220 this is no TLS; sleep 1'"
background reset python3 "$dir/reset.py" @
background hangup "socat TCP-LISTEN:@,fork,reuseaddr SYSTEM:'head -c 1000 >/dev/null'"
target refused # and nobody listens

# ---- runs ----

# bench NAME STATUS FILTER ARGUMENT...: a run with --json; jq's FILTER has to be true for what it prints. STATUS any: whether a
# rate was achieved depends on what else this machine does
bench() {
	bench_name=$1 bench_wanted=$2 bench_filter=$3
	shift 3
	timeout 60 ktls-bench "$@" --json >"$dir/result" 2>"$dir/errors"
	bench_status=$?
	[ "$bench_wanted" != any ] || bench_wanted=$((bench_status == 1))
	if [ $bench_status = "$bench_wanted" ] && jq -e "$bench_filter" "$dir/result" >/dev/null; then
		ok "$bench_name"
	else
		printf '(status %s, expected %s and %s; ktls-bench %s)\n' $bench_status "$bench_wanted" "$bench_filter" "$*" >>"$dir/errors"
		not_ok "$bench_name" "$dir/result" "$dir/errors"
	fi
}

# fails NAME STATUS PATTERN ARGUMENT...: with a message
fails() {
	fails_name=$1 fails_wanted=$2 fails_pattern=$3
	shift 3
	timeout 60 ktls-bench "$@" >"$dir/said" 2>&1
	fails_status=$?
	if [ $fails_status = "$fails_wanted" ] && grep -qE -- "$fails_pattern" "$dir/said"; then
		ok "$fails_name"
	else
		echo "(status $fails_status, expected $fails_wanted and \"$fails_pattern\")" >>"$dir/said"
		not_ok "$fails_name" "$dir/said"
	fi
}

# What a handshake may be: version, options, what has to be counted.
while read -r version options filter; do
	# shellcheck disable=SC2086 # a list
	bench "TLS $version, handshake $(echo "$options" | tr , ' ')" 0 ".completed >= 40 and .failed == {} and .tls == \"$version\" and $filter" \
		handshake --tls "$version" --count 40 --warmup 0.1 --connections 4 $(echo "$options" | tr , ' ') "127.0.0.1:$web"
done <<END
1.3 --threads,1                                .resumed==0 and .full>=36 and .handshake_us.p50>0
1.3 --resume,all                               .full==0 and .resumed>=36
1.3 --resume,50                                .resumed>=17 and .full>=17
1.3 --resume,all,--kernel-tls                  .full==0 and .resumed>=36 and .kernel_tls.sending>=36 and .kernel_tls.receiving>=36
1.3 --group,P-256                              .group=="P-256"
1.3 --cipher,TLS_CHACHA20_POLY1305_SHA256      .cipher=="TLS_CHACHA20_POLY1305_SHA256"
1.3 --bare                                     .bare
1.3 --threads,2                                .threads==2
1.3 --ca,$dir/pki/ca.pem,--name,localhost      .full>=36
1.2 --threads,1                                .resumed==0 and .full>=36
1.2 --resume,all                               .full==0 and .resumed>=36
1.2 --resume,50,--kernel-tls                   .resumed>=17 and .kernel_tls.sending>=36
1.2 --cipher,ECDHE-ECDSA-AES256-GCM-SHA384     .full>=36
END

bench "a client certificate where one is asked for" 0 '.completed >= 8 and .failed == {}' \
	handshake --count 8 --warmup 0 --connections 2 --cert "$dir/pki/client.pem" --key "$dir/pki/client.key" "127.0.0.1:$strict"
bench "without it the server's answer is no success" 1 '.completed == 0 and .failed.http >= 8' \
	handshake --count 8 --warmup 0 --connections 2 "127.0.0.1:$strict"
bench "two targets take turns" 0 '.completed >= 20' \
	handshake --count 20 --warmup 0 --connections 2 "127.0.0.1:$web" "127.0.0.1:$only13"

# ---- connections that stay open ----

bench "requests over HTTP" 0 '.completed >= 200 and .bytes >= 600 and .failed == {} and .reopened == 0' \
	rr --count 200 --path /index.html --connections 4 --warmup 0 "127.0.0.1:$web"
bench "requests over HTTP, with kernel TLS" 0 '.completed >= 200 and .full > 0 and .kernel_tls == {"sending": .full, "receiving": .full}' \
	rr --count 200 --path /index.html --connections 4 --warmup 0 --kernel-tls "127.0.0.1:$web"
bench "a server that closes after ten requests is opened anew" 0 '.completed >= 200 and .reopened >= 15 and .failed == {}' \
	rr --count 200 --path /index.html --connections 4 --warmup 0 "127.0.0.1:$short"
bench "handshakes at a rate" any '.rate.arrivals == 40 and .rate.unstarted == 0 and .completed == 40 and .rate.start_delay_us.max > 0 and
	.rate.achieved > 0 and .rate.achieved <= 50 and .seconds >= 0.7' \
	handshake --rate 50 --count 40 --connections 4 --warmup 0 "127.0.0.1:$web"
bench "requests at a rate" any '.rate.arrivals == 60 and .rate.unstarted == 0 and .completed == 60' \
	rr --rate 60 --count 60 --path / --connections 4 --warmup 0.5 "127.0.0.1:$web"
bench "an echo" 0 '.completed >= 50 and .bytes == .completed * 3000 and .size == 3000' \
	rr --count 50 --size 3000 --connections 1 --warmup 0 "127.0.0.1:$echo"
bench "a download over HTTP" 0 '.bytes >= 9000000 and .completed >= 2 and .failed == {}' \
	stream --bytes 9M --path /large --connections 2 --warmup 0 "127.0.0.1:$web"
bench "a download over HTTP, with kernel TLS" 0 '.bytes >= 9000000 and .full > 0 and .kernel_tls.receiving == .full' \
	stream --bytes 9M --path /large --connections 2 --warmup 0 --kernel-tls "127.0.0.1:$web"
bench "so many transfers" 0 '.completed >= 4 and .bytes >= 12000000' \
	stream --count 4 --path /large --connections 1 --warmup 0 "127.0.0.1:$web"
bench "a raw download" 0 '.bytes >= 1000000 and .direction == "download"' \
	stream --bytes 1M --connections 1 --warmup 0 "127.0.0.1:$source"
bench "a raw upload" 0 '.bytes >= 5000000 and .direction == "upload"' \
	stream --upload --bytes 5M --connections 1 --warmup 0 "127.0.0.1:$drain"
bench "a raw upload, with kernel TLS" 0 '.bytes >= 5000000 and .kernel_tls.sending == 1' \
	stream --upload --bytes 5M --connections 1 --warmup 0 --kernel-tls "127.0.0.1:$drain"
bench "idle connections" 0 '.connections == 100 and .failed == {}' \
	idle --connections 100 --duration 0 --warmup 0 "127.0.0.1:$web"

# ---- half-open handshakes ----

bench "half-open handshakes are held" 0 '.opened == 20 and .held == 20 and .answered == 0 and .failed == {}' \
	slow --connections 20 --duration 1 --interval 0.01 "127.0.0.1:$web"
bench "a whole ClientHello is answered" 0 '.answered == 5 and .held == 5' \
	slow --connections 5 --duration 1 --interval 0 --part 5000 "127.0.0.1:$web"
bench "a version that is not served gets an alert" 0 '.alerted >= 5 and .alerts["protocol version"] == .alerted' \
	slow --connections 5 --duration 0.5 --interval 0 --part 5000 --tls 1.2 "127.0.0.1:$only13"
bench "who hangs up is counted, and taken up again" 0 '.closed >= 2 and .opened >= .closed and .ended_us.p50 > 0' \
	slow --connections 1 --duration 1 --interval 0 --part 1000 "127.0.0.1:$hangup"

# ---- targets that fail ----

# The partial result is there: what failed, by kind, and in words.
while read -r name mode options filter; do
	eval "failing_port=\$$name"
	# shellcheck disable=SC2086 # a list
	bench "$name, $mode $(echo "$options" | tr , ' ')" 1 ".completed == 0 and (.failed | length) == 1 and .first_failure != null and $filter" \
		$mode --count 6 --warmup 0 --timeout 1 --connections 2 $(echo "$options" | tr , ' ') "127.0.0.1:$failing_port"
done <<END
refused handshake --threads,1 .failed.refused>=6
refused handshake --rate,100 .failed.refused==6
refused handshake --kernel-tls .failed.refused>=6
refused rr --path,/ .failed.refused>=6
refused stream --path,/ .failed.refused>=6
stall handshake --threads,1 .failed.timeout>=6
stall handshake --kernel-tls .failed.timeout>=6
stall rr --path,/ .failed.timeout>=6
text handshake --threads,1 .failed.not_tls>=6 and (.first_failure|test("220 this is no TLS"))
text handshake --kernel-tls .failed.not_tls>=6
reset handshake --threads,1 .failed.reset>=6
reset stream --path,/ .failed.reset>=6
only13 handshake --tls,1.2 .failed.alert>=6 and .alerts["protocol\u0020version"]>=6
expired handshake --ca,$dir/pki/ca.pem,--name,localhost .failed.certificate>=6 and (.first_failure|test("expired"))
web handshake --ca,$dir/pki/ca.pem,--name,elsewhere.example .failed.certificate>=6 and (.first_failure|test("mismatch"))
web handshake --ca,$dir/pki/stranger-ca.pem .failed.certificate>=6
web handshake --path,/missing .failed.http>=6
END
bench "who stalls is found out even if the measurement is shorter than the timeout" 1 '.failed.timeout == 3' \
	handshake --duration 0.2 --warmup 0 --timeout 1 --connections 3 "127.0.0.1:$stall"
bench "an expired certificate is no matter without --ca" 0 '.failed == {}' \
	handshake --count 6 --warmup 0 --connections 2 "127.0.0.1:$expired"
bench "idle connections that a server refuses" 1 '.connections == 0 and .failed.refused == 10' \
	idle --connections 10 --duration 0 --warmup 0 "127.0.0.1:$refused"
bench "half-open handshakes that a server refuses" 1 '.opened == 0 and .failed.refused > 0' \
	slow --connections 2 --duration 0.2 "127.0.0.1:$refused"

bench "tickets that are not issued" 1 '.resumed == 0 and .full >= 36' \
	handshake --count 40 --warmup 0 --resume all --connections 4 "127.0.0.1:$ticketless"
check "and it says so" grep -q 'only 0 of [0-9]* handshakes resumed' "$dir/errors"
bench "a rate that can't be met" 1 '.rate.asked == 100000 and .rate.achieved < 95000 and .rate.late > 0 and .completed == 3000' \
	rr --rate 100000 --count 3000 --path / --connections 2 --warmup 0.5 "127.0.0.1:$web"
check "and it says so" grep -q 'asked for 100000 per second, achieved' "$dir/errors"
bench "what could not begin is counted" 1 '.rate.unstarted > 0 and .rate.arrivals > 40000 and .completed > 0' \
	rr --rate 100000 --duration 0.5 --path / --connections 2 --warmup 0.5 "127.0.0.1:$web"

check "more connections than descriptors" sh -c "ulimit -n 128; ktls-bench handshake --connections 1000 127.0.0.1:$web 2>&1 |
	grep 'need 1064 descriptors.* is 128'"
check "and that is no success" sh -c "ulimit -n 128; ! ktls-bench handshake --connections 1000 127.0.0.1:$web"
check "the soft limit is raised" sh -c "ulimit -S -n 64; ktls-bench idle --connections 100 --duration 0 --warmup 0 127.0.0.1:$web"

# ---- what it costs the server ----

bench "a process and its children" 0 '.server_cpu_us > 0 and (.servers | length) == 1 and .servers[0].name == "nginx" and
	.servers[0].rss_kb > 0 and .servers[0].switches_voluntary + .servers[0].switches_involuntary > 0' \
	handshake --count 400 --warmup 0.2 --server-pid $nginx "127.0.0.1:$web"
bench "system calls, or why not" 0 'if .servers[0].syscalls then .servers[0].syscalls > 5 else (.syscalls_not_countable | length) > 0 end' \
	handshake --count 100 --warmup 0 --server-pid $nginx "127.0.0.1:$web"
bench "per GB" 0 '.server_cpu_us_per_gb > 0 and .servers[0].cpu_us_per_gb > 0' \
	stream --bytes 60M --path /large --connections 2 --warmup 0 --server-pid $nginx "127.0.0.1:$web"
bench "memory of a connection" 0 '.servers[0].rss_bytes_per_connection > 1000 and .servers[0].rss_kb_open > .servers[0].rss_kb_before' \
	idle --connections 200 --duration 0 --warmup 0 --server-pid $nginx "127.0.0.1:$web"

mkdir "$dir/groups"
if mount -t cgroup2 none "$dir/groups" 2>/dev/null && mkdir -p "$dir/groups/bench/below"; then
	for pid in $nginx $(pgrep -P $nginx); do
		echo "$pid" >"$dir/groups/bench/below/cgroup.procs"
	done
	bench "a control group" 0 '.server_cpu_us > 0 and .servers[0].cgroup != null and .servers[0].rss_kb > 0' \
		handshake --count 200 --warmup 0.2 --server-cgroup "$dir/groups/bench" "127.0.0.1:$web"
	for pid in $nginx $(pgrep -P $nginx); do
		echo "$pid" >"$dir/groups/cgroup.procs"
	done
	rmdir "$dir/groups/bench/below" "$dir/groups/bench"
	umount "$dir/groups"
else
	skip "a control group" "there are none of version 2 here"
fi

# ---- two results ----

ktls-bench handshake --count 20 --warmup 0 --json "127.0.0.1:$web" >"$dir/one"
ktls-bench handshake --count 20 --warmup 0 --tls 1.2 --json "127.0.0.1:$web" >"$dir/other"
cat "$dir/one" "$dir/one" >"$dir/twice"
jq . "$dir/one" >"$dir/pretty"
while read -r a b status pattern; do
	fails "diff $a $b: $pattern" "$status" "$pattern" diff "$dir/$a" "$dir/$b"
done <<'END'
one one 0 completed +[0-9]+ +[0-9]+ +1.000
one pretty 0 handshake_us.p99.99 .* 1.000
one other 1 tls +1.3 +1.2 +DIFFERENT SETTING
one other 1 NOT COMPARABLE: 1 settings differ
twice twice 0 handshake, 2 of 2
one twice 0 twice has 2: the last are left out
one nginx.conf 2 expected results of ktls-bench
one missing 2 No such file
END

# ---- the command line ----

while read -r status pattern arguments; do
	# shellcheck disable=SC2086 # a list
	fails "ktls-bench $arguments" "$status" "$(echo "$pattern" | tr _ ' ')" $arguments
done <<END
0 --ca_FILE.*NOT_verified --help
0 Examples: handshake --help
2 a_mode_is_missing
2 unknown_mode walk
2 HOST:PORT_is_missing handshake
2 expected_HOST:PORT handshake localhost
2 no_such_option_in_this_mode handshake --size 5 127.0.0.1:1
2 a_value_is_missing handshake 127.0.0.1:1 --count
2 expected_none.all.PERCENT handshake --resume 101 127.0.0.1:1
2 expected_N handshake --rate 0 127.0.0.1:1
2 expected_N stream --bytes 5X 127.0.0.1:1
2 OpenSSL_has_no_such_group handshake --group P-257 127.0.0.1:1
2 there_is_no_such_process handshake --server-pid 999999 127.0.0.1:1
2 control_group_of_version_2 handshake --server-cgroup $dir 127.0.0.1:1
2 go_together handshake --cert $dir/pki/client.pem 127.0.0.1:1
2 more_threads_than_connections handshake --threads 4 --connections 2 127.0.0.1:1
1 No_such_file handshake --ca $dir/missing.pem 127.0.0.1:1
END

finish

#!/bin/sh
# SPDX-License-Identifier: MIT
# ktls-run with a server that has never heard of TLS (plain.c), written in every way in which servers are, and a client that
# sends record by record (tls_script.c): what the server reads, when it wakes up, how streams end. Then what can't work.
# shellcheck disable=SC2016,SC2086,SC2317 # expanded later; lists; functions are called by name
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=run_lib.sh
. "$(dirname "$0")/run_lib.sh"

make_pki
services() {
	server_service default
	server_service others
	echo "allow_users = daemon"
	client_service client
	server_service everyone
	echo "allow_everyone = yes"
}
start_agent <<END
$(services)
END

# serve PLAIN-OPTION...
serve() {
	run "$dir/plain.log" plain "$@"
	server=$!
	wait_for 10 grep -q '^port' "$dir/plain.log" || return
	port=$(sed -n 's/^port //p' "$dir/plain.log" | head -n 1)
}

stop() {
	kill "$server"
	wait "$server" 2>/dev/null
	: >"$dir/stopped"
}

script() {
	timeout 20 tls_script $script_options "$port" "$dir/pki" "$@"
}

# answers NAME STEP...: a client's turn, and what the server said besides "port".
answers() {
	answers_name=$1
	shift
	check "$answers_name" script "$@"
}

says_nothing_else() {
	! grep -vE '^port|^ktls-run: port [0-9]*: the agent accepts' "$dir/plain.log"
}

is_reset() {
	wait_for 5 grep -q '^error ECONNRESET' "$dir/plain.log"
}

script_options=''
if kernel_is_at_least 6.14; then updates=yes; else updates=''; fi

converse() {
	answers "$name: data, and its end" 'say:hello\n' flush 'hear:hello\n' end flush 'hear:end\n' hear_end hear_fin
	answers "$name: close_notify along with data" 'say:hello\n' end flush 'hear:hello\n' 'hear:end\n' hear_end
	answers "$name: and the FIN" 'say:hello\n' end flush fin 'hear:hello\n' 'hear:end\n' hear_end
	answers "$name: nothing but an end" end flush 'hear:end\n' hear_end
	[ -z "$updates" ] || answers "$name: KeyUpdates" update flush 'say:1\n' flush 'hear:1\n' request 'say:2\n' flush 'hear:2\n' \
		'say:3\n' update flush 'hear:3\n' wait:100 'say:4\n' flush 'hear:4\n' 'say:5\n' request flush 'hear:5\n' wait:100 \
		'say:6\n' end flush 'hear:6\n' 'hear:end\n' hear_end
	answers "$name: 300 kB back and forth" bulk:300000 flush hear_bulk:300000 end flush 'hear:end\n' hear_end
	check "$name: the server saw nothing that it does not know" says_nothing_else
	answers "$name: cut off" 'say:hello\n' flush 'hear:hello\n' fin hear_end
	check "$name: which the server takes for a reset" is_reset
}

# ---- ways to wait ----

for way in blocking poll select epoll early edge exclusive; do
	serve --wait $way || bail_out "plain --wait $way: $(cat "$dir/plain.log")"
	name=$way
	converse
	script_options=-2 updates_before=$updates updates='' name="$way, TLS 1.2"
	: >"$dir/plain.log"
	converse
	script_options='' updates=$updates_before
	stop
done

# ---- ways to read ----

for way in readv recv recvfrom recvmsg recvmmsg peek ioctl splice read_chk recv_chk recvfrom_chk; do
	for wait in blocking edge; do
		[ "$way $wait" != "ioctl edge" ] || continue # it reads less than there is room for
		[ "$way $wait" != "splice edge" ] || continue # likewise, a pipe's worth
		serve --wait $wait --read $way || bail_out "plain --read $way: $(cat "$dir/plain.log")"
		name="$way, $wait"
		converse
		stop
	done
done

serve --read waitall --size 6
answers "waitall: as much as asked for" say:abc flush wait:100 say:def flush hear:abcdef say:gh end flush hear:gh 'hear:end\n' hear_end
check "waitall: nothing else" says_nothing_else
stop

# ---- ways to be several ----

# at_once [CLIENTS [MS]]
at_once() {
	at_once_list=''
	for i in $(seq "${1:-12}"); do
		script "say:$i\\n" flush "hear:$i\\n" "wait:${2:-100}" "say:again $i\\n" flush "hear:again $i\\n" end flush 'hear:end\n' hear_end \
			>"$dir/client.$i" 2>&1 &
		at_once_list="$at_once_list $!"
	done
	for i in $at_once_list; do
		wait "$i" || at_once_failed "$dir/client."* || return
	done
}

at_once_failed() {
	cat "$@"
	tail -n 5 "$dir/plain.log"
	return 1
}

# In a chroot nobody finds the agent.
can_update() {
	case $options in *chroot*) return 1 ;; esac
	[ -n "$updates" ]
}

while read -r options; do
	serve $options || bail_out "plain $options: $(cat "$dir/plain.log")"
	check "$options: several clients" at_once
	answers "$options: 300 kB" bulk:300000 flush hear_bulk:300000 end flush 'hear:end\n' hear_end
	! can_update || answers "$options: KeyUpdates" 'say:1\n' flush 'hear:1\n' request 'say:2\n' flush 'hear:2\n' end flush \
		'hear:end\n' hear_end
	check "$options: nothing else" says_nothing_else
	stop
	for child in $(pgrep -x plain); do kill "$child"; done
	check "$options: the port is free" wait_for 5 eval '! listens_on $port'
done <<END
--processes 3
--processes 3 --wait exclusive
--processes 3 --wait early
--threads 12
--each fork
--listeners 3 --wait poll
--listeners 3 --wait epoll
--dup
--dup --wait epoll
--again
--again --wait edge
--wait epoll --chroot $dir
END

for way in exec vfork spawn; do
	serve --each $way
	answers "$way, the connection as descriptors 0 and 1 of cat" 'say:hello\n' flush 'hear:hello\n' end flush hear_end
	answers "likewise, 300 kB" bulk:300000 flush hear_bulk:300000 end flush hear_end
	stop
done

serve --half
answers "shutdown(SHUT_WR): close_notify, and the client's side goes on" 'say:hello\n' flush 'hear:hello\n' hear_end 'say:more\n' \
	flush wait:100 'say:more\n' end flush
check "and all of it is read" wait_for 5 grep -q '^behind the end 10, and an end' "$dir/plain.log"
stop

serve --each helper
answers "a child that execs something else does not keep the end back" 'say:hello\n' flush 'hear:hello\n' end flush 'hear:end\n' \
	hear_end
stop

for way in stdout fdopen quick; do
	serve --each $way
	answers "$way: what the C library holds comes before the end" 'say:hello\n' flush 'hear:hello\n' hear_end
	stop
done
serve --each at_once
answers "_exit(): it is thrown away, and the end comes" 'say:hello\n' flush hear_end
stop

# A thread waits for data, and another does not want to.
cat >"$dir/threads.py" <<'END'
import socket, sys, threading, time
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
connection, address = listener.accept()
received = []
waiting = threading.Thread(target=lambda: received.append(connection.recv(100)))
waiting.start()
time.sleep(0.5)
try:
    connection.recv(100, socket.MSG_DONTWAIT)
except BlockingIOError:
    connection.sendall(b"nothing\n")
try:
    connection.recv(1, socket.MSG_OOB)
except OSError as error:
    connection.sendall(b"%d\n" % error.errno)
waiting.join()
connection.sendall(received[0])
connection.close()
END
next_port
run "$dir/threads.log" python3 "$dir/threads.py" "$port"
wait_for 10 handed "$dir/threads.log"
answers "another thread waits: who does not want to does not; MSG_OOB: EINVAL" 'hear:nothing\n' 'hear:22\n' 'say:hello\n' flush \
	'hear:hello\n' hear_end

# Another thread accepts while one forks. This one does, between what ktls-run has to do before a fork and the fork.
cat >"$dir/meanwhile.c" <<'END'
#include <pthread.h>
#include <stddef.h>
#include <sys/socket.h>

int meanwhile_listener = -1, meanwhile_connection = -1;

static void before_fork(void)
{
	if (meanwhile_listener >= 0)
		meanwhile_connection = accept(meanwhile_listener, NULL, NULL);
	meanwhile_listener = -1;
}

__attribute__((constructor)) static void begin(void)
{
	pthread_atfork(before_fork, NULL, NULL);
}
END
gcc -shared -fPIC -o "$dir/meanwhile.so" "$dir/meanwhile.c" || bail_out "no meanwhile.so"
cat >"$dir/meanwhile.py" <<'END'
import ctypes, os, socket, sys
library = ctypes.CDLL(None)
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
ctypes.c_int.in_dll(library, "meanwhile_listener").value = listener.fileno()
if os.fork() == 0:
    sys.exit(0)
os.wait()
connection = socket.socket(fileno=ctypes.c_int.in_dll(library, "meanwhile_connection").value)
connection.sendall(connection.recv(100))
connection.close()
END
next_port
in_background "$dir/meanwhile.log" env LD_PRELOAD="$dir/meanwhile.so" ktls-run --verbose -- python3 "$dir/meanwhile.py" "$port"
wait_for 10 handed "$dir/meanwhile.log"
answers "accepted during a fork: the child's end is not the connection's" wait:300 'say:hello\n' flush 'hear:hello\n' hear_end

cat >"$dir/failing.py" <<'END'
import os, resource, socket, sys
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
resource.setrlimit(resource.RLIMIT_NPROC, (1, 1))
connection, address = listener.accept()
try:
    os.fork()
except BlockingIOError:
    connection.sendall(connection.recv(100))
connection.close()
END
next_port
in_background "$dir/failing.log" setpriv --reuid daemon --clear-groups ktls-run --verbose --service everyone --port "$port" --port 1 -- \
	python3 "$dir/failing.py" "$port"
failing=$!
wait_for 10 handed "$dir/failing.log"
answers "a fork that fails: the connection has its end" 'say:hello\n' flush 'hear:hello\n' hear_end
wait "$failing"
check "and the server its own" grep -q '^ktls-run: port 1 was never listened on' "$dir/failing.log"

# Standard error may be anything.
cat >"$dir/errors.py" <<'END'
import os, socket, sys
os.close(2)
assert os.open(sys.argv[1], os.O_CREAT | os.O_RDWR) == 2
socket.create_server(("127.0.0.1", 0))
log = os.open(sys.argv[2], os.O_CREAT | os.O_RDWR)
os.dup2(log, 2)
socket.create_server(("127.0.0.1", 0))
END
check "a file that got standard error's number is left alone" eval \
	'ktls-run --verbose -- python3 "$dir/errors.py" "$dir/data" "$dir/log" && [ ! -s "$dir/data" ] && grep "the agent accepts" "$dir/log"'

serve --raw-close
for round in 1 2 3 4; do
	answers "closed past the C library, round $round: the number is what it is next" 'say:hello\n' flush 'hear:hello\n' end flush \
		'hear:end\n'
done
check "closed past the C library: nothing else" says_nothing_else
stop

# ---- what is not ours costs no system call ----

# A server in clear that is its own client: all that is called between two marks.
cat >"$dir/clear.py" <<'END'
import os, socket, sys
listener = socket.create_server(("127.0.0.1", 0))
def serve(times):
    for i in range(times):
        client = socket.create_connection(listener.getsockname())
        connection, address = listener.accept()
        client.sendall(b"hello")
        connection.sendall(connection.recv(100))
        os.write(client.fileno(), os.read(client.fileno(), 100))
        copy = connection.dup()
        copy.shutdown(socket.SHUT_WR)
        for one in copy, connection, client:
            one.close()
serve(1)
for mark in "begin", "end":
    os.path.exists("/" + mark)
    if mark == "begin":
        serve(50)
END
# calls COMMAND...: how often it makes which.
calls() {
	strace -f -qq -o "$dir/calls" "$@" || return
	sed -n '\,"/begin",,\,"/end",p' "$dir/calls" | sed 's/^[0-9]* *//; s/(.*//' | grep -v stat | sort | uniq -c
}
costs_nothing() {
	calls python3 "$dir/clear.py" >"$dir/without" && calls ktls-run --port 1 -- python3 "$dir/clear.py" >"$dir/with" || return
	cat "$dir/without"
	grep -q '50 accept' "$dir/without" && diff "$dir/without" "$dir/with"
}
check "fifty connections in clear make the same system calls" costs_nothing

# ---- limits, and an agent that is not there ----

# The first begins with what it needs for handing over, and a few that whoever runs the tests has open.
for options in '--wait epoll --limit 12' '--wait epoll --limit 100 --left 3' '--threads 6 --limit 100 --left 3'; do
	serve $options
	check "descriptors run out: every client is served in its time, $options" at_once 8 2000
	check "and the server was told, $options" grep -q 'accept EMFILE' "$dir/plain.log"
	stop
done

cat >"$dir/passed.py" <<'END'
import os, socket, sys
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
os.dup2(listener.fileno(), 3)
os.set_inheritable(3, True)
os.environ.update(LISTEN_FDS="1", LISTEN_PID=str(os.getpid()))
serve = """
import socket
connection, address = socket.socket(fileno=3).accept()
connection.sendall(connection.recv(100))
connection.close()
"""
os.execvp("ktls-run", ["ktls-run", "--verbose", "--", "python3", "-c", serve])
END
next_port
in_background "$dir/passed.log" python3 "$dir/passed.py" "$port"
wait_for 10 handed "$dir/passed.log"
answers "a listener that a service manager passes" 'say:hello\n' flush 'hear:hello\n' hear_end

run_program "socket calls" ktls-run -- socket_calls

# Several servers at once, and the agent away for a while.
for way in "--wait blocking" "--threads 3" "--wait poll" "--wait edge" "--processes 2 --wait exclusive"; do
	run "$dir/away.$port" plain $way
	wait_for 10 grep -q '^port' "$dir/away.$port"
	away="${away:-} $(sed -n 's/^port //p' "$dir/away.$port" | head -n 1):$dir/away.$port"
	port=$((port + 1))
done
# Without /proc, as nobody, and with a way to the agent.
mkdir -p "$dir/root$dir" && mount --bind "$dir" "$dir/root$dir"
for way in epoll edge; do
	run_options='--service everyone'
	run "$dir/away.$port" plain --wait $way --chroot "$dir/root"
	wait_for 10 grep -q '^port' "$dir/away.$port"
	away="$away $(sed -n 's/^port //p' "$dir/away.$port" | head -n 1):$dir/away.$port"
	port=$((port + 1)) run_options=''
done
stop_agent
sleep 0.3
for one in $away; do
	port=${one%%:*}
	script 'say:hello\n' flush 'hear:hello\n' end flush 'hear:end\n' hear_end >"$dir/waiting.$port" 2>&1 &
	waiting="${waiting:-} $!"
done
sleep 0.5
start_agent <<END
$(services)
END
all_wait() {
	for one in $waiting; do wait "$one" || all_wait_failed=1; done
	cat "$dir"/waiting.*
	[ -z "${all_wait_failed:-}" ]
}
check "the agent goes and comes: who came meanwhile is served" all_wait
for one in $away; do
	check "the log says so" eval 'grep -q "the agent is gone" "${one#*:}" && grep -q "has taken the listener again" "${one#*:}"'
	port=${one%%:*}
	answers "and others are" 'say:hello\n' flush 'hear:hello\n' end flush 'hear:end\n' hear_end
done

umount "$dir/root$dir"

mv "$dir/handoff" "$dir/elsewhere"
says "no agent: the server is told, and people" 'listen (ENOENT|ECONNREFUSED)' 'is it running' -- timeout 10 ktls-run -- plain
check "an agent elsewhere: --agent" eval 'timeout 10 ktls-run --agent "$dir/elsewhere" --verbose -- plain --count 0 | grep ^port'
mv "$dir/elsewhere" "$dir/handoff"
says "no such service" 'listen ENOENT' 'service "nonsense"' -- timeout 10 ktls-run --service nonsense -- plain
says "a service for others" 'listen EACCES' 'allow_users' -- timeout 10 setpriv --reuid bin --regid bin --clear-groups \
	ktls-run --service others -- plain
says "a service of the other role" 'listen EINVAL' -- timeout 10 ktls-run --service client -- plain
finish

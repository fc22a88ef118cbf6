#!/bin/sh
# SPDX-License-Identifier: MIT
# What ktls-run promises first of all: on a port that was chosen nobody is served in clear. Programs that empty environments,
# start others in every way there is, or are given listeners that listen already; and programs that nothing can be preloaded
# into, or that listen on something else than TCP.
# shellcheck disable=SC2016,SC2086,SC2317 # expanded later; lists; functions are called by name
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=run_lib.sh
. "$(dirname "$0")/run_lib.sh"

make_pki
services() {
	server_service default
}
start_agent <<END
$(services)
END
plain=$(command -v plain)

# started NAME COMMAND...: under ktls-run; it becomes or starts plain, on $port.
started() {
	name=$1
	shift
	run "$dir/plain.log" "$@"
	wait_for 10 grep -q '^port' "$dir/plain.log" || bail_out "$name: $(cat "$dir/plain.log")"
	port=$(sed -n 's/^port //p' "$dir/plain.log" | head -n 1)
}

script() {
	timeout 20 tls_script "$port" "$dir/pki" "$@"
}

serves_tls() {
	script 'say:hello\n' flush 'hear:hello\n' end flush 'hear:end\n' hear_end || {
		cat "$dir/plain.log"
		return 1
	}
}

# ---- environments without us ----

started "env -i" env -i "$plain" --count 1
check "env -i" serves_tls
started "env -i, twice" env -i "$(command -v env)" -i "$plain" --count 1
check "env -i, twice" serves_tls
started "the settings alone are gone" env -u KTLS_RUN_SERVICE -u KTLS_RUN_PID "$plain" --count 1
check "the settings alone are gone" serves_tls
started "another preload library" env LD_PRELOAD=libm.so.6 "$plain" --count 1
check "another preload library" serves_tls
says "and it is in there, too" 'LD_PRELOAD=/.*libktls-preload.so:libm.so.6' -- ktls-run -- env LD_PRELOAD=libm.so.6 env

cat >"$dir/start.py" <<'END'
import ctypes, os, sys
way, plain = sys.argv[1:]
arguments = [plain, "--count", "1"]
os.environ.clear()
library = ctypes.CDLL(None)
if way == "execve":
    os.execve(plain, arguments, {})
elif way == "fexecve":
    os.execve(os.open(plain, os.O_RDONLY), arguments, {})
elif way == "execveat":
    none = (ctypes.c_char_p * 1)(None)
    library.execveat(-100, plain.encode(), (ctypes.c_char_p * 4)(*[a.encode() for a in arguments], None), none, 0)
elif way == "posix_spawn":
    os.waitpid(os.posix_spawn(plain, arguments, {}), 0)
elif way == "posix_spawnp":
    os.waitpid(os.posix_spawnp(plain, arguments, {}), 0)
elif way == "pidfd_spawn":
    ends = (ctypes.c_char_p * 4)(*[a.encode() for a in arguments], None), (ctypes.c_char_p * 1)(None)
    if library.pidfd_spawn(ctypes.byref(ctypes.c_int()), plain.encode(), None, None, *ends) == 0:
        os.wait()
elif way == "system":
    os.system(" ".join(arguments))
elif way == "popen":
    library.popen.restype = ctypes.c_void_p
    library.pclose(ctypes.c_void_p(library.popen(" ".join(arguments).encode(), b"w")))
elif way == "fork":
    child = os.fork()
    if child == 0:
        os.execve(plain, arguments, {"PATH": "/bin"})
    os.waitpid(child, 0)
END
for way in execve fexecve execveat posix_spawn posix_spawnp pidfd_spawn system popen fork; do
	started "$way" python3 "$dir/start.py" "$way" "$plain"
	check "$way, the environment is empty" serves_tls
done

# ---- listeners that listen already ----

# given.py LISTEN_FDS PROGRAM...: with a listener as descriptor 3, announced as a service manager does it, or not.
cat >"$dir/given.py" <<'END'
import os, socket, sys
listener = socket.create_server(("127.0.0.1", 0))
print("port", listener.getsockname()[1], flush=True)
os.dup2(listener.fileno(), 3)
os.set_inheritable(3, True)
if sys.argv[1] == "yes":
    os.environ.update(LISTEN_FDS="1", LISTEN_PID=str(os.getpid()))
os.execvp(sys.argv[2], sys.argv[2:])
END
# accept.py WAY: answers one client of descriptor 3.
cat >"$dir/accept.py" <<'END'
import select, socket, sys
listener = socket.socket(fileno=3)
if sys.argv[1] == "poll":
    listener.setblocking(False)
while True:
    try:
        if sys.argv[1] == "poll":
            select.select([listener], [], [])
        connection, address = listener.accept()
        break
    except BlockingIOError:
        pass
connection.setblocking(True)
connection.sendall(connection.recv(100))
connection.close()
END

# given ANNOUNCED OPTION... -- COMMAND...: ktls-run with that listener
given() {
	given_announced=$1
	shift
	in_background "$dir/given.log" python3 "$dir/given.py" "$given_announced" ktls-run --verbose "$@"
	server=$!
	wait_for 10 grep -q '^port' "$dir/given.log" || bail_out "$(cat "$dir/given.log")"
	port=$(sed -n 's/^port //p' "$dir/given.log")
}

# The client of what is in clear: nothing comes, or what it sent.
clear_client() {
	python3 -c 'import socket, sys
connection = socket.create_connection(("127.0.0.1", int(sys.argv[1])), 5)
connection.sendall(b"hello\n")
try:
    print(connection.recv(100))
except OSError as error:
    print(error)' "$port"
}

ends() {
	wait_for 10 eval '! kill -0 $server'
	wait "$server"
	[ $? = "$1" ]
}

for way in block poll; do
	for announced in yes no; do
		given $announced -- python3 "$dir/accept.py" $way
		check "a listener that is given, announced: $announced, $way" script 'say:hello\n' flush 'hear:hello\n' hear_end
		ends 0
	done
done
given no -- sh -c "python3 '$dir/accept.py' block; :"
check "through a shell" script 'say:hello\n' flush 'hear:hello\n' hear_end
given no --port 1 -- python3 "$dir/accept.py" poll
says "another port was chosen: it is in clear" "b'hello" -- clear_client

# A number that was another listener's, in clear, becomes one's that comes over a socket.
cat >"$dir/send.py" <<'END'
import os, socket, sys
ours, theirs = socket.socketpair()
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
if os.fork() == 0:
    os.dup2(theirs.fileno(), 3)
    os.execvp(sys.argv[2], sys.argv[2:])
theirs.close()
socket.send_fds(ours, [b"x"], [listener.fileno()])
listener.close()
os.wait()
END
cat >"$dir/receive.py" <<'END'
import ctypes, os, socket
library = ctypes.CDLL(None)
library.fdopen.restype = ctypes.c_void_p
clear = socket.create_server(("127.0.0.1", 0))
clear.setblocking(False)
try:
    clear.accept()
except BlockingIOError:
    pass
number = clear.detach()
library.fclose(ctypes.c_void_p(library.fdopen(number, b"r")))
listener = socket.recv_fds(socket.socket(fileno=3), 1, 1)[1][0]
assert listener == number
connection, address = socket.socket(fileno=listener).accept()
connection.sendall(connection.recv(100))
connection.close()
END
next_port
in_background "$dir/send.log" python3 "$dir/send.py" "$port" ktls-run --port "$port" -- python3 "$dir/receive.py"
wait_for 10 listens_on "$port"
check "a listener gets the number of one in clear that fclose() has closed" script 'say:hello\n' flush 'hear:hello\n' hear_end

# Threads that listen and accept at the same time. For the thread that has not got far, this stands behind ktls-run's library.
cat >"$dir/slow.c" <<'END'
#include <dlfcn.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

int slow_listen, slow_accept;

/* What a listener is handed over with. */
int socketpair(int domain, int type, int protocol, int *ends)
{
	if (slow_listen)
		usleep(500000);
	return ((int (*)(int, int, int, int *))dlsym(RTLD_NEXT, "socketpair"))(domain, type, protocol, ends);
}

/* Another thread has begun to listen. */
int accept4(int fd, struct sockaddr *address, socklen_t *length, int flags)
{
	struct pollfd listener = {.fd = fd, .events = POLLIN};

	if (slow_accept && ((int (*)(int, int))dlsym(RTLD_NEXT, "listen"))(fd, 5) == 0)
		poll(&listener, 1, 10000);
	slow_accept = 0;
	return ((int (*)(int, struct sockaddr *, socklen_t *, int))dlsym(RTLD_NEXT, "accept4"))(fd, address, length, flags);
}
END
gcc -D_GNU_SOURCE -shared -fPIC -o "$dir/slow.so" "$dir/slow.c" || bail_out "no slow.so"
cat >"$dir/slow.py" <<'END'
import ctypes, socket, sys, threading, time
way = sys.argv[2]
ctypes.c_int.in_dll(ctypes.CDLL(None), "slow_" + way).value = 1
listener = socket.socket()
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listener.bind(("127.0.0.1", int(sys.argv[1])))
if way == "listen":
    threading.Thread(target=listener.listen).start()
while True:
    try:
        connection, address = listener.accept()
        break
    except OSError:
        time.sleep(0.01)
connection.sendall(connection.recv(100))
connection.close()
END
# slow WAY
slow() {
	next_port
	in_background "$dir/slow.log" env LD_PRELOAD="$dir/slow.so" ktls-run --verbose -- python3 "$dir/slow.py" "$port" "$1"
	server=$!
	wait_for 10 listens_on "$port"
}
slow listen
check "one thread listens, one accepts: its client is served" script 'say:hello\n' flush 'hear:hello\n' hear_end
ends 0
check "and the listener was handed over once" eval '[ "$(grep -c "the agent accepts" "$dir/slow.log")" = 1 ]'
slow accept
clear_client >"$dir/clear" 2>&1
check "accept() was there before the listener was handed over: nobody is served in clear" eval '! grep hello "$dir/clear"'
check "and people are told" wait_for 5 grep -q 'a client came in clear' "$dir/slow.log"
check "and who comes next is served" script 'say:hello\n' flush 'hear:hello\n' hear_end
ends 0

# An agent that hands over what is not encrypted can't be had: what the kernel says of it can.
cat >"$dir/bare.c" <<'END'
#include <dlfcn.h>
#include <errno.h>
#include <linux/tls.h>
#include <sys/socket.h>

int getsockopt(int fd, int level, int name, void *value, socklen_t *length)
{
	if (level == SOL_TLS && name == TLS_TX) {
		errno = ENOPROTOOPT;
		return -1;
	}
	return ((int (*)(int, int, int, void *, socklen_t *))dlsym(RTLD_NEXT, "getsockopt"))(fd, level, name, value, length);
}
END
gcc -D_GNU_SOURCE -shared -fPIC -o "$dir/bare.so" "$dir/bare.c" || bail_out "no bare.so"
in_background "$dir/bare.log" env LD_PRELOAD="$dir/bare.so" ktls-run -- "$plain"
server=$!
wait_for 10 grep -q '^port' "$dir/bare.log"
port=$(sed -n 's/^port //p' "$dir/bare.log")
refused "the kernel does not encrypt: the client is turned away" script 'say:hello\n' flush 'hear:hello\n'
check "and people are told" grep -q 'the kernel does not encrypt' "$dir/bare.log"
end "$server"

stop_agent
given yes -- python3 "$dir/accept.py" block
check "a service manager passes a listener, no agent: the server ends" ends 1
check "and says why" grep -q 'would serve it in clear' "$dir/given.log"
given no -- python3 "$dir/accept.py" poll
clear_client >"$dir/clear" 2>&1
check "one that is given, no agent: nobody is served in clear" eval '! grep hello "$dir/clear"'
check "and the server ends" ends 1
check "and says why" grep -q 'would serve it in clear' "$dir/given.log"
start_agent <<END
$(services)
END

# ---- what we are not in ----

printf 'int main(void) { return 7; }\n' >"$dir/static.c"
gcc -static -o "$dir/static" "$dir/static.c" || bail_out "no static program"
gcc -o "$dir/dynamic" "$dir/static.c"
says "the command becomes a static program: not so" 'static program.*It is not run' 'not permitted' -- \
	ktls-run -- sh -c 'exec "$0"' "$dir/static"
cat >"$dir/become.py" <<'END'
import os, sys
try:
    os.execv(sys.argv[1], sys.argv[1:])
except PermissionError as error:
    print("refused", error)
END
says "likewise, with the error" 'static program.*It is not run' 'refused.*not permitted' -- \
	ktls-run -- python3 "$dir/become.py" "$dir/static"
says "it starts one: people are told" 'static program.*if it listens, then in clear' 'status 7' -- \
	ktls-run -- sh -c '"$0"; echo "status $?"' "$dir/static"
says "by posix_spawn" 'static program.*if it listens, then in clear' -- \
	ktls-run -- python3 -c 'import os, sys; os.waitpid(os.posix_spawn(sys.argv[1], sys.argv[1:], {}), 0)' "$dir/static"
cp "$dir/dynamic" "$dir/mode" && chown daemon "$dir/mode" && chmod 4755 "$dir/mode"
says "a setuid program" 'is setuid.*It is not run' -- ktls-run -- python3 "$dir/become.py" "$dir/mode"
says "an effective user that is not the real one" 'not the real one.*It is not run' -- \
	ktls-run -- setpriv --euid daemon "$dir/dynamic"
library=$(ktls-run -- sh -c 'echo "${LD_PRELOAD%%:*}"' 2>/dev/null)
says "where the library can't be seen" "$library.*can't be read.*It is not run" -- \
	unshare -m ktls-run -- sh -c 'mount -t tmpfs none "${1%/*}" && exec "$0"' "$dir/dynamic" "$library"
check "a program that is not there is the shell's matter" eval '! ktls-run -- sh -c "exec nonsense" 2>&1 | grep "It is not run"'

cat >"$dir/mptcp.py" <<'END'
import socket, sys
listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262)
if sys.argv[1:] == ["try"]:
    sys.exit(0)
listener.bind(("127.0.0.1", int(sys.argv[1])))
try:
    listener.listen()
except OSError as error:
    print("refused", error)
END
next_port
if python3 "$dir/mptcp.py" try 2>/dev/null; then
	says "an MPTCP listener on a port that was chosen" 'takes TCP listeners alone' 'refused.*rotocol not supported' -- \
		ktls-run -- python3 "$dir/mptcp.py" "$port"
	check "and on another" eval '! ktls-run --port 1 -- python3 "$dir/mptcp.py" "$port" 2>&1 | grep refused'
else
	skip "an MPTCP listener on a port that was chosen" "no MPTCP in this kernel"
fi
says "listen() by syscall()" 'the agent accepts' -- ktls-run --verbose -- python3 -c '
import ctypes, os, socket
listener = socket.socket()
listener.bind(("127.0.0.1", 0))
number = 50 if os.uname().machine == "x86_64" else 201 # SYS_listen
ctypes.CDLL(None).syscall(number, listener.fileno(), 5)'

# Whose command uses it once more means the inner one.
started "ktls-run in ktls-run" sh -c 'exec ktls-run --port 1 -- "$0" --count 1' "$plain"
refused "ktls-run in ktls-run: the inner one counts" serves_tls
finish

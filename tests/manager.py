#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""manager.py FOLDER [OPTION...] COMMAND...: a service manager as far as an agent is concerned, for tests: keeps the descriptors that
the agent asks it to keep, and starts the command anew, with them, whenever it has ended. It writes the agent's process into FOLDER/pid,
and into FOLDER/kept how many descriptors it keeps, and ends, with the agent, on SIGTERM. FOLDER/pause: it waits with the next start
until the file is gone. What it keeps it keeps as systemd does: a file once, whatever it is called; nothing that has hung up; and no
more than there is room for.

    --socket NAME=ADDRESS:PORT    as a socket unit, it listens there, and passes that, too
    --datagram NAME=ADDRESS:PORT  likewise, but UDP
    --store-max N                 FileDescriptorStoreMax"""
import array
import os
import pathlib
import select
import signal
import socket
import sys
import time

folder, command = pathlib.Path(sys.argv[1]), sys.argv[2:]
sockets = []  # (name, descriptor)
kept = []  # likewise
store_max = 2048  # as in dist/ktlsd.service


def open_socket(kind, text):
    name, address = text.split("=")
    host, port = address.rsplit(":", 1)
    family = socket.AF_INET6 if host[0] == "[" else socket.AF_INET
    one = socket.socket(family, kind)
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    one.bind((host.strip("[]"), int(port)))
    if kind == socket.SOCK_STREAM:
        one.listen(1024)
    sockets.append((name, one.detach()))


while command[0].startswith("--"):
    option, value, *command = command
    if option == "--store-max":
        store_max = int(value)
    else:
        open_socket({"--socket": socket.SOCK_STREAM, "--datagram": socket.SOCK_DGRAM}[option], value)
(folder / "notify").unlink(missing_ok=True)  # an earlier manager's
notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
notify.bind(str(folder / "notify"))
os.environ["NOTIFY_SOCKET"] = str(folder / "notify")
os.chmod(folder / "notify", 0o666)


def say(name, text):
    (folder / (name + ".new")).write_text(f"{text}\n")
    os.rename(folder / (name + ".new"), folder / name)


def keep(name, fd):
    if any(os.path.sameopenfile(fd, other) for _, other in kept):
        print(f"manager: {name}: is kept already", flush=True)
        os.close(fd)
    elif len(kept) >= store_max:
        print(f"manager: {name}: the store is full", flush=True)
        os.close(fd)
    else:
        os.set_inheritable(fd, False)
        kept.append((name, fd))


def give_up(gone):
    for one in gone:
        os.close(one[1])
        kept.remove(one)


def take():
    """One notification."""
    text, control, _, _ = notify.recvmsg(4096, socket.CMSG_SPACE(16 * 4))
    fields = dict(line.split("=", 1) for line in text.decode().splitlines())
    for _, _, data in control:
        for fd in array.array("i", data[: len(data) - len(data) % 4]):
            if fields.get("FDSTORE") == "1":
                keep(fields["FDNAME"], fd)
            else:
                os.close(fd)
    if fields.get("FDSTOREREMOVE") == "1":
        give_up([one for one in kept if one[0] == fields["FDNAME"]])


def look():
    """What has come, and what has hung up."""
    poll = select.poll()
    poll.register(notify, select.POLLIN)
    for _, fd in kept:
        poll.register(fd, 0)
    events = dict(poll.poll(20))
    if notify.fileno() in events:
        take()  # and what has hung up the next time
    else:
        give_up([one for one in kept if one[1] in events])
    if events:
        say("kept", len(kept))
    return events


def start():
    """With all descriptors from 3 on, as sd_listen_fds(3) has it."""
    passed = sockets + kept
    high = [os.dup2(fd, 200 + i, inheritable=False) for i, (_, fd) in enumerate(passed)]
    child = os.fork()
    if child == 0:
        for i, fd in enumerate(high):
            os.dup2(fd, 3 + i)
        os.environ["LISTEN_PID"] = str(os.getpid())
        os.environ["LISTEN_FDS"] = str(len(passed))
        os.environ["LISTEN_FDNAMES"] = ":".join(name for name, _ in passed)
        os.execvp(command[0], command)
    for fd in high:
        os.close(fd)
    say("pid", child)
    return child


ending = False


def end(*_):
    global ending
    ending = True


signal.signal(signal.SIGTERM, end)
say("kept", 0)
agent = start()
while True:
    if look():
        continue
    if ending:
        os.kill(agent, signal.SIGTERM)
        os.waitpid(agent, 0)
        break
    if os.waitpid(agent, os.WNOHANG)[0] == agent:
        while (folder / "pause").exists():
            time.sleep(0.02)
        agent = start()

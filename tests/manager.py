#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""manager.py FOLDER [--socket NAME=PORT]... COMMAND...: a service manager as far as an agent is concerned, for tests: keeps the
descriptors that the agent asks it to keep, and starts the command anew, with them, whenever it has ended. It writes the agent's
process into FOLDER/pid, and into FOLDER/kept how many descriptors it keeps, and ends, with the agent, on SIGTERM. FOLDER/pause: it
waits with the next start until the file is gone. --socket: as a socket unit, it listens on 127.0.0.1, and passes that, too."""
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
while command[0] == "--socket":
    name, port = command[1].split("=")
    sockets.append((name, socket.create_server(("127.0.0.1", int(port)), backlog=1024).detach()))
    command = command[2:]
notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
notify.bind(str(folder / "notify"))
os.environ["NOTIFY_SOCKET"] = str(folder / "notify")
os.chmod(folder / "notify", 0o666)


def say(name, text):
    (folder / (name + ".new")).write_text(f"{text}\n")
    os.rename(folder / (name + ".new"), folder / name)


def take():
    """One notification."""
    text, control, _, _ = notify.recvmsg(4096, socket.CMSG_SPACE(16 * 4))
    fields = dict(line.split("=", 1) for line in text.decode().splitlines())
    for _, _, data in control:
        descriptors = array.array("i", data[: len(data) - len(data) % 4])
        if fields.get("FDSTORE") == "1":
            kept.extend((fields["FDNAME"], fd) for fd in descriptors)
            for fd in descriptors:
                os.set_inheritable(fd, False)
    if fields.get("FDSTOREREMOVE") == "1":
        for one in [one for one in kept if one[0] == fields["FDNAME"]]:
            os.close(one[1])
            kept.remove(one)
    say("kept", len(kept))


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
    if select.select([notify], [], [], 0.02)[0]:
        take()
        continue
    if ending:
        os.kill(agent, signal.SIGTERM)
        os.waitpid(agent, 0)
        break
    if os.waitpid(agent, os.WNOHANG)[0] == agent:
        while (folder / "pause").exists():
            time.sleep(0.02)
        agent = start()

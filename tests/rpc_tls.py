#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
The part of NFS that is about TLS (RFC 9289), without NFS: the question whether the other end has TLS, and then a handshake.

  rpc_tls.py shake ADDRESS COUNT AT_A_TIME CA [CERTIFICATE KEY]
                           COUNT handshakes with an NFS server; prints how many went well
  rpc_tls.py hang ADDRESS [COUNT]
                           a client that says nothing after the server has agreed to TLS, on so many connections
  rpc_tls.py deaf PORT     a server that agrees to TLS, and then says nothing
  rpc_tls.py mute PORT     a server that says nothing at all, as NVMe has it, where TLS begins at once

The last three print "agreed", then "closed after SECONDS" when the other end has had enough.
"""

import concurrent.futures
import signal
import socket
import ssl
import struct
import sys
import time

NFS, AUTH_NONE, AUTH_TLS = 100003, 0, 7


def say(text):
    print(text, flush=True)


def receive(connection, length):
    data = b""
    while len(data) < length:
        more = connection.recv(length - len(data))
        if not more:
            raise ConnectionError("closed in the middle of a message")
        data += more
    return data


def receive_message(connection):
    (mark,) = struct.unpack(">I", receive(connection, 4))
    return receive(connection, mark & 0x7FFFFFFF)


def send_message(connection, message):
    connection.sendall(struct.pack(">I", 0x80000000 | len(message)) + message)


def ask(address):
    connection = socket.create_connection((address, 2049), timeout=20)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    send_message(connection, struct.pack(">IIIIIIIIII", 1, 0, 2, NFS, 4, 0, AUTH_TLS, 0, AUTH_NONE, 0))
    if b"STARTTLS" not in receive_message(connection):
        raise ConnectionError("no TLS there")
    return connection


def agree(connection):
    (xid,) = struct.unpack(">I", receive_message(connection)[:4])
    send_message(connection, struct.pack(">IIIII8sI", xid, 1, 0, AUTH_NONE, 8, b"STARTTLS", 0))


def wait_for_end(connection):
    say("agreed")
    began = time.monotonic()
    connection.settimeout(60)
    try:
        while connection.recv(4096):
            pass
    except ConnectionError:
        pass
    say(f"closed after {time.monotonic() - began:.2f}")


def shake(address, count, at_a_time, authorities, *identity):
    context = ssl.create_default_context(cafile=authorities)
    context.check_hostname = False
    if identity:
        context.load_cert_chain(*identity)

    def once(_):
        try:
            with context.wrap_socket(ask(address)) as connection:
                send_message(connection, struct.pack(">IIIIIIIIII", 2, 0, 2, NFS, 4, 0, AUTH_NONE, 0, AUTH_NONE, 0))
                return receive_message(connection)[:4] == b"\0\0\0\2"
        except OSError as error:
            say(f"failed: {error}")
            return False

    with concurrent.futures.ThreadPoolExecutor(int(at_a_time)) as pool:
        say(f"{sum(pool.map(once, range(int(count))))} went well")


def hang(address, count=1):
    """Keeps its end: who closes is the other one."""
    connections = [ask(address) for _ in range(int(count))]
    for connection in connections:
        wait_for_end(connection)
    signal.pause()


def serve(port, begin):
    listener = socket.create_server(("", int(port)))
    say("listening")
    while True:
        connection, _ = listener.accept()
        try:
            begin(connection)
            wait_for_end(connection)
        except ConnectionError:
            pass


def deaf(port):
    serve(port, agree)


def mute(port):
    serve(port, lambda connection: None)


if __name__ == "__main__":
    {"shake": shake, "hang": hang, "deaf": deaf, "mute": mute}[sys.argv[1]](*sys.argv[2:])

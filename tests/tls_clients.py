#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""tls_clients.py PORT PKI CERTIFICATE VERSION COUNT [END]: COUNT connections at once, each of which sends a line right behind
its Finished and waits for its echo. For scripts. It tells how they fared, one line for each outcome, with its number.

END is what happens to them when a line comes on standard input, by which time they may be held:
  reset, close, half (of the TCP connection, after the line was sent)
"rate" in place of a number: full handshakes one after another for 0.4 s, and how many there were in a second.
"""
import collections
import select
import socket
import ssl
import struct
import sys
import time

port, pki, name, version, count = sys.argv[1:6]
end = sys.argv[6] if len(sys.argv) > 6 else ""

context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
context.load_verify_locations(f"{pki}/ca.pem")
context.load_cert_chain(f"{pki}/{name}.pem", f"{pki}/{name}.key")
context.minimum_version = context.maximum_version = ssl.TLSVersion[f"TLSv1_{version}"]


class Client:
    def __init__(self, number):
        self.line = f"line {number} of {name}\n".encode() * 100
        self.got = b""
        self.outcome = ""
        self.sock = socket.create_connection(("127.0.0.1", int(port)))
        self.sock.setblocking(False)
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_hostname="localhost")
        self.shaken = False
        self.turn()

    def done(self, outcome):
        self.outcome = outcome
        self.sock.close()

    # Finished and what comes behind it leave in one piece.
    def turn(self):
        try:
            if not self.shaken:
                self.tls.do_handshake()
                self.shaken = True
                self.tls.write(self.line)
            while len(self.got) < len(self.line):
                self.got += self.tls.read(65536)
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError as error:
            self.done(f"refused: {error.reason}")
        else:
            self.done("echoed" if self.got == self.line else "changed")
        self.flush()

    def flush(self):
        data = self.outgoing.read()
        if data and not self.outcome:
            self.sock.send(data)

    def receive(self):
        try:
            data = self.sock.recv(65536)
        except OSError as error:
            self.done(f"broken: {error.strerror}")
            return
        if data:
            self.incoming.write(data)
            self.turn()
        else:
            self.done("ended")

    def finish(self):
        if end == "reset":
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        if end == "half":
            self.sock.shutdown(socket.SHUT_WR)
        else:
            self.done(end)


def rate():
    began, done = time.monotonic(), 0
    while time.monotonic() - began < 0.4:
        client = Client(done)
        while not client.outcome:
            select.select([client.sock], [], [])
            client.receive()
        if client.outcome != "echoed":
            sys.exit(client.outcome)
        done += 1
    print(f"rate {done / (time.monotonic() - began):.0f}")


def run():
    clients = [Client(number) for number in range(int(count))]
    deadline, waiting = time.monotonic() + 30, bool(end)
    while (left := [client for client in clients if not client.outcome]):
        watched = [client.sock for client in left] + ([sys.stdin] if waiting else [])
        ready = select.select(watched, [], [], max(0, deadline - time.monotonic()))[0]
        if not ready:
            break
        if sys.stdin in ready:
            sys.stdin.readline()
            waiting = False
            for client in left:
                client.finish()
            continue
        for client in left:
            if client.sock in ready:
                client.receive()
    for outcome, number in collections.Counter(client.outcome or "nothing" for client in clients).items():
        print(number, outcome)


if count == "rate":
    rate()
else:
    run()

#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""crowd.py PORT CA COUNT PATIENCE STAGE...: COUNT connections at once, from 250 addresses of 127/8, that don't get their handshakes
done. The stages are shared out among them: silent (not a byte), part (of a ClientHello), hello (and then not a byte).

Says "there" when all are connected and were answered what there is to answer, then waits for their end, and tells for each stage
how many got an alert in clear, internal_error and nothing else; how many another alert; and how many only an end: closed, reset, or,
PATIENCE seconds later, none: hanging."""
import selectors
import socket
import ssl
import sys
import time

port, count, patience, stages = int(sys.argv[1]), int(sys.argv[3]), float(sys.argv[4]), sys.argv[5:]
context = ssl.create_default_context(cafile=sys.argv[2])
ALERT = 21
INTERNAL_ERROR = bytes([ALERT, 3, 1, 0, 2, 2, 80])


class Visitor:
    def __init__(self, number):
        self.stage = stages[number % len(stages)]
        self.incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, outgoing, server_hostname="localhost")
        self.got, self.end, self.after = b"", "hanging", patience
        address = f"127.0.1.{1 + number % 250}"
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=20, source_address=(address, 0))
        try:
            self.tls.do_handshake()
        except ssl.SSLWantReadError:
            hello = outgoing.read()
        if self.stage != "silent":
            self.socket.sendall(hello if self.stage == "hello" else hello[:100])
        self.socket.setblocking(False)

    def read(self):
        """True: that was the end."""
        try:
            got = self.socket.recv(65536)
        except OSError:
            self.end = "reset"
            return True
        self.got += got
        if not got:
            self.end = "closed"
        return not got

    def outcome(self):
        if self.got == INTERNAL_ERROR:
            return "internal error"
        return "alert" if self.was_alerted() else self.end

    def was_alerted(self):
        """In clear; or behind a handshake that the client takes to its end, of which the server hears nothing."""
        if self.got[:1] == bytes([ALERT]):
            return True
        self.incoming.write(self.got)
        try:
            self.tls.do_handshake()
            self.tls.read(1)
        except ssl.SSLWantReadError:
            return False
        except ssl.SSLError as error:
            return "ALERT" in (error.reason or "")
        return False


visitors = [Visitor(number) for number in range(count)]
selector = selectors.DefaultSelector()
for visitor in visitors:
    selector.register(visitor.socket, selectors.EVENT_READ, visitor)


def ends(until, enough):
    left = len(selector.get_map())
    while left > 0 and not enough() and time.monotonic() < until:
        for key, _ in selector.select(max(0, min(0.1, until - time.monotonic()))):
            if key.data.read():
                key.data.after = time.monotonic() - began
                selector.unregister(key.data.socket)
                left -= 1


began = time.monotonic()
ends(began + patience, lambda: all(visitor.got for visitor in visitors if visitor.stage == "hello"))
print("there", flush=True)
began = time.monotonic()
ends(began + patience, lambda: False)
for stage in stages:
    those = [visitor for visitor in visitors if visitor.stage == stage]
    outcomes = [visitor.outcome() for visitor in those]
    kinds = ("internal error", "alert", "closed", "reset", "hanging")
    counts = ", ".join(f"{kind} {outcomes.count(kind)}" for kind in kinds)
    print(f"{stage}: {counts}; the last after {max(visitor.after for visitor in those):.1f} s")

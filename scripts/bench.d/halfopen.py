#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""halfopen.py COUNT PORT...: so many handshakes at 127.0.0.1, each up to where the server waits for the client's Finished.

Says "open" when all are there, and holds them until its input ends.
"""
import socket
import ssl
import sys

IN_FLIGHT = 64


class Handshake:
    def __init__(self, context, port, number):
        self.socket = socket.socket()
        self.socket.bind((f"127.1.1.{1 + number % 250}", 0))  # or ports would run out
        self.socket.connect(("127.0.0.1", port))
        self.input, self.output = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.input, self.output)
        self.tried()
        self.socket.sendall(self.output.read())

    def tried(self):
        try:
            self.tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        return True

    def receive_flight(self):
        """The client is through then; that it says so stays in self.output."""
        while not self.tried():
            data = self.socket.recv(16384)
            if not data:
                sys.exit("the server closed")
            self.input.write(data)


def main():
    count, *ports = map(int, sys.argv[1:])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    held = []
    while len(held) < count:
        numbers = range(len(held), min(len(held) + IN_FLIGHT, count))
        some = [Handshake(context, ports[number % len(ports)], number) for number in numbers]
        for handshake in some:
            handshake.receive_flight()
        held += some
    print("open", flush=True)
    sys.stdin.read()


main()

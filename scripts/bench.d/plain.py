#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""plain.py COUNT: so many TCP connections of this process with itself. Says "open", and holds them until its input ends."""
import socket
import sys


def main():
    held, listener = [], socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(16)
    for _ in range(int(sys.argv[1])):
        client = socket.create_connection(listener.getsockname())
        held += [client, listener.accept()[0]]
    print("open", flush=True)
    sys.stdin.read()


main()

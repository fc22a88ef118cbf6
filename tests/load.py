#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""load.py PORT CA SECONDS [--echo]: TLS clients, one after the other on each of four threads, that expect to be greeted; --echo: with
their own words. Prints how many were refused (no connection), lost (no greeting), served, and how long the slowest took."""
import socket
import ssl
import sys
import threading
import time

port, seconds, echo = int(sys.argv[1]), float(sys.argv[3]), "--echo" in sys.argv
context = ssl.create_default_context(cafile=sys.argv[2])
counts = {"refused": 0, "lost": 0, "served": 0}
reasons = {}
slowest = 0
lock = threading.Lock()


def visit():
    try:
        connection = socket.create_connection(("127.0.0.1", port), timeout=20)
    except OSError as error:
        return "refused", error
    try:
        with context.wrap_socket(connection, server_hostname="localhost") as tls:
            if echo:
                tls.sendall(b"welcome\n")
            text = tls.recv(8)
            return ("served", None) if text == b"welcome\n" else ("lost", f"got {text}")
    except OSError as error:
        connection.close()
        return "lost", error


def visit_again_and_again(until):
    global slowest
    while time.monotonic() < until:
        began = time.monotonic()
        outcome, reason = visit()
        with lock:
            slowest = max(slowest, time.monotonic() - began)
            counts[outcome] += 1
            if reason:
                reasons[str(reason)] = reasons.get(str(reason), 0) + 1


threads = [threading.Thread(target=visit_again_and_again, args=(time.monotonic() + seconds,)) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(", ".join(f"{name} {count}" for name, count in counts.items()))
print(f"slowest: {slowest * 1000:.0f} ms")
for reason, count in reasons.items():
    print(f"{count} times: {reason}")

#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""https_load.py PORT CA FOLDER SECONDS PATH...: on six threads, fetches files and compares them with those in FOLDER, byte by byte:
half of the threads with a connection for each, the others with several requests over one. Who finds a connection that he has used
before closed, without a word in answer, asks again over a new one, as every client of HTTP does. Prints how many failed, and how
many were fetched; then why."""
import collections
import http.client
import pathlib
import ssl
import sys
import threading
import time

port, folder, until = int(sys.argv[1]), pathlib.Path(sys.argv[3]), time.monotonic() + float(sys.argv[4])
wanted = {path: (folder / path).read_bytes() for path in sys.argv[5:]}
context = ssl.create_default_context(cafile=sys.argv[2])
counts, reasons = collections.Counter(), collections.Counter()
lock = threading.Lock()


def ask(connection, path):
    connection.request("GET", "/" + path)
    answer = connection.getresponse()
    body = answer.read()
    if answer.status != 200 or body != wanted[path]:
        raise ValueError(f"status {answer.status}, {len(body)} bytes of {len(wanted[path])}")


def fetch(connection, path):
    used = connection.sock is not None
    try:
        ask(connection, path)
    except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError):
        connection.close()
        if not used:
            raise
        ask(connection, path)


def fetch_again_and_again(keep):
    connection = http.client.HTTPSConnection("localhost", port, timeout=20, context=context)
    while time.monotonic() < until:
        for path in wanted:
            reason = None
            try:
                fetch(connection, path)
            except (OSError, http.client.HTTPException, ValueError) as error:
                reason = f"{path}: {error!r}"
            if reason or not keep:
                connection.close()
            with lock:
                counts["failed" if reason else "fetched"] += 1
                if reason:
                    reasons[reason] += 1
    connection.close()


threads = [threading.Thread(target=fetch_again_and_again, args=(number % 2 == 1,)) for number in range(6)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(f"failed {counts['failed']}, fetched {counts['fetched']}")
for reason, count in reasons.items():
    print(f"{count} times: {reason}")

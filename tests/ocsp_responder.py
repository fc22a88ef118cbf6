#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""ocsp_responder.py PORT UPSTREAM FOLDER: an OCSP responder that passes requests on to a real one on the port UPSTREAM, or
misbehaves, by the path it is asked at. Tells each request in a line. For scripts.

  /pass        what the real one says
  /slow/S      likewise, S seconds later
  /gate/NAME   likewise, once there is a file NAME
  /silent      no answer, and it keeps the connection
  /file/NAME   an answer that was made before
  /garbage     bytes that are none
  /endless     an answer without end
  /as/NAME     whatever the file NAME says, "slow/2" for example; anything behind it is for telling requests apart
"""
import http.client
import os
import socketserver
import sys
import time

port, upstream, folder = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
HEAD = b"HTTP/1.0 200 OK\r\nContent-Type: application/ocsp-response\r\n\r\n"


def read(name):
    with open(f"{folder}/{name}", "rb") as file:
        return file.read()


def ask(body):
    connection = http.client.HTTPConnection("127.0.0.1", upstream, timeout=10)
    connection.request("POST", "/", body, {"Content-Type": "application/ocsp-request"})
    answer = connection.getresponse().read()
    connection.close()
    return answer


class Request(socketserver.StreamRequestHandler):
    def handle(self):
        words = self.rfile.readline().split()
        if len(words) != 3: # a look whether somebody listens
            return
        length = 0
        while (line := self.rfile.readline().strip()):
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        body = self.rfile.read(length)
        path = words[1].decode()
        print(path, flush=True)
        try:
            self.answer(path, body)
        except OSError: # who asked has gone
            pass

    def answer(self, path, body):
        mode, _, value = path[1:].partition("/")
        if mode == "as":
            mode, _, value = read(value.split("/")[0]).decode().strip().partition("/")
        if mode == "slow":
            time.sleep(float(value))
        while mode == "gate" and not os.path.exists(f"{folder}/{value}"):
            time.sleep(0.02)
        if mode in ("pass", "slow", "gate"):
            self.wfile.write(HEAD + ask(body))
        elif mode == "file":
            self.wfile.write(HEAD + read(value))
        elif mode == "garbage":
            self.wfile.write(HEAD + b"0\x04garb")
        elif mode == "silent":
            self.rfile.read()
        elif mode == "endless":
            self.wfile.write(HEAD + b"\x30\x84\x00\x0f\x00\x00")
            while True:
                self.wfile.write(bytes(4096))


class Responder(socketserver.ThreadingTCPServer):
    allow_reuse_address = daemon_threads = True
    request_queue_size = 64


Responder(("127.0.0.1", port), Request).serve_forever()

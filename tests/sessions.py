#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A client that keeps its sessions by name, tickets that it gets while it resumes included, which s_client does not with TLS 1.2.

sessions.py CA: reads lines and answers each with one:
  new NAME VERSION PORT NETWORK      a connection without a session; it leaves one
  resume NAME VERSION PORT NETWORK   with that session; what it leaves takes its place
  copy FROM TO
VERSION is 1.2 or 1.3, NETWORK the network namespace's file. The answer: "New", "Reused", "copied", or what went wrong.
"""
import os
import socket
import ssl
import sys

contexts = {}
for name, version in ("1.2", ssl.TLSVersion.TLSv1_2), ("1.3", ssl.TLSVersion.TLSv1_3):
    contexts[name] = ssl.create_default_context(cafile=sys.argv[1])
    contexts[name].minimum_version = contexts[name].maximum_version = version
sessions = {}


def connect(session, name, version, port, network):
    network = os.open(network, os.O_RDONLY)
    os.setns(network, os.CLONE_NEWNET)
    os.close(network)
    with socket.create_connection(("127.0.0.1", int(port)), timeout=10) as tcp:
        with contexts[version].wrap_socket(tcp, server_hostname="localhost", session=session) as tls:
            while tls.recv(4096):
                pass
            sessions[name] = tls.session
            return "Reused" if tls.session_reused else "New"


def obey(command, name, *rest):
    if command == "copy":
        sessions[rest[0]] = sessions[name]
        return "copied"
    return connect(sessions[name] if command == "resume" else None, name, *rest)


for line in sys.stdin:
    try:
        print(obey(*line.split()), flush=True)
    except Exception as error:
        print(repr(error), flush=True)

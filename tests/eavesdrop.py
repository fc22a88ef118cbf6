# SPDX-License-Identifier: MIT
"""eavesdrop.py PORT: joins the group that the kernel tells of handshake requests, as everybody may, with a netlink port number
of its choice, says so, and stays."""

import socket
import struct
import sys
import time

NETLINK_GENERIC, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP = 16, 270, 1
GENL_ID_CTRL, CTRL_CMD_GETFAMILY, CTRL_ATTR_FAMILY_NAME, CTRL_ATTR_MCAST_GROUPS = 16, 3, 2, 7
CTRL_ATTR_MCAST_GRP_NAME, CTRL_ATTR_MCAST_GRP_ID = 1, 2


def attributes(data):
    found = {}
    while len(data) >= 4:
        length, kind = struct.unpack_from("HH", data)
        found[kind & 0x3FFF] = data[4:length]
        data = data[(length + 3) & ~3 :]
    return found


def group_of(netlink, family, group):
    name = family.encode() + b"\0"
    name += b"\0" * (-len(name) % 4)
    body = struct.pack("BBHHH", CTRL_CMD_GETFAMILY, 1, 0, 4 + len(family) + 1, CTRL_ATTR_FAMILY_NAME) + name
    netlink.send(struct.pack("IHHII", 16 + len(body), GENL_ID_CTRL, 1, 1, 0) + body)
    groups = attributes(netlink.recv(65536)[20:])[CTRL_ATTR_MCAST_GROUPS]
    for one in attributes(groups).values():
        one = attributes(one)
        if one[CTRL_ATTR_MCAST_GRP_NAME].rstrip(b"\0").decode() == group:
            return struct.unpack("I", one[CTRL_ATTR_MCAST_GRP_ID])[0]
    raise KeyError(group)


netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_GENERIC)
netlink.bind((int(sys.argv[1]), 0))
netlink.setsockopt(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, group_of(netlink, "handshake", "tlshd"))
print("listening", flush=True)
time.sleep(120)

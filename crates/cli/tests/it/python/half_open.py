#!/usr/bin/env python3
"""Begins COUNT requests for tunnels at HOST PORT, each broken off somewhere in its head, and keeps the connections open until
standard input ends. Says on standard output when all are there."""

import resource
import socket
import sys


def main() -> None:
    host, port, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    head = (
        b"GET /.well-known/masque/tcp/127.0.0.1/22/ HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\n"
        b"Upgrade: connect-tcp\r\nCapsule-Protocol: ?1\r\n"
    )
    held = []
    for at in range(count):
        one = socket.create_connection((host, port))
        one.sendall(head[: 1 + at % len(head)])
        held.append(one)
    print("open", flush=True)
    sys.stdin.read()


main()

"""Subscribes by WebSocket within TLS: channels_websocket.py HOST PORT ROOT.pem.

What comes is compared byte by byte: Python's own library knows no frames, and so hides none.
"""

import json
import socket
import ssl
import sys

host, port, root = sys.argv[1], int(sys.argv[2]), sys.argv[3]


def connect():
    context = ssl.create_default_context(cafile=root)
    return context.wrap_socket(socket.create_connection((host, port), 30), server_hostname=host)


def head(stream):
    return b"".join(iter(lambda: stream.readline().rstrip(b"\r\n"), b""))


TOKEN = "Authorization: Bearer 0123456789abcdef\r\n"
socket_ = connect()
stream = socket_.makefile("rb")
socket_.sendall(("GET /channels/a HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" + TOKEN +
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n").encode())
assert head(stream).startswith(b"HTTP/1.1 101")
other = connect()


def frame():
    """The next frame: its first byte and its payload. Heartbeats come when they are due: pings of the server's."""
    first, length = stream.read(2)
    payload = stream.read(length)
    return frame() if first == 0x89 else (first, payload)


socket_.sendall(b"\x89\x85\0\0\0\0hello")
assert frame() == (0x8a, b"hello")
other.sendall(("POST /channels/a HTTP/1.1\r\nHost: x\r\n" + TOKEN + "Content-Length: 2\r\n\r\nhi").encode())
first, payload = frame()
assert first == 0x81 and json.loads(payload)["data"] == "hi"
socket_.sendall(b"\x81\x01hi")
first, payload = frame()
assert first == 0x88 and payload[:2] == (1002).to_bytes(2, "big")
assert stream.read() == b""

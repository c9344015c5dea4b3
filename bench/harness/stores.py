"""The stores behind the servers of the group `stores`: an nginx that serves files, or our S3 double.

A store runs on the load's core and has one transfer, `bench`, with the objects of the running case's tree.
"""

from __future__ import annotations

import functools
import http.client
import json
import re
import time
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, List, Optional, Set

from .nginx import NginxTuned
from .peers import Peer, PeerError, Server, Start, port_of

TRANSFER = "bench"
# The same address on Outflow and on a proxy.
PREFIX = f"/t/{TRANSFER}/"
BUCKET = "outflow"


@dataclass(frozen=True)
class Spec:
    """Which store a case wants, and what its manifest tells."""

    kind: str  # "nginx" or "s3"
    crc32: bool = False
    latency_ms: int = 0


class Double(Peer):
    """crates/testkit, over plain HTTP, with signed requests from Outflow and unsigned ones from us."""

    name = "outflow-s3-double"
    picks_port = True

    def __init__(self, binary: Path):
        self.binary = binary

    def command(self, start: Start) -> List[str]:
        return [str(self.binary), "--dir", str(start.root), "--anonymous", "--control", "127.0.0.1:0"]

    announced_port = staticmethod(port_of)


class Store:
    """A running store with its manifest written."""

    def __init__(self, spec: Spec, root: Path, scratch: Path, cores: Set[int], double: Path):
        self.spec, self.root = spec, root
        self.is_s3 = spec.kind == "s3"
        peer = Double(double) if self.is_s3 else NginxTuned()
        self.server = Server(peer, root, scratch, scratch / "cache", cores, connections=2048)
        self.folder = f"/{BUCKET}/{TRANSFER}/" if self.is_s3 else f"/{TRANSFER}/"
        try:
            self._publish()
            if spec.latency_ms:
                self._control("PUT", "/settings", {"latency_ms": spec.latency_ms})
        except BaseException:
            self.server.stop()
            raise

    @property
    def address(self) -> str:
        return f"s3://{BUCKET}/" if self.is_s3 else self.server.url("/")

    @property
    def environment(self) -> Dict[str, str]:
        if not self.is_s3:
            return {}
        # The double's own, see Double::ACCESS_KEY.
        return {
            "AWS_ENDPOINT_URL": self.server.url(""), "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "AKIDOUTFLOWDOUBLE", "AWS_SECRET_ACCESS_KEY": "outflow/double/secret/key/for/tests/only",
        }

    def path(self, name: str) -> str:
        """Where the store itself has an object of the transfer."""
        return f"{self.folder}files/{name}"

    def bytes_sent(self, name: str) -> int:
        """Bytes of this object that the double has sent so far."""
        return self._control("GET", "/stats")["bytes"].get(f"{TRANSFER}/files/{name}", 0)

    def most_connections(self) -> int:
        return self._control("GET", "/stats")["most_connections"]

    def _publish(self) -> None:
        connection = http.client.HTTPConnection(self.server.host, self.server.port, timeout=30)
        files = []
        for file in objects(self.root):
            connection.request("HEAD", self.path(file.name))
            answer = connection.getresponse()
            answer.read()
            if answer.status != 200 or not answer.getheader("etag"):
                raise PeerError(f"{self.server.peer.name} {file.name}: {answer.status}, {answer.getheaders()}")
            described = {"name": file.name, "size": file.stat().st_size, "etag": answer.getheader("etag")}
            if self.spec.crc32:
                described["crc32"] = f"{_crc32(file):08x}"
            files.append(described)
        manifest = json.dumps({"version": 1, "id": TRANSFER, "created": "2026-01-01T00:00:00Z", "files": files})
        if self.is_s3:
            connection.request("PUT", f"{self.folder}manifest.json", body=manifest.encode())
            answer = connection.getresponse()
            said = answer.read()
            if answer.status != 200:
                raise PeerError(f"the double refuses the manifest: {answer.status} {said[:500]!r}")
        else:
            (self.root / TRANSFER / "manifest.json").write_text(manifest)
        connection.close()

    def _control(self, method: str, path: str, order: Optional[dict] = None):
        # Its second line on stdout; it may take a moment longer than the first.
        for _ in range(50):
            found = re.search(r"control on http://[^/]*:(\d+)/\n", self.server.log())
            if found:
                break
            time.sleep(0.02)
        else:
            raise PeerError(f"the double does not tell where it takes orders:\n{self.server.log()}")
        connection = http.client.HTTPConnection(self.server.host, int(found.group(1)), timeout=30)
        try:
            connection.request(method, path, body=None if order is None else json.dumps(order))
            answer = connection.getresponse()
            said = answer.read()
            if answer.status != 200:
                raise PeerError(f"the double: {method} {path}: {answer.status} {said[:500]!r}")
            return json.loads(said) if said else None
        finally:
            connection.close()

    def __enter__(self) -> "Store":
        return self

    def __exit__(self, *_) -> None:
        self.server.stop()


def objects(root: Path) -> List[Path]:
    return sorted((root / TRANSFER / "files").iterdir())


@functools.lru_cache(maxsize=None)
def _crc32(path: Path) -> int:
    crc = 0
    with open(path, "rb", buffering=0) as file:
        while piece := file.read(4 << 20):
            crc = zlib.crc32(piece, crc)
    return crc

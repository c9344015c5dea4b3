"""Reads an archive with Python's zipfile and prints what it is as JSON.

Usage: check_zip.py FILE_OR_URL [--read=NAME]...

A file is tested whole. Of a URL just the directory is read, by ranges, and the entries named by --read.
Each entry is [name, size, crc, [year, month, day, hour, minute, second], mode, method, compressed size, offset].
"""

import io
import json
import sys
import urllib.request
import zipfile
import zlib


class Remote(io.RawIOBase):
    """A seekable file that asks for what is read, and no more."""

    def __init__(self, url):
        self.url, self.at, self.etag = url, 0, None
        head = self.ask("HEAD", {})
        self.length, self.etag = int(head.headers["Content-Length"]), head.headers["ETag"]

    def ask(self, method, headers):
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        return opener.open(urllib.request.Request(self.url, method=method, headers=headers), timeout=60)

    def readable(self):
        return True

    def seekable(self):
        return True

    def seek(self, offset, whence=0):
        self.at = offset + (0, self.at, self.length)[whence]
        return self.at

    def tell(self):
        return self.at

    def readinto(self, buffer):
        last = min(self.at + len(buffer), self.length) - 1
        if last < self.at:
            return 0
        answer = self.ask("GET", {"Range": f"bytes={self.at}-{last}", "If-Range": self.etag})
        assert answer.status == 206, answer.status
        assert answer.headers["Content-Range"] == f"bytes {self.at}-{last}/{self.length}"
        data = answer.read()
        buffer[: len(data)] = data
        self.at += len(data)
        return len(data)


def main():
    where, wanted = sys.argv[1], [arg.removeprefix("--read=") for arg in sys.argv[2:]]
    is_url = where.startswith("http:")
    source = io.BufferedReader(Remote(where), 1 << 16) if is_url else where
    with zipfile.ZipFile(source) as archive:
        infos = archive.infolist()
        result = {
            "entries": [
                [i.filename, i.file_size, i.CRC, i.date_time, i.external_attr >> 16, i.compress_type,
                 i.compress_size, i.header_offset]
                for i in infos
            ],
            "bad": None if is_url else archive.testzip(),
            "read": {name: zlib.crc32(archive.read(name)) for name in wanted},
            "ends": {name: archive.read(name)[-16:].decode("latin-1") for name in wanted},
        }
    json.dump(result, sys.stdout)


main()

"""nginx, as a server of files and as a proxy in front of a store."""

from __future__ import annotations

import os
import subprocess
import zlib
from pathlib import Path
from typing import List

from . import install
from .peers import OPEN_FILES, Peer, Start

# Debian's package of what a module is built with.
SOURCES = Path("/usr/share/nginx/src")


class Nginx(Peer):
    """Debian's nginx as its users run it, with one worker: sendfile, tcp_nopush, an access log, no open_file_cache."""

    name = "nginx"
    program = "nginx"
    packages = ["nginx"]
    groups = ("files", "published")
    offers = frozenset({"file", "folder", "tls", "h2", "h2c", "start"})
    modules = ""

    def version(self) -> str:
        found = subprocess.run(["nginx", "-v"], capture_output=True, text=True, check=True)
        return found.stderr.strip().replace("nginx version: ", "")

    def command(self, start: Start) -> List[str]:
        conf = start.scratch / "nginx.conf"
        temp = "\n".join(
            f"    {kind}_temp_path {start.scratch}/{kind};"
            for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        # A worker that gave up root could not read a private temporary folder.
        user = "user root;" if os.geteuid() == 0 else ""
        conf.write_text(f"""\
{self.modules}{user}
daemon off;
worker_processes 1;
pid {start.scratch}/nginx.pid;
error_log {start.scratch}/error.log warn;
worker_rlimit_nofile {OPEN_FILES};
events {{
    worker_connections {max(1024, start.connections)};
}}
http {{
    {self.logging(start)}
    sendfile on;
    tcp_nopush on;
    keepalive_requests 1000000000;
    types {{ }}
    default_type application/octet-stream;
{temp}
{self.site(start)}
}}
""")
        return ["nginx", "-e", str(start.scratch / "error.log"), "-p", str(start.scratch), "-c", str(conf)]

    def logging(self, start: Start) -> str:
        return f"access_log {start.scratch}/access.log;"

    def site(self, start: Start) -> str:
        how = (" ssl http2" if start.tls else "") + (" http2" if start.h2c else "")
        tls = ""
        if start.tls:
            tls = f"""
        ssl_certificate {start.tls.certificate};
        ssl_certificate_key {start.tls.key};
        ssl_protocols TLSv1.2 TLSv1.3;"""
        return f"""\
    server {{
        listen 127.0.0.1:{start.port}{how};
        root {start.root};{tls}
    }}"""


class NginxTuned(Nginx):
    """Debian's nginx with its log off and its open_file_cache on."""

    name = "nginx-tuned"

    def logging(self, start: Start) -> str:
        return "access_log off;\n    open_file_cache max=20000 inactive=60s;\n    open_file_cache_valid 30s;"


class ModZip(Nginx):
    """Debian's nginx with mod_zip, built from MOD_ZIP_SRC: an archive of a list that says each file's CRC-32."""

    name = "mod_zip"
    groups = ("files",)
    packages = ["nginx", "nginx-dev", "gcc", "make", "libpcre2-dev", "zlib1g-dev", "libssl-dev"]
    is_optional = True
    archives = True
    # Its answers have neither a tag nor, to HEAD, a length.
    heads = False

    def install(self, folder: Path) -> None:
        source = os.environ.get("MOD_ZIP_SRC")
        if not source:
            raise install.Missing("MOD_ZIP_SRC does not say where a checkout of mod_zip is")
        super().install(folder)
        module = install.nginx_module(Path(source).absolute(), SOURCES, folder, "ngx_http_zip_module.so")
        self.modules = f"load_module {module};\n"

    def site(self, start: Start) -> str:
        folder = start.root / "arch"
        lines = [
            f"{zlib.crc32(file.read_bytes()):08x} {file.stat().st_size} /files/{file.name} {file.name}\n"
            for file in sorted(folder.iterdir())
        ]
        # The list comes from an upstream, as it does from an app.
        (start.scratch / "list").write_text("".join(lines))
        return f"""\
    server {{
        listen unix:{start.scratch}/list.sock;
        location = /list {{
            access_log off;
            add_header X-Archive-Files zip;
            root {start.scratch};
        }}
    }}
    server {{
        listen 127.0.0.1:{start.port};
        location = /arch/ {{
            proxy_pass http://unix:{start.scratch}/list.sock:/list;
            proxy_buffers 64 64k;
        }}
        location /arch/ {{
            root {start.root};
        }}
        location /files/ {{
            alias {folder}/;
        }}
    }}"""


class NginxProxy(NginxTuned):
    """nginx's proxy_pass with large buffers, nothing written to disk, and connections to the store that are kept."""

    name = "nginx-proxy"
    groups = ("stores",)
    buffers = """\
            proxy_buffers 8 1m;
            proxy_buffer_size 1m;
            proxy_busy_buffers_size 4m;
            proxy_max_temp_file_size 0;
"""

    def site(self, start: Start) -> str:
        store, prefix = start.store, "/t/bench/"  # stores.PREFIX
        return f"""\
    upstream store {{
        server {store.server.host}:{store.server.port};
        keepalive 64;
    }}
    server {{
        listen 127.0.0.1:{start.port};
        location {prefix} {{
            proxy_pass http://store{store.path("")};
            proxy_http_version 1.1;
            proxy_set_header Connection "";
{self.buffers}        }}
    }}"""


class NginxProxyDefaults(NginxProxy):
    """nginx's proxy_pass as it comes, but for the kept connections."""

    name = "nginx-proxy-defaults"
    buffers = ""


PEERS = {peer.name: peer for peer in (Nginx, NginxTuned, ModZip, NginxProxy, NginxProxyDefaults)}

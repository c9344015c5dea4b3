"""nginx, as a server of files and as a proxy in front of a store."""

from __future__ import annotations

import os
import subprocess
from typing import List

from .peers import OPEN_FILES, Peer, Start


class Nginx(Peer):
    """Debian's nginx as its users run it, with one worker: sendfile, tcp_nopush, no open_file_cache."""

    name = "nginx"
    program = "nginx"
    packages = ["nginx"]
    groups = ("files", "published")
    offers = frozenset({"file", "folder", "tls", "h2", "h2c", "start"})

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
{user}
daemon off;
worker_processes 1;
pid {start.scratch}/nginx.pid;
error_log {start.scratch}/error.log warn;
worker_rlimit_nofile {OPEN_FILES};
events {{
    worker_connections {max(1024, start.connections)};
}}
http {{
    access_log off;
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


class NginxProxy(Nginx):
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


PEERS = {peer.name: peer for peer in (Nginx, NginxProxy, NginxProxyDefaults)}

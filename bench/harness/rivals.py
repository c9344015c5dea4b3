"""The servers of the published comparison, one class each, beside those in peers.py.

Each is set up as its users do, with what makes the work the same: one worker or thread, no access log, connections kept
for as long as they are asked for something.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import List

from . import install
from .peers import OPEN_FILES, Peer, Start, first_line

SOURCES = Path(__file__).resolve().parent.parent / "peers"
WEB = frozenset({"file", "folder", "tls", "h2", "start"})


class Rival(Peer):
    groups = ("published",)


class Crate(Rival):
    """A Rust program, of a version that is fixed so that a run can be repeated."""

    crate, crate_version = "", ""

    def install(self, folder: Path) -> None:
        self.program = str(install.cargo(self.crate, self.crate_version, folder))

    def version(self) -> str:
        return self.crate_version


class Kcup(Crate):
    """One file from memory (hyper 0.14). It starts with text only, and knows neither HEAD nor Range."""

    name, crate, crate_version = "kcup", "kcup", "0.2.1"
    offers = frozenset({"file", "tls-file", "start"})
    heads = False

    def command(self, start: Start) -> List[str]:
        tls = ["--tls-cert", str(start.tls.certificate), "--tls-key", str(start.tls.key)] if start.tls else []
        return [self.program, "--file", str(start.file), "--host", "127.0.0.1", "--port", str(start.port), *tls]

    def environment(self, start: Start) -> dict:
        return {"LOG_LEVEL": "warn"}


class Miniserve(Crate):
    """actix-web."""

    name, crate, crate_version = "miniserve", "miniserve", "0.35.0"
    offers = WEB | {"archive"}
    archive_query = "?download=zip"

    def command(self, start: Start) -> List[str]:
        tls = ["--tls-cert", str(start.tls.certificate), "--tls-key", str(start.tls.key)] if start.tls else []
        return [
            self.program, "--interfaces", "127.0.0.1", "--port", str(start.port), "--workers", "1", "--quiet",
            "--enable-zip", "--enable-tar", *tls, str(start.root),
        ]


class MiniserveTar(Miniserve):
    """miniserve makes its ZIP in memory and streams only TAR; both take part."""

    name = "miniserve-tar"
    offers = frozenset({"archive"})
    archive_query = "?download=tar"


class Dufs(Crate):
    """hyper 1; archives stored, not compressed, as everybody's here."""

    name, crate, crate_version = "dufs", "dufs", "0.47.0"
    offers = WEB | {"archive"}

    def command(self, start: Start) -> List[str]:
        tls = ["--tls-cert", str(start.tls.certificate), "--tls-key", str(start.tls.key)] if start.tls else []
        return [
            self.program, "--bind", "127.0.0.1", "--port", str(start.port), "--allow-archive", "--compress", "none",
            "--log-format", "", *tls, str(start.root),
        ]


class StaticWebServer(Crate):
    """hyper 0.14, a runtime of one thread."""

    name, crate, crate_version = "static-web-server", "static-web-server", "2.44.1"
    offers = WEB

    def command(self, start: Start) -> List[str]:
        tls = []
        if start.tls:
            tls = ["--http2", "true", "--http2-tls-cert", str(start.tls.certificate), "--http2-tls-key", str(start.tls.key)]
        return [
            self.program, "--host", "127.0.0.1", "--port", str(start.port), "--root", str(start.root),
            "--threads-multiplier", "1", "--log-level", "error", *tls,
        ]


class Caddy(Rival):
    """Debian's caddy."""

    name, program, packages = "caddy", "caddy", ["caddy"]
    offers = WEB | {"h2c"}

    def version(self) -> str:
        return first_line(["caddy", "version"])

    def command(self, start: Start) -> List[str]:
        config = start.scratch / "Caddyfile"
        tls = f"tls {start.tls.certificate} {start.tls.key}" if start.tls else ""
        address = f"{'https' if start.tls else 'http'}://127.0.0.1:{start.port}"
        config.write_text(f"""\
{{
    admin off
    auto_https disable_redirects
    skip_install_trust
    default_sni 127.0.0.1
    storage file_system {start.scratch}/storage
    servers {{
        protocols h1 h2{" h2c" if start.h2c else ""}
    }}
}}
{address} {{
    bind 127.0.0.1
    {tls}
    root * {start.root}
    file_server
}}
""")
        return ["caddy", "run", "--config", str(config), "--adapter", "caddyfile"]

    def environment(self, start: Start) -> dict:
        # Its goroutines on one thread, as they have one core.
        return {"GOMAXPROCS": "1", "HOME": str(start.scratch), "XDG_DATA_HOME": str(start.scratch), "XDG_CONFIG_HOME": str(start.scratch)}


class H2o(Rival):
    """Debian's h2o 2.2, which is older than its sendfile."""

    name, program, packages = "h2o", "h2o", ["h2o"]
    offers = WEB | {"h2c"}

    def version(self) -> str:
        return first_line(["h2o", "--version"]).replace("h2o version ", "")

    def command(self, start: Start) -> List[str]:
        config = start.scratch / "h2o.conf"
        tls = ""
        if start.tls:
            tls = f"\n  ssl:\n    certificate-file: {start.tls.certificate}\n    key-file: {start.tls.key}\n    ocsp-update-interval: 0"
        # It would otherwise become nobody, who cannot read a private temporary folder.
        user = "user: root\n" if os.geteuid() == 0 else ""
        config.write_text(f"""\
{user}num-threads: 1
max-connections: {max(1024, start.connections)}
listen:
  host: 127.0.0.1
  port: {start.port}{tls}
hosts:
  default:
    paths:
      "/":
        file.dir: {start.root}
""")
        return ["h2o", "-c", str(config)]


class Lighttpd(Rival):
    """Debian's lighttpd, one process."""

    name, program = "lighttpd", "lighttpd"
    packages = ["lighttpd", "lighttpd-mod-openssl"]
    offers = WEB | {"h2c"}

    def version(self) -> str:
        return first_line(["lighttpd", "-v"]).split(" - ")[0].replace("lighttpd/", "")

    def command(self, start: Start) -> List[str]:
        config = start.scratch / "lighttpd.conf"
        tls = ""
        if start.tls:
            tls = f"""\
server.modules += ("mod_openssl")
ssl.engine = "enable"
ssl.pemfile = "{start.tls.certificate}"
ssl.privkey = "{start.tls.key}"
"""
        config.write_text(f"""\
server.document-root = "{start.root}"
server.bind = "127.0.0.1"
server.port = {start.port}
server.errorlog = "{start.scratch}/error.log"
server.max-fds = {OPEN_FILES}
server.max-connections = {max(1024, start.connections)}
server.max-keep-alive-requests = 65535
mimetype.assign = ("" => "application/octet-stream")
{tls}""")
        return ["lighttpd", "-D", "-f", str(config)]


class FastHttp(Rival):
    """A small Go program of ours with Debian's fasthttp: one file from memory."""

    name, packages = "fasthttp", ["golang-go", "golang-github-valyala-fasthttp-dev"]
    offers = frozenset({"file", "start"})

    def install(self, folder: Path) -> None:
        install.debian(self.packages)
        self.program = str(install.go(SOURCES / "fasthttp-file.go", folder))

    def version(self) -> str:
        return f"fasthttp {install.version_of(self.packages[1])}, {first_line(['go', 'version']).replace('go version ', '')}"

    def command(self, start: Start) -> List[str]:
        return [self.program, f"127.0.0.1:{start.port}", str(start.file)]


class FastSend(Rival):
    """fast_send in Debian's Puma, threads as Puma has them by default. Each answer closes its connection."""

    name, packages = "fast_send", ["puma", "ruby-rack"]
    offers = frozenset({"file"})
    heads = False

    def install(self, folder: Path) -> None:
        install.debian(self.packages)
        # A checkout of it does where no registry of gems can be reached.
        checkout = os.environ.get("FAST_SEND_LIB")
        self.lib = Path(checkout) if checkout else install.gem("fast_send", folder)

    def version(self) -> str:
        done = subprocess.run(
            ["ruby", "-I", str(self.lib), "-r", "fast_send", "-e", "puts FastSend::VERSION"], capture_output=True, text=True,
        )
        return f"fast_send {done.stdout.strip() or 'of unknown version'}, {first_line(['puma', '--version'])}"

    def command(self, start: Start) -> List[str]:
        return ["puma", "--bind", f"tcp://127.0.0.1:{start.port}", "--environment", "production", "--quiet", str(SOURCES / "fast_send.ru")]

    def environment(self, start: Start) -> dict:
        return {"RUBYLIB": str(self.lib), "FILE": str(start.file), "HOME": str(start.scratch)}


RIVALS = {
    peer.name: peer
    for peer in (Kcup, Miniserve, MiniserveTar, Dufs, StaticWebServer, Caddy, H2o, Lighttpd, FastHttp, FastSend)
}

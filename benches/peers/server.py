"""The servers that everybody is measured against: nginx with one worker, and the project's own test server for delays.

Both listen on 127.0.0.1 and are context managers: they are gone when the block is left, whatever happened in it.
"""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from measure import busy_of_process_s

START_TIMEOUT_S = 10
STOP_TIMEOUT_S = 5


class Missing(Exception):
    """Something has to be installed or built first; the message is the one line that says so."""


@dataclass(frozen=True)
class Seen:
    """Counters of a server since its start."""

    requests: int
    connections: int
    cpu_s: float

    def __sub__(self, earlier: Seen) -> Seen:
        return Seen(
            self.requests - earlier.requests, self.connections - earlier.connections, self.cpu_s - earlier.cpu_s
        )


NGINX_CONF = """\
daemon off;
pid {prefix}/nginx.pid;
error_log {prefix}/error.log crit;
worker_processes 1;
worker_rlimit_nofile {open_files};
{user_line}
events {{ worker_connections {connections}; }}
http {{
    access_log off;
    default_type text/plain;
    client_body_temp_path {prefix}/temp-body;
    proxy_temp_path {prefix}/temp-proxy;
    fastcgi_temp_path {prefix}/temp-fastcgi;
    uwsgi_temp_path {prefix}/temp-uwsgi;
    scgi_temp_path {prefix}/temp-scgi;
    keepalive_timeout 60s;
    keepalive_requests 1000000000;
    sendfile on;
    tcp_nodelay on;
    open_file_cache max=16;
    server {{
        listen {address}:{port} backlog=4096;
        {location}
    }}
    {tls}
    server {{
        listen 127.0.0.1:{status_port};
        location / {{ stub_status; }}
    }}
}}
"""


class Nginx:
    """nginx with one worker and keep-alive, which answers every path with the same body of `body_bytes`."""

    def __init__(
        self,
        folder: Path,
        body_bytes: int,
        parallel: int,
        address: str = "127.0.0.1",
        connections: int = 1024,
        certificate: Path | None = None,
    ) -> None:
        """With a `certificate`, and its key in the same file, it listens on `tls_port` as well."""
        program = find_nginx()
        if program is None:
            raise Missing("nginx is not installed: `apt-get install nginx-light` or the like, then run again")
        self._prefix = folder / "nginx"
        self._prefix.mkdir()
        self.port, self.tls_port, self._status_port = free_ports(3)
        self.url = f"http://127.0.0.1:{self.port}"
        self._write_config(body_bytes, max(connections, 2 * parallel), address, certificate)
        command = [program, "-p", str(self._prefix), "-e", str(self._prefix / "error.log")]
        with open(self._prefix / "start.log", "wb") as log:
            self._process = subprocess.Popen(
                [*command, "-c", str(self._prefix / "nginx.conf")],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
            )

    def _write_config(self, body_bytes: int, connections: int, address: str, certificate: Path | None) -> None:
        body = "x" * body_bytes
        if body_bytes <= 2048:  # a word of nginx's configuration is at most 4 KB
            location = f'location / {{ return 200 "{body}"; }}'
        else:
            (self._prefix / "body").write_text(body)
            location = f"location / {{ root {self._prefix}; try_files /body =404; }}"
        # Started by root, a worker would become `nobody`, who may not read our temporary folder.
        user_line = f"user {pwd.getpwuid(0).pw_name};" if os.geteuid() == 0 else ""
        tls = ""
        if certificate:
            listen = f"listen {address}:{self.tls_port} ssl backlog=4096;"
            keys = f"ssl_certificate {certificate}; ssl_certificate_key {certificate};"
            tls = f"server {{ {listen} {keys} {location} }}"
        text = NGINX_CONF.format(
            address=address,
            tls=tls,
            prefix=self._prefix,
            port=self.port,
            status_port=self._status_port,
            location=location,
            user_line=user_line,
            connections=connections,
            open_files=connections + 64,
        )
        (self._prefix / "nginx.conf").write_text(text)

    def __enter__(self) -> Nginx:
        try:
            self._wait_until_it_answers()
            return self
        except BaseException:  # the block is never entered, so nobody else would stop it
            stop(self._process)
            raise

    def _wait_until_it_answers(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            try:
                self._status_text()
                return
            except OSError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    why = (self._prefix / "start.log").read_text().strip()
                    raise Missing(f"nginx did not start: {why}") from None
                time.sleep(0.02)

    def __exit__(self, *_: object) -> None:
        stop(self._process)

    @property
    def pids(self) -> list[int]:
        """The processes that do the work."""
        master = self._process.pid
        return [int(pid) for pid in Path(f"/proc/{master}/task/{master}/children").read_text().split()]

    def seen(self) -> Seen:
        """What the server has seen so far, this look at its counters included."""
        accepted, _handled, requests = map(int, self._status_text().splitlines()[2].split())
        return Seen(requests, accepted, sum(busy_of_process_s(pid) for pid in self.pids))

    def seen_since(self, earlier: Seen) -> Seen:
        """What came after `earlier`, without our own look at the counters."""
        seen = self.seen() - earlier
        return Seen(seen.requests - 1, seen.connections - 1, seen.cpu_s)

    def version(self) -> str:
        return nginx_version() or "?"

    def _status_text(self) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self._status_port}/", timeout=5) as answer:
            return answer.read().decode()


class Testkit:
    """The project's test server: `/delay/MS` and `/experiment/K` answer late. It ends with our end of its input."""

    def __init__(self, program: Path, scale: float = 1.0, limit_s: float = 600) -> None:
        if not program.is_file():
            raise Missing("the test server is not built: `cargo build --release -p overlapped-testkit`")
        self._process = subprocess.Popen(
            [str(program), "--until-eof", "--scale", str(scale), "--seconds", str(limit_s)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        self.url = self._process.stdout.readline().strip().rstrip("/")

    def __enter__(self) -> Testkit:
        if not self.url:
            stop(self._process)
            raise Missing("the test server did not start")
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        stop(self._process)

    @property
    def pids(self) -> list[int]:
        return [self._process.pid]


def find_nginx() -> str | None:
    """nginx often lives where only root's PATH looks."""
    return shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/sbin")


def nginx_version() -> str | None:
    program = find_nginx()
    if program is None:
        return None
    text = subprocess.run([program, "-v"], capture_output=True, text=True, check=False).stderr
    return text.strip().rpartition("/")[2]


def free_ports(count: int) -> list[int]:
    """Ports that are free now; all are held until all are known, so that they differ."""
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [server.getsockname()[1] for server in held]
    for server in held:
        server.close()
    return ports


def stop(process: subprocess.Popen) -> None:
    """Ends a server: first by asking, then by force."""
    if process.poll() is None:
        process.terminate()
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()

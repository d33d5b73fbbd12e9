#!/usr/bin/env python3
"""HTTP/2 over TLS from one host: this program beside curl and h2load, and beside itself over HTTP/1.1.

    cargo build --release -p overlapped-cli
    python3 benches/http2/run.py                 # 100,000 rows, 64 at once, nghttpd and nginx, five rounds
    python3 benches/http2/run.py --rows 20000 --rounds 3 --program target/release/overlapped

It needs Linux, openssl, curl, and of nghttpd, h2load and nginx those that are installed. The programs run in turn, each round
in another order; the figures are medians. CPU is the kernel's account of the program; the server's is not in it. `others`
says how many processors were busy with something else.
"""

from __future__ import annotations

import argparse
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "peers"))
import measure  # noqa: E402

BYTES = 1024
STREAMS = 64

NGINX = """
daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ worker_connections 1024; }}
http {{
  access_log off; keepalive_requests 10000000; client_body_temp_path {folder}; proxy_temp_path {folder};
  fastcgi_temp_path {folder}; uwsgi_temp_path {folder}; scgi_temp_path {folder};
  server {{ listen 127.0.0.1:{port} ssl http2; ssl_certificate {folder}/srv.pem; ssl_certificate_key {folder}/srv.key; root {folder}/www; }}
}}
"""


def certificates(folder: Path) -> None:
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    openssl = ["openssl"]
    quiet = {"cwd": folder, "check": True, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    subprocess.run(
        [*openssl, "req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.pem", "-days", "30", "-subj", "/CN=bench CA"], **quiet
    )
    subprocess.run([*openssl, "req", *key, "-keyout", "srv.key", "-out", "srv.csr", "-subj", "/CN=localhost"], **quiet)
    (folder / "ext").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1")
    sign = ["x509", "-req", "-in", "srv.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-extfile", "ext"]
    subprocess.run([*openssl, *sign, "-out", "srv.pem", "-days", "30"], **quiet)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def start(command: list[str], port: int) -> subprocess.Popen:
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 10
    while not listens(port):
        if server.poll() is not None or time.monotonic() > deadline:
            raise SystemExit(f"{command[0]} does not start")
        time.sleep(0.01)
    return server


def clients(program: str, folder: Path, url: str, rows: int) -> dict[str, list[str]]:
    (folder / "list").write_text(f"{url}\n" * rows)
    (folder / "curl").write_text(f'url = "{url}"\noutput = "/dev/null"\n' * rows)
    ours = [program, f"@{folder}/list", "-o", "/dev/null", "--cacert", f"{folder}/ca.pem", "-j", str(STREAMS), "-s"]
    ours += ["--durability", "none", "--summary", f"{folder}/summary"]
    found = {
        "overlapped": ours,
        "overlapped --http1.1": [*ours, "--http1.1"],
        "curl -Z --http2": [
            "curl", "-s", "-Z", "--http2", "--parallel-max", str(STREAMS), "--cacert", f"{folder}/ca.pem", "-K", f"{folder}/curl",
        ],
    }
    if shutil.which("h2load"):
        found["h2load"] = ["h2load", "-n", str(rows), "-c", "1", "-m", str(STREAMS), url]
    return found


def measured(name: str, command: list[str], folder: Path, server: subprocess.Popen) -> measure.Cost:
    cost = measure.run(command, folder, 600, [server.pid])
    if cost.exit_code != 0:
        raise SystemExit(f"{name} ended with {cost.exit_code}: {(folder / 'stderr').read_text()[-500:]}")
    return cost


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", default="target/release/overlapped")
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    program = str(Path(arguments.program).resolve())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        certificates(folder)
        (folder / "www").mkdir()
        (folder / "www" / "1k").write_bytes(b"x" * BYTES)
        os.chmod(folder, 0o755)
        for kind in ("nghttpd", "nginx"):
            if not shutil.which(kind):
                print(f"{kind} is not installed")
                continue
            port = free_port()
            if kind == "nghttpd":
                command = ["nghttpd", str(port), str(folder / "srv.key"), str(folder / "srv.pem"), "-d", str(folder / "www")]
            else:
                (folder / "nginx.conf").write_text(NGINX.format(folder=folder, port=port))
                command = ["nginx", "-c", str(folder / "nginx.conf"), "-p", str(folder)]
            server = start(command, port)
            try:
                table(kind, program, folder, f"https://127.0.0.1:{port}/1k", arguments, server)
            finally:
                server.terminate()
                server.wait()


def table(kind: str, program: str, folder: Path, url: str, arguments: argparse.Namespace, server: subprocess.Popen) -> None:
    programs = clients(program, folder, url, arguments.rows)
    if kind == "nghttpd":
        del programs["overlapped --http1.1"]  # nghttpd speaks HTTP/2 only
    costs: dict[str, list[measure.Cost]] = {name: [] for name in programs}
    for round_number in range(arguments.rounds):
        names = list(programs)
        turned = names[round_number % len(names) :] + names[: round_number % len(names)]
        for name in turned:
            costs[name].append(measured(name, programs[name], folder, server))
    print(f"\n{kind}, {arguments.rows:,} rows of {BYTES} bytes, {STREAMS} at once, {arguments.rounds} rounds\n")
    print("| program | requests/s | CPU s/100k | peak MB | our rate | our CPU | others |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for name, runs in costs.items():
        rate = statistics.median(arguments.rows / run.wall_s for run in runs)
        cpu = statistics.median(run.cpu_s * 100_000 / arguments.rows for run in runs)
        peak = statistics.median((run.peak_rss_bytes or 0) / 1e6 for run in runs)
        pairs = list(zip(costs["overlapped"], runs))
        our_rate = statistics.median(theirs.wall_s / ours.wall_s for ours, theirs in pairs)
        our_cpu = statistics.median(ours.cpu_s / theirs.cpu_s for ours, theirs in pairs)
        others = statistics.median(run.others_cores for run in runs)
        print(f"| {name} | {rate:,.0f} | {cpu:.3f} | {peak:.1f} | {our_rate:.2f} x | {our_cpu:.2f} x | {others:.1f} |", flush=True)


if __name__ == "__main__":
    main()

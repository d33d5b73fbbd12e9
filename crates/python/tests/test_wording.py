"""What the package says of a failure names settings as its callers write them, and no flag of the program."""

from __future__ import annotations

import asyncio
import datetime
import json
import os
import re
import socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import overlapped
import pyarrow
import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from overlapped import requests
from serving import OK, served

Url = Callable[[str], str]


def _check(message: str | None, *wanted: str) -> None:
    """That a message names these settings, and no flag."""
    assert message is not None
    for words in wanted:
        assert words in message, message
    assert re.search(r"(^|[\s(])--?[a-z]", message) is None, message


def _of_fetch(row: Any, **options: Any) -> str | None:
    """The message of a row, which all ways of taking it must have alike."""
    (record,) = overlapped.fetch([row], retries=0, **options)
    ((batched,),) = overlapped.fetch([row], retries=0, **options).batches()
    (arrow,) = pyarrow.table(overlapped.fetch([row], retries=0, **options))["error_message"].to_pylist()
    # Some messages have what was measured, such as bytes.
    kinds = {re.sub(r"\d+", "", message or "") for message in (record.error_message, batched.error_message, arrow)}
    assert len(kinds) == 1
    return record.error_message


def _of_sessions(error: type[Exception], address: str, **settings: Any) -> list[str]:
    """The messages of a session, of an awaited one, and of a body that is read later."""

    async def awaited() -> str:
        async with overlapped.AsyncSession() as session:
            with pytest.raises(error) as raised:
                await session.get(address, **settings)
        return str(raised.value)

    with requests.Session() as session:
        with pytest.raises(error) as raised:
            session.get(address, **settings)
        with pytest.raises(error) as streamed:
            session.get(address, stream=True, **settings).content  # noqa: B018
        return [str(raised.value), str(streamed.value), asyncio.run(awaited())]


@pytest.fixture
def unknown_authority() -> Iterator[str]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("localhost").configure_cert(context)
    with served(lambda reader: reader.connection.sendall(OK) if reader.head() else None, context) as base:
        yield base


@pytest.fixture
def self_signed(tmp_path: Path) -> Iterator[str]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "self.test")])
    now = datetime.datetime.now(datetime.timezone.utc)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(now).not_valid_after(now + datetime.timedelta(1))
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
    path = tmp_path / "self.pem"
    encoding = serialization.Encoding.PEM
    private = key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.write_bytes(builder.sign(key, hashes.SHA256()).public_bytes(encoding) + private)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    with served(lambda reader: reader.connection.sendall(OK) if reader.head() else None, context) as base:
        yield base


@pytest.mark.parametrize(
    ("server", "what"), [("unknown_authority", "an authority that is not trusted here"), ("self_signed", "is signed by itself")]
)
def test_a_certificate_that_is_not_trusted(request: pytest.FixtureRequest, server: str, what: str, tmp_path: Path) -> None:
    base = request.getfixturevalue(server)
    _check(_of_fetch(base), what, 'ca_file="FILE"', 'insecure_hosts=["localhost"]')
    for message in _of_sessions(requests.exceptions.SSLError, base):
        _check(message, what, 'verify="FILE"', "verify=False")
    # What is written is a record of the program.
    out = tmp_path / "out.ndjson"
    overlapped.fetch([base], retries=0, out=out).wait()
    assert "--cacert FILE" in json.loads(out.read_text())["error_message"]


def test_a_time_that_is_over(url: Url) -> None:
    _check(_of_fetch(url("/silent"), timeout=0.1), "(timeout)")
    for path in ("/silent", "/stall?after=5&length=10"):
        for message in _of_sessions(requests.exceptions.RequestException, url(path), timeout=(5, 0.1)):
            _check(message)


def test_a_connection_that_does_not_come_about() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        address = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        filling = []
        for _ in range(4):
            client = socket.socket()
            client.setblocking(False)
            client.connect_ex(listener.getsockname())
            filling.append(client)
        _check(_of_fetch(address, connect_timeout=0.1), "(connect_timeout)")
        for message in _of_sessions(requests.exceptions.ConnectTimeout, address, timeout=(0.1, 5)):
            _check(message, "timeout")
        for client in filling:
            client.close()


def test_what_options_do_not_allow(url: Url) -> None:
    _check(_of_fetch(url("/bytes/100"), max_body=10), "(max_body)")
    refused = _of_fetch(url("/ok"), public_only=True)
    _check(refused, "127.0.0.1", "may not be dialled")
    assert refused is not None and refused.endswith(("dialled", ")"))
    _check(_of_fetch({"url": url("/ok"), "body_file": "one"}), 'body_dir="DIR" allows')
    _check(_of_fetch({"url": url("/ok"), "headers": {"Proxy-Authorization": "x"}}), 'proxies="http://NAME:PASSWORD@HOST"')


def test_a_host_that_is_away() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"http://127.0.0.1:{listener.getsockname()[1]}/"
    records = list(overlapped.fetch([address] * 40, host_down_after=0.2, per_host=1))
    messages = [record.error_message for record in records]
    assert any("(host_down_after)" in (message or "") for message in messages), messages
    for message in messages:
        _check(message)


def _raised(*args: Any, **options: Any) -> str:
    with pytest.raises((OSError, RuntimeError, ValueError)) as raised:
        overlapped.fetch(*args, **options).wait()
    return str(raised.value)


def test_a_run_that_cannot_go_on(url: Url, tmp_path: Path) -> None:
    out = tmp_path / "out.ndjson"

    def broken() -> Iterator[str]:
        yield url("/ok")
        raise KeyError("broken")

    with pytest.raises(KeyError):
        overlapped.fetch(broken(), out=out).wait()
    _check(_raised([url("/ok")], out=out), "resume=True")
    written = out.read_bytes()
    out.write_bytes(b"something else, and not shorter than what was written" * 40)
    _check(_raised([url("/ok")], out=out, resume=True), "overwrite=True")
    out.write_bytes(written)
    state = tmp_path / "out.ndjson.run"
    for name in ("job.json", "journal-1.log", "intents-1.log", "snapshot-1"):
        contents = (state / name).read_bytes()
        (state / name).write_bytes(b"damaged" + contents[7:])
        advice = "overwrite=True" if name == "job.json" else name
        _check(_raised([url("/ok")], out=out, resume=True), name, advice)
        (state / name).write_bytes(contents)
    (state / "snapshot-1").unlink()
    _check(_raised([url("/ok")], out=out, resume=True), "overwrite=True")


def test_lists_and_settings(url: Url, tmp_path: Path) -> None:
    table = tmp_path / "list.csv"
    table.write_text("link,other\nhttp://127.0.0.1:1/,1\n")
    _check(_raised(table), "link, other")
    table.write_text("URL,other\nhttp://127.0.0.1:1/,1\n")
    _check(_raised(table), "URL, other")
    (tmp_path / "ca.pem").write_text("no certificate")
    _check(_raised([url("/ok")], ca_file=tmp_path / "ca.pem"), "ca_file: ")
    with pytest.raises(OSError) as raised:
        requests.get("https://127.0.0.1:1/", verify=str(tmp_path / "ca.pem"))
    _check(str(raised.value))
    os.mkfifo(tmp_path / "out.ndjson")
    _check(_raised([url("/ok")], out=tmp_path / "out.ndjson", overwrite=True), "it is not a plain file")

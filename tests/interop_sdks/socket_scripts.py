"""A service by WebSocket that says what a capture says, and waits where the capture's caller said something."""

from __future__ import annotations

import datetime
import ipaddress
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from websockets.asyncio.server import serve

from streamgauge import capture
from streamgauge.wire import Aside

CAPTURES = Path(__file__).parent.parent / "captures"

__all__ = ["Script", "certified", "scripted"]


class Script:
    """What both sides say, in order."""

    def __init__(self, name: str) -> None:
        self.file = CAPTURES / f"{name}.ndjson"
        self.turns: list[tuple[list[Any], list[Any]]] = [([], [])]
        """(what the caller says, what the agent then says)."""
        for event in capture.read(self.file).events:
            if not isinstance(event.data, Aside):
                self.turns[-1][1].append(event.data)
            elif event.data.name == "sent":
                if self.turns[-1][1]:
                    self.turns.append(([], []))
                self.turns[-1][0].append(event.data.data["data"])
        self.heard: list[Any] = []
        self.headers: list[Any] = []

    async def serve(self, socket: Any) -> None:
        self.headers.append(socket.request.headers)
        for asked, answers in self.turns:
            for _ in asked:
                self.heard.append(await socket.recv())
            for answer in answers:
                await socket.send(answer)
        await socket.wait_closed()


@asynccontextmanager
async def scripted(script: Script, **options: Any) -> AsyncIterator[str]:
    """Its host and port."""
    async with serve(script.serve, "127.0.0.1", 0, **options) as server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"


@contextmanager
def certified(folder: Path) -> Iterator[tuple[ssl.SSLContext, ssl.SSLContext]]:
    """(a server's, its client's), with a certificate of its own for the loopback."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "loopback")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    file = folder / "loopback.pem"
    file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(file)
    yield server, ssl.create_default_context(cafile=str(file))

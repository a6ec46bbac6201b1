"""A time-stamping authority for tests: OpenSSL's own, with certificates made here, on loopback."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from rfc3161_client import HashAlgorithm, TimestampRequestBuilder, decode_timestamp_response

from tests.loopback import serving_http

OPENSSL_S_MAX = 60
TST_INFO = "1.2.840.113549.1.9.16.1.4"
GRANTED = bytes.fromhex("3003020100")
"""PKIStatusInfo with the status 0."""
CERTIFICATE_DAYS = (-30, 3650)


@dataclass(frozen=True)
class Certified:
    """A certificate and its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def pem(self) -> bytes:
        """The certificate as auditors get it."""
        return self.certificate.public_bytes(Encoding.PEM)


def certify(
    name: str,
    issuer: Certified | None = None,
    *,
    purpose: x509.ObjectIdentifier | None = None,
    critical: bool = True,
    days: tuple[int, int] = CERTIFICATE_DAYS,
) -> Certified:
    """A certificate: self-signed without an `issuer`, an authority's without a `purpose`; `days` from now."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = (
        x509.CertificateBuilder(subject_name=subject, public_key=key.public_key())
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + timedelta(days=days[0]))
        .not_valid_after(now + timedelta(days=days[1]))
        .add_extension(x509.BasicConstraints(ca=purpose is None, path_length=None), critical=True)
    )
    if purpose is not None:
        builder = builder.add_extension(x509.ExtendedKeyUsage([purpose]), critical=critical)
    return Certified(builder.sign(issuer.key if issuer else key, hashes.SHA256()), key)


def certify_tsa(name: str, issuer: Certified | None = None, **more: object) -> Certified:
    """A certificate that may sign timestamps."""
    return certify(name, issuer, purpose=ExtendedKeyUsageOID.TIME_STAMPING, **more)  # type: ignore[arg-type] # ours


class Tsa:
    """OpenSSL's time-stamping authority with one certificate; `options` are lines of its configuration."""

    def __init__(
        self, folder: Path, signer: Certified, *, chain: tuple[Certified, ...] = (), options: str = ""
    ) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "signer.pem").write_bytes(signer.pem)
        (folder / "signer.key").write_bytes(
            signer.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        )
        (folder / "chain.pem").write_bytes(b"".join(one.pem for one in chain))
        lines = [
            "[tsa]", "serial = serial", "signer_cert = signer.pem", "signer_key = signer.key",
            "default_policy = 1.2.3.4.1", "digests = sha256, sha512", "signer_digest = sha256",
            "ess_cert_id_alg = sha256", *(["certs = chain.pem"] if chain else []), options, "",
        ]  # fmt: skip
        (folder / "tsa.cnf").write_text("\n".join(lines))

    def answer(self, query: bytes) -> bytes:
        """The response to a request; a refusal is one, too."""
        (self.folder / "serial").write_text("01\n")
        (self.folder / "query").write_bytes(query)
        self.openssl(
            "ts", "-reply", "-queryfile", "query", "-config", "tsa.cnf", "-section", "tsa", "-out", "reply"
        )
        return (self.folder / "reply").read_bytes()

    def stamp(self, message: bytes) -> bytes:
        """The response to a request over `message`."""
        return self.answer(query_over(message))

    def forge(
        self, response: bytes, *extra: Certified, edit: Callable[[bytes], bytes] = lambda info: info
    ) -> bytes:
        """What a genuine token says, edited and signed by this certificate, whatever that may sign."""
        token = decode_timestamp_response(response).time_stamp_token()
        (self.folder / "token").write_bytes(token)
        (self.folder / "extra.pem").write_bytes(b"".join(one.pem for one in extra))
        self.openssl(
            "cms", "-verify", "-noverify", "-binary", "-inform", "DER", "-in", "token", "-out", "info"
        )
        (self.folder / "info").write_bytes(edit((self.folder / "info").read_bytes()))
        self.openssl(
            "cms", "-sign", "-binary", "-nodetach", "-cades", "-nosmimecap", "-md", "sha256",
            "-econtent_type", TST_INFO, "-in", "info", "-outform", "DER", "-out", "forged",
            "-signer", "signer.pem", "-inkey", "signer.key",
            *(["-certfile", "extra.pem"] if extra else []),
        )  # fmt: skip
        return sequence(GRANTED + (self.folder / "forged").read_bytes())

    def openssl(self, *args: str) -> str:
        """Run it in the authority's folder; answers what it printed."""
        done = subprocess.run(
            ["openssl", *args], cwd=self.folder, capture_output=True, check=False, timeout=OPENSSL_S_MAX
        )
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode()


def query_over(message: bytes) -> bytes:
    """A request over `message`, as crownest makes it."""
    return TimestampRequestBuilder(message, HashAlgorithm.SHA256).build().as_bytes()


def sequence(content: bytes) -> bytes:
    """A DER SEQUENCE of 256 to 65535 bytes."""
    return b"\x30\x82" + len(content).to_bytes(2, "big") + content


@dataclass
class TsaServer:
    """Answers requests with `answer`, with this status and these headers."""

    answer: Callable[[bytes], bytes]
    url: str = ""
    status: int = 200
    headers: dict[str, str] = field(default_factory=lambda: {"content-type": "application/timestamp-reply"})
    queries: list[tuple[str, bytes]] = field(default_factory=list[tuple[str, bytes]])
    """Content type and body of each request."""


@contextlib.contextmanager
def serving_tsa(answer: Callable[[bytes], bytes]) -> Iterator[TsaServer]:
    """Serve on loopback until the block ends."""
    served = TsaServer(answer)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            query = self.rfile.read(int(self.headers["content-length"]))
            served.queries.append((self.headers["content-type"], query))
            body = served.answer(query)
            self.send_response(served.status)
            for name, value in served.headers.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            with contextlib.suppress(OSError):  # who asked may have heard enough
                self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with serving_http(Handler, "test authority") as url:
        served.url = f"{url}/tsr"
        yield served

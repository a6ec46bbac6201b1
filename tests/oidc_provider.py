"""A small OpenID Connect provider on loopback for tests: real keys, real tokens, and any lie on demand."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import json
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlencode, urlsplit

from joserfc import jwt
from joserfc.jwk import ECKey, Key, OctKey, OKPKey, RSAKey

from tests.loopback import serving_http

CLIENT_ID, CLIENT_SECRET = "crownest-test", "s3cret&with+signs"


@dataclass
class Account:
    """Who is signed in at the provider at this moment."""

    subject: str = "ada-1"
    email: str | None = "ada@example.org"
    email_verified: Any = True


@dataclass
class Provider:
    """What the provider says; tests change it as they like."""

    issuer: str = ""
    account: Account = field(default_factory=Account)
    keys: dict[str, Key] = field(default_factory=lambda: {"rsa": _rsa("rsa")})
    sign: Callable[[Provider, dict[str, Any]], str] = field(default=lambda one, claims: one.signed(claims))
    claims: dict[str, Any] = field(default_factory=dict[str, Any])
    """Laid over the honest claims; None takes one away."""
    described_as: str | None = None
    userinfo: dict[str, Any] | None = None
    error: dict[str, str] | None = None
    asked: list[str] = field(default_factory=list[str])
    codes: dict[str, dict[str, str]] = field(default_factory=dict[str, dict[str, str]])

    def signed(self, claims: dict[str, Any], *, alg: str = "RS256", kid: str = "rsa") -> str:
        """An honest signature."""
        return jwt.encode({"alg": alg, "kid": kid}, claims, self.keys[kid], algorithms=[alg])

    def id_token(self, nonce: str) -> str:
        """The ID token for the account, with what the test changed."""
        now = int(time.time())
        claims = {
            "iss": self.issuer,
            "sub": self.account.subject,
            "aud": CLIENT_ID,
            "iat": now,
            "exp": now + 300,
            "nonce": nonce,
            "email": self.account.email,
            "email_verified": self.account.email_verified,
            **self.claims,
        }
        return self.sign(self, {name: value for name, value in claims.items() if value is not None})


def _rsa(kid: str) -> RSAKey:
    return RSAKey.generate_key(2048, {"kid": kid, "use": "sig"})


def rotated(kid: str) -> RSAKey:
    """A further key."""
    return _rsa(kid)


def elliptic(kid: str) -> ECKey:
    """A key for ES256."""
    return ECKey.generate_key("P-256", {"kid": kid})


def edwards(kid: str) -> OKPKey:
    """A key for EdDSA."""
    return OKPKey.generate_key("Ed25519", {"kid": kid})


def unsigned(_: Provider, claims: dict[str, Any]) -> str:
    """`alg: none`, spelled by hand: no library signs like this."""
    parts = ({"alg": "none"}, claims)
    return ".".join([*(_text(json.dumps(part).encode()) for part in parts), ""])


def signed_with_the_public_key(provider: Provider, claims: dict[str, Any]) -> str:
    """HS256 whose secret is the public RSA key: what a confused library accepts."""
    secret = provider.keys["rsa"].as_dict(private=False)
    pem = RSAKey.import_key(secret).as_pem(private=False)
    header = _text(json.dumps({"alg": "HS256", "kid": "rsa"}).encode())
    body = f"{header}.{_text(json.dumps(claims).encode())}"
    return f"{body}.{_text(hmac.digest(pem, body.encode(), 'sha256'))}"


def signed_by_a_stranger(_: Provider, claims: dict[str, Any]) -> str:
    """The kid of the provider's key, the signature of another."""
    return jwt.encode({"alg": "RS256", "kid": "rsa"}, claims, _rsa("rsa"))


def signed_with_an_unknown_key(_: Provider, claims: dict[str, Any]) -> str:
    """A kid that the provider does not publish."""
    return jwt.encode({"alg": "RS256", "kid": "elsewhere"}, claims, _rsa("elsewhere"))


def key_in_the_header(_: Provider, claims: dict[str, Any]) -> str:
    """The attacker brings the key along."""
    key = _rsa("rsa")
    return jwt.encode({"alg": "RS256", "kid": "rsa", "jwk": key.as_dict(private=False)}, claims, key)


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


class _Handler(BaseHTTPRequestHandler):
    provider: ClassVar[Provider]

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 # the name is the library's
        """Say nothing."""

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        self.provider.asked.append(url.path)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        match url.path:
            case "/.well-known/openid-configuration":
                self._json(self._description())
            case "/keys":
                keys = [key.as_dict(private=False) for key in self.provider.keys.values()]
                self._json({"keys": [*keys, OctKey.generate_key(256).as_dict(private=True)]})
            case "/authorize":
                self._authorize(query)
            case "/userinfo":
                self._json(self.provider.userinfo or {})
            case _:
                self.send_error(404)

    def do_POST(self) -> None:
        self.provider.asked.append(self.path)
        length = int(self.headers["content-length"])
        form = {name: values[0] for name, values in parse_qs(self.rfile.read(length).decode()).items()}
        known = self.provider.codes.pop(form["code"], None)
        expected = base64.b64encode(f"{CLIENT_ID}:{'s3cret%26with%2Bsigns'}".encode()).decode()
        challenge = _text(hashlib.sha256(form["code_verifier"].encode()).digest())
        if (
            known is None
            or known["code_challenge"] != challenge
            or known["redirect_uri"] != form["redirect_uri"]
            or self.headers["authorization"] != f"Basic {expected}"
        ):
            self._json({"error": "invalid_grant"}, 400)
            return
        token = self.provider.id_token(known["nonce"])
        self._json({"id_token": token, "access_token": "at", "token_type": "Bearer"})

    def _authorize(self, query: dict[str, str]) -> None:
        assert query["code_challenge_method"] == "S256"
        assert query["client_id"] == CLIENT_ID
        answer = {"state": query["state"]}
        if self.provider.error:
            answer |= self.provider.error
        else:
            answer["code"] = secrets.token_urlsafe(16)
            self.provider.codes[answer["code"]] = query
        self.send_response(302)
        self.send_header("location", f"{query['redirect_uri']}?{urlencode(answer)}")
        self.end_headers()

    def _description(self) -> dict[str, Any]:
        base = self.provider.issuer
        described = {
            "issuer": self.provider.described_as or base,
            "authorization_endpoint": f"{base}/authorize",
            "token_endpoint": f"{base}/token",
            "jwks_uri": f"{base}/keys",
        }
        return described | ({"userinfo_endpoint": f"{base}/userinfo"} if self.provider.userinfo else {})

    def _json(self, value: dict[str, Any], status: int = 200) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextlib.contextmanager
def serving_provider() -> Iterator[Provider]:
    """A provider that answers until the block ends."""
    provider = Provider()
    handler = type("Handler", (_Handler,), {"provider": provider})
    with serving_http(handler, "test provider") as url:
        provider.issuer = url
        yield provider

"""Judges one ID token: who signed it, for whom, for which sign-in, until when.

The rules are those of OpenID Connect Core, 3.1.3.7. Needs the extra `oidc`; asks nobody and reads no clock.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from joserfc import jws, jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, GuestProtocol, Key, OKPKey, RSAKey, import_key

ALGORITHMS: Mapping[str, type[Key]] = {"RS256": RSAKey, "ES256": ECKey, "Ed25519": OKPKey, "EdDSA": OKPKey}
"""The algorithms that are accepted, each with the kind of key that it takes. No `none`, no shared secret."""

LEEWAY_S = 60
"""How far the provider's clock may be from ours."""
SUBJECT_CHARS_MAX = 255
RSA_MODULUS_CHARS_MIN = 342
"""2048 bits in base64url."""


class TokenRefused(Exception):
    """The token does not say what it must; the message says which part."""


class UnknownKey(TokenRefused):
    """No key of the provider fits: they may have been rotated, so fetch them once more."""


@dataclass(frozen=True, slots=True)
class Expected:
    """What the token must say. `now_s` is the present in unix seconds."""

    issuer: str
    client_id: str
    nonce: str
    now_s: int


class _Registry(jws.JWSRegistry):
    """The library's rules, with room for certificate thumbprints in the header."""

    max_header_length = 4096

    def get_alg(self, name: str) -> Any:
        """`EdDSA` is the older name of what RFC 9864 calls `Ed25519`; the latter checks the curve."""
        return super().get_alg("Ed25519" if name == "EdDSA" else name)


_REGISTRY = _Registry(algorithms=sorted(ALGORITHMS), strict_check_header=False)


def verified_claims(token: str, keys: Sequence[Mapping[str, Any]], expected: Expected) -> dict[str, Any]:
    """The claims of a token that is good in every respect.

    `keys` are the JWKs of the provider. Raises `UnknownKey`, or `TokenRefused` for everything else.
    """

    def choose(signed: GuestProtocol) -> Key:
        return _key_for(signed.headers(), keys)

    try:
        claims = jwt.decode(token, choose, registry=_REGISTRY).claims
    except (JoseError, ValueError, TypeError, RecursionError) as error:
        raise TokenRefused(f"its signature does not verify ({error})") from error
    _check(claims, expected)
    return claims


def _key_for(header: Mapping[str, Any], keys: Sequence[Mapping[str, Any]]) -> Key:
    """The one key that the header names, or where it names none, the only one of its kind."""
    kind = ALGORITHMS.get(header["alg"])
    if kind is None:
        raise TokenRefused(f"it is signed with {str(header['alg'])[:40]}, which is not accepted")
    kid = header.get("kid")
    fitting = [
        key
        for key in keys
        if key.get("kty") == kind.key_type
        and key.get("use", "sig") == "sig"
        and key.get("alg", header["alg"]) in {header["alg"], "EdDSA", "Ed25519"}
        and (kid is None or key.get("kid") == kid)
    ]
    if len(fitting) != 1:
        raise UnknownKey("none of the provider's keys is the one that signed it")
    if kind is RSAKey and len(str(fitting[0].get("n", ""))) < RSA_MODULUS_CHARS_MIN:
        raise TokenRefused("it is signed with an RSA key of less than 2048 bits")
    return import_key(cast("dict[str, str | list[str]]", dict(fitting[0])))


def _check(claims: Mapping[str, Any], expected: Expected) -> None:
    if claims.get("iss") != expected.issuer:
        raise TokenRefused("it was issued by somebody else (iss)")
    audience = claims.get("aud")
    audiences = cast("list[object]", audience) if isinstance(audience, list) else [audience]
    if expected.client_id not in audiences:
        raise TokenRefused("it is meant for another application (aud)")
    if claims.get("azp", expected.client_id) != expected.client_id or (
        len(audiences) > 1 and "azp" not in claims
    ):
        raise TokenRefused("it was issued to another application (azp)")
    nonce = claims.get("nonce")
    if not isinstance(nonce, str) or not hmac.compare_digest(nonce.encode(), expected.nonce.encode()):
        raise TokenRefused("it belongs to another sign-in (nonce)")
    if _seconds(claims, "exp") <= expected.now_s - LEEWAY_S:
        raise TokenRefused("it has expired (exp)")
    if max(_seconds(claims, "iat"), _seconds(claims, "nbf", 0)) > expected.now_s + LEEWAY_S:
        raise TokenRefused("it is from the future (iat, nbf): compare the clocks")
    subject = claims.get("sub")
    if not isinstance(subject, str) or not 1 <= len(subject) <= SUBJECT_CHARS_MAX:
        raise TokenRefused("it names nobody (sub)")


def _seconds(claims: Mapping[str, Any], name: str, default: int | None = None) -> float:
    value = claims.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TokenRefused(f"{name} is no time")
    return value

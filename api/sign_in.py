"""Routes of the sign-in with an OpenID Connect provider: `/auth/…`, there only where one is configured.

Authorization code with PKCE (decision 0871). Whatever a provider or a link says is shown as text only.
"""

from __future__ import annotations

from http import HTTPStatus

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from api.dashboard.pages import page
from api.own_paths import HEADERS, going_on, is_own_path
from api.services import services_of
from api.session_routes import end_former
from api.sessions import CALLBACK_PATH, TRANSACTION_COOKIE, Oidc, SignIn
from api.transactions import Transaction, TransactionRefused
from runs.ids import is_id
from runs.sign_in import Identity, NotIdentified

router = APIRouter()
"""There only where the operator named a provider."""

CODE_CHARS_MAX = 4096
SHOWN_CHARS_MAX = 200
AGAIN = "Start again: open /auth/sign-in."


@router.get("/auth/sign-in")
async def begin_sign_in(request: Request) -> Response:
    """303 to the provider. `next`: the path to come back to. `org`: which organisation, of several."""
    sign_in, oidc = _sign_in(request), _oidc(request)
    next_path = request.query_params.get("next", "/")
    org_id = request.query_params.get("org")
    if not is_own_path(next_path, sign_in.sessions.limits.next_chars_max):
        return _page(request, HTTPStatus.BAD_REQUEST, "next must be a path of this server, like /runs.")
    if org_id is not None and not is_id(org_id, "org"):
        return _page(request, HTTPStatus.BAD_REQUEST, "org must be the id of an organisation.")
    callback_url = oidc.callback_url(request)
    if callback_url is None:
        return _page(
            request,
            HTTPStatus.BAD_REQUEST,
            "Under this address nobody can sign in. The operator sets CROWNEST_OIDC__REDIRECT_URL to "
            f"https://<this server>{CALLBACK_PATH}.",
        )
    transaction = oidc.transactions.begin(next_path, org_id)
    try:
        url = await oidc.provider.authorization_url(
            redirect_url=callback_url,
            state=transaction.state,
            nonce=transaction.nonce,
            code_challenge=transaction.code_challenge,
        )
    except NotIdentified as error:
        return _page(request, HTTPStatus.BAD_GATEWAY, f"{error} {AGAIN}")
    response = _redirect(url)
    max_age_s = sign_in.sessions.limits.transaction_ms // 1000
    sign_in.set_cookie(response, TRANSACTION_COOKIE, transaction.cookie, max_age_s, strict=False)
    return response


@router.get(CALLBACK_PATH)
async def finish_sign_in(request: Request) -> Response:
    """Back from the provider: a fresh session and 303 to where it began, or a page that says why not."""
    sign_in, oidc = _sign_in(request), _oidc(request)
    try:
        transaction = oidc.transactions.finish(
            sign_in.cookie(request, TRANSACTION_COOKIE) or "", request.query_params.get("state", "")
        )
    except TransactionRefused as error:
        # The cookie stays: a stray answer must not break the sign-in that is really under way.
        return _page(request, HTTPStatus.BAD_REQUEST, f"{error} {AGAIN}")
    response = await _enter(request, sign_in, transaction)
    sign_in.set_cookie(response, TRANSACTION_COOKIE, "", 0, strict=False)
    return response


async def _enter(request: Request, sign_in: SignIn, transaction: Transaction) -> Response:
    oidc = _oidc(request)
    answer = request.query_params
    if answer.get("iss", oidc.issuer) != oidc.issuer:  # RFC 9207: another provider's answer
        return _page(request, HTTPStatus.BAD_REQUEST, f"The answer comes from another provider. {AGAIN}")
    if "error" in answer:
        said = " ".join((answer["error"], answer.get("error_description", "")))[:SHOWN_CHARS_MAX].strip()
        return _page(request, HTTPStatus.FORBIDDEN, f"The provider did not sign you in. It says: {said}")
    code = answer.get("code", "")
    if not 1 <= len(code) <= CODE_CHARS_MAX:
        return _page(request, HTTPStatus.BAD_REQUEST, f"The provider's answer has no code. {AGAIN}")
    callback_url = oidc.callback_url(request)
    assert callback_url is not None, "the transaction's cookie counts only where there is one"
    try:
        identity = await oidc.provider.identify(
            code=code,
            redirect_url=callback_url,
            nonce=transaction.nonce,
            code_verifier=transaction.code_verifier,
        )
    except NotIdentified as error:
        return _page(request, HTTPStatus.BAD_GATEWAY, f"{error} {AGAIN}")
    token = await oidc.service.sign_in(identity, transaction.org_id)
    if token is None:
        return _page(request, HTTPStatus.FORBIDDEN, _whom_to_ask(identity))
    await end_former(request, sign_in)
    response = going_on(transaction.next_path)
    sign_in.keep_session(response, token)
    return response


def _whom_to_ask(identity: Identity) -> str:
    if identity.email is None:
        return (
            "Nobody here knows you yet, and the provider vouches for no address of yours. Verify your "
            "address there, then ask an owner or admin of your organisation to invite it."
        )
    shown = identity.email[:SHOWN_CHARS_MAX]
    return f"Nobody has invited {shown}. Ask an owner or admin of your organisation to invite this address."


def _sign_in(request: Request) -> SignIn:
    return services_of(request).sign_in


def _oidc(request: Request) -> Oidc:
    oidc = services_of(request).sign_in.oidc
    assert oidc is not None, "these routes are there only with a provider"
    return oidc


def _redirect(location: str) -> Response:
    return Response(status_code=HTTPStatus.SEE_OTHER, headers={**HEADERS, "location": location})


def _page(request: Request, status: HTTPStatus, text: str) -> Response:
    return page(request, "not_signed_in.html", status=status, text=text)

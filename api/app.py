"""The HTTP application: routes, the error envelope for whatever can go wrong, and the outermost layer."""

from __future__ import annotations

from fastapi import FastAPI
from fastapi.telemetry import TelemetryConfig
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match
from starlette.types import ASGIApp, Receive, Scope, Send

from api import (
    account_routes,
    artifact_routes,
    command_routes,
    discovery_routes,
    event_routes,
    file_routes,
    key_routes,
    log_routes,
    org_routes,
    preview_routes,
    producer_routes,
    proof_routes,
    run_routes,
    sandbox_routes,
    secret_routes,
    session_routes,
    sign_in,
    usage_routes,
)
from api.dashboard.problems import problem_page, wants_page
from api.dashboard.routes import ROUTERS
from api.dashboard.visitors import SignInNeeded, to_sign_in
from api.edge import Edge
from api.errors import envelope, log_failure, refusal_of
from api.queries import json_response
from api.services import Services
from eventstore.log import LogError
from runs.refusal import Refusal

ROUTES = (
    producer_routes,  # first, since routes are tried one by one and nobody asks for them as often
    run_routes,
    event_routes,
    proof_routes,
    sandbox_routes,
    command_routes,
    file_routes,
    artifact_routes,
    account_routes,
    org_routes,
    key_routes,
    log_routes,
    usage_routes,
    discovery_routes,
    secret_routes,
    preview_routes,
)
BROWSER_ROUTES = (session_routes.router, *ROUTERS)
NO_TELEMETRY: TelemetryConfig = {"tracing": False, "metrics": False, "logs": False}
"""The framework would measure and export every request once some other package sets up an exporter."""


def create_app(services: Services) -> ASGIApp:
    """The ASGI application over open services; whoever opened them closes them."""
    app = FastAPI(openapi_url=None, redirect_slashes=False, telemetry=NO_TELEMETRY)
    app.state.services = services
    app.add_api_route("/healthz", health, methods=["GET", "HEAD"])  # load balancers ask with either
    for routes in ROUTES:
        app.router.routes.extend(routes.router.routes)  # `include_router` adds a search to every request
    for router in BROWSER_ROUTES:  # pages for browsers, no part of the API and its document
        app.router.routes.extend(router.routes)
    if services.sign_in.oidc is not None:
        app.router.routes.extend(sign_in.router.routes)
    app.add_exception_handler(SignInNeeded, to_sign_in)
    app.add_exception_handler(HTTPException, framework_error)
    app.add_exception_handler(Refusal, refused)
    app.add_exception_handler(LogError, log_refused)
    app.add_exception_handler(Exception, failed)
    return Edge(_Shortcut(app), services.limits)


class _Shortcut:
    """The application, its hottest route called past the framework's layers: they cost more than an append.

    What the route refuses or breaks is answered by the same functions.
    """

    def __init__(self, app: FastAPI) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection scope."""
        append = producer_routes.APPEND
        found = scope.get("method") == "POST" and append.path_regex.match(scope["path"])
        if not found:
            await self._app(scope, receive, send)
            return
        scope["app"], scope["path_params"] = self._app, found.groupdict()
        request = Request(scope, receive, send)
        try:
            response = await append.endpoint(request)
        except Refusal as error:
            response = await refused(request, error)
        except LogError as error:
            response = await log_refused(request, error)
        except Exception as error:
            await (await failed(request, error))(scope, receive, send)
            raise
        await response(scope, receive, send)


async def health(_: Request) -> Response:
    """The server answers: 200 `{"status":"ok"}`."""
    return json_response(b'{"status":"ok"}')


async def refused(request: Request, error: Exception) -> Response:
    """A typed refusal: in the contract's envelope, for a person who looks at pages as a page."""
    assert isinstance(error, Refusal)
    if wants_page(request):
        return await problem_page(request, error)
    status, headers, body = envelope(error, request.state.request_id)
    return Response(body, status, headers)


async def log_refused(request: Request, error: Exception) -> Response:
    """What the log refuses, translated once; anything the rules should have caught is our fault."""
    _log(request, error)
    return await refused(request, refusal_of(error) or _our_fault(request))


async def failed(request: Request, error: Exception) -> Response:
    """What nobody foresaw: the server's log gets the traceback and the id, the caller the id to report."""
    _log(request, error)
    return await refused(request, _our_fault(request))


def _log(request: Request, error: Exception) -> None:
    log_failure(request.state.request_id, f"{request.method} {request.url.path[:200]}", error)


def _our_fault(request: Request) -> Refusal:
    request_id: str = request.state.request_id
    return Refusal("internal_error", f"The server failed. Report request {request_id} to its operator.")


def _methods(request: Request) -> list[str]:
    """What the path of this request does answer, over all routes that have it."""
    app: FastAPI = request.app
    found: set[str] = set()
    for route in app.router.routes:
        if route.matches(request.scope)[0] is not Match.NONE:
            found |= getattr(route, "methods", None) or set()
    return sorted(found)


async def framework_error(request: Request, error: Exception) -> Response:
    """What Starlette refuses by itself (unknown path, wrong method, bad request) in the same envelope."""
    assert isinstance(error, HTTPException)
    if error.status_code == 404:
        refusal = Refusal(
            "not_found", f"There is no route {request.url.path[:200]}. Check the path: /docs lists them."
        )
    elif error.status_code == 405:
        methods = _methods(request)
        refusal = Refusal(
            "method_not_allowed",
            f"{request.url.path[:200]} does not answer {request.method}. Use {' or '.join(methods)}.",
            {"allowed": methods},
        )
        answer = await refused(request, refusal)
        answer.headers["allow"] = ", ".join(methods)  # RFC 9110, 15.5.6
        return answer
    else:
        refusal = Refusal("invalid_request", f"The request could not be read: {error.detail}")
    return await refused(request, refusal)

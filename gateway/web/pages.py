"""Flask's half: the page in the reader's language, and the files it is made of."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from pathlib import Path

import structlog
from flask import Flask, Response, render_template, request, send_from_directory
from sqlalchemy.exc import SQLAlchemyError
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response as Answer

from gateway.accounts.auth import Accounts
from gateway.accounts.database import reason
from gateway.errors import overloaded
from gateway.settings import Settings
from gateway.web import account_pages, admin_pages, oidc_pages
from gateway.web.language import chosen, dictionaries
from gateway.web.visitor import ACCOUNTS, Elsewhere, accounts_of, visitor

log = structlog.get_logger("gateway.web")
STATIC = Path(__file__).parent / "static"
MAX_BODY = 64 << 10  # bytes of a request; nothing here takes files
# What the page may load and do. Blobs are answers that it shows; data: stands in the style sheet, for arrows and ticks.
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self' 'nonce-{nonce}'",
        "img-src 'self' blob: data:",
        "media-src blob:",
        "connect-src 'self' blob:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
HEADERS = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}


def pages(settings: Settings, accounts: Callable[[], Accounts]) -> Flask:
    """The application; `accounts` are there once the gateway is open."""
    app = Flask(__name__, static_folder=None)
    app.url_map.merge_slashes = False  # a path is what it is: nobody is sent elsewhere
    # What nobody foresaw is told and logged as everywhere in the gateway, by its outer layer.
    app.config.update(MAX_CONTENT_LENGTH=MAX_BODY, PROPAGATE_EXCEPTIONS=True, KEYLESS=settings.keyless)
    app.extensions[ACCOUNTS] = accounts
    for blueprint in (account_pages.routes, admin_pages.routes):
        app.register_blueprint(blueprint)
    oidc_pages.mount(app, settings)
    words = dictionaries()

    @app.get("/")
    def page() -> Response:
        found = None if settings.keyless else visitor(accounts_of(app))
        nonce = secrets.token_urlsafe(16)  # of this answer alone, for the style of the waveform
        language = chosen(request.args.get("lang"), request.accept_languages, words)
        text = render_template(
            "page.html",
            language=language,
            languages={name: found["language"] for name, found in words.items()},
            words=words[language],
            nonce=nonce,
            keyless=settings.keyless,
            visitor=found,
        )
        policy = POLICY.format(nonce=nonce)
        return Response(text, headers={**HEADERS, "Content-Security-Policy": policy, "Vary": "Accept-Language"})

    @app.get("/web/static/<path:name>")
    def static(name: str) -> Response:
        return send_from_directory(STATIC, name)

    @app.errorhandler(SQLAlchemyError)
    def gone(error: SQLAlchemyError) -> Answer:
        log.error("a page needs the database, which does not answer", reason=reason(error))
        raise overloaded("the database does not answer; try again", 2.0)

    @app.errorhandler(HTTPException)
    def told(error: HTTPException) -> Answer:
        if isinstance(error, Elsewhere):
            return error.get_response()
        said = error.description if error.code == 403 else "the page is at /, its files are below /web/static/"
        message = f"{error.code} {error.name}: {said}\n"
        headers = {name: value for name, value in error.get_headers() if name == "Allow"}
        return Response(message, error.code, headers, mimetype="text/plain")

    return app

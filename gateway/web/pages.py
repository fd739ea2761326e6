"""Flask's half: the page in the reader's language, and the files it is made of."""

from __future__ import annotations

import secrets
from pathlib import Path

from flask import Flask, Response, render_template, request, send_from_directory
from werkzeug.exceptions import HTTPException

from gateway.settings import Settings
from gateway.web.language import chosen, dictionaries

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


def pages(settings: Settings) -> Flask:
    """The application."""
    app = Flask(__name__, static_folder=None)
    app.url_map.merge_slashes = False  # a path is what it is: nobody is sent elsewhere
    # What nobody foresaw is told and logged as everywhere in the gateway, by its outer layer.
    app.config.update(MAX_CONTENT_LENGTH=MAX_BODY, PROPAGATE_EXCEPTIONS=True)
    words = dictionaries()

    @app.get("/")
    def page() -> Response:
        nonce = secrets.token_urlsafe(16)  # of this answer alone, for the style of the waveform
        language = chosen(request.args.get("lang"), request.accept_languages, words)
        text = render_template(
            "page.html",
            language=language,
            languages={name: found["language"] for name, found in words.items()},
            words=words[language],
            nonce=nonce,
            keyless=settings.keyless,
        )
        policy = POLICY.format(nonce=nonce)
        return Response(text, headers={**HEADERS, "Content-Security-Policy": policy, "Vary": "Accept-Language"})

    @app.get("/web/static/<path:name>")
    def static(name: str) -> Response:
        return send_from_directory(STATIC, name)

    @app.errorhandler(HTTPException)
    def told(error: HTTPException) -> Response:
        message = f"{error.code} {error.name}: the page is at /, its files are below /web/static/\n"
        headers = {name: value for name, value in error.get_headers() if name == "Allow"}
        return Response(message, error.code, headers, mimetype="text/plain")

    return app

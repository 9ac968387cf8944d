"""The page as a program: settings of gradio that keep it on this machine, and the server."""

from __future__ import annotations

import logging
import os
import socket
import tempfile
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from shared_tmu.errors import InputError, MissingDependencyError
from shared_tmu.page.catalog import SAMPLES, Catalog
from shared_tmu.page.handlers import Handlers
from shared_tmu.page.options import PageOptions, parse_options
from shared_tmu.programs.console import run_program

_log = logging.getLogger(__name__)

POLICY = "; ".join(
    (
        "default-src 'self'",
        "script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data: blob:",
        "media-src 'self' data: blob:",
        "font-src 'self' data:",
        "connect-src 'self' data: blob:",
        "worker-src 'self' blob:",
        "frame-ancestors 'self'",
        "base-uri 'self'",
        "form-action 'self'",
    )
)
"""The browser itself then refuses everything that comes from elsewhere, whatever a library asks for."""

FONT = ("ui-sans-serif", "system-ui", "sans-serif")
MONO = ("ui-monospace", "Consolas", "monospace")
QUIET = {
    "GRADIO_ANALYTICS_ENABLED": "False",
    "GRADIO_SSR_MODE": "False",
    "GRADIO_MCP_SERVER": "False",
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
}
"""Nothing is sent, and nothing is looked up elsewhere."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve the page until Ctrl-C; returns the exit status."""
    return run_program(lambda: serve(parse_options(arguments)), "The page has ended.")


def serve(options: PageOptions) -> None:
    """Serve the page until the process is interrupted.

    Raises:
        TMUError: gradio or a model is missing, or the address cannot be listened on.
    """
    with tempfile.TemporaryDirectory(prefix="tmu-page-") as folder, closing(listening(options)) as listener:
        app = make_app(options, Path(folder))
        import uvicorn

        host, port = listener.getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        _log.info("The page is at http://%s:%d (Ctrl-C ends it).", shown, port)
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", ws="none"))
        server.run(sockets=[listener])


def listening(options: PageOptions) -> socket.socket:
    """A socket that listens on the address.

    Raises:
        InputError: it is in use, or is no address of this machine.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            options.host, options.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(128)
        except BaseException:
            listener.close()
            raise
    except OSError as error:
        raise InputError(
            f"the page cannot listen on {options.host}, port {options.port} ({error.strerror or error}): "
            "give another --port, or --port 0 for a free one, and --host 127.0.0.1."
        ) from error
    return listener


def make_app(options: PageOptions, folder: Path) -> Any:
    """The page as an ASGI application.

    Args:
        options: the command line.
        folder: for uploads and results; everything of the page that is written lies in it.

    Raises:
        TMUError: gradio is not installed, or a model cannot be loaded.
    """
    os.environ.update(QUIET, GRADIO_TEMP_DIR=str(folder))
    try:
        import gradio as gr
        from fastapi import FastAPI
    except ImportError as error:
        raise MissingDependencyError(
            "the page was asked for, but gradio is not installed: pip install 'shared_tmu[page]'"
        ) from error
    from shared_tmu.page.layout import build_page

    page = build_page(Handlers(Catalog(options.device, options.models), folder))
    page.queue(max_size=32)
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.middleware("http")(_protected)
    theme = gr.themes.Default(primary_hue="blue", neutral_hue="slate", font=FONT, font_mono=MONO)
    return gr.mount_gradio_app(
        app, page, path="/", footer_links=[], run_history=False, ssr_mode=False, mcp_server=False,
        enable_monitoring=False, pwa=False, show_error=False, max_file_size=f"{options.max_mb}mb",
        allowed_paths=[str(SAMPLES)], theme=theme, css_paths=Path(__file__).parent / "style.css",
    )  # fmt: skip


async def _protected(request: Any, forward: Any) -> Any:
    """Add the headers that keep the page to itself."""
    answer = await forward(request)
    answer.headers["Content-Security-Policy"] = POLICY
    answer.headers["Referrer-Policy"] = "no-referrer"
    answer.headers["X-Content-Type-Options"] = "nosniff"
    return answer

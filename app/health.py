"""GET /health: whether the server answers and how much it has to do, for whoever watches over it. Nothing about anybody."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from app.jobs import JOBS
from vpt_core import __version__


def health(request: Request) -> JSONResponse:
    """{"ok": true, "version": "0.1.0", "running": 1, "waiting": 2}."""
    states = [job.state for job in JOBS.active()]
    counts = {state: states.count(state) for state in ("running", "waiting")}
    return JSONResponse({"ok": True, "version": __version__, **counts}, headers={"Cache-Control": "no-store"})


ROUTES = [Route("/health", health)]
"""For the application under the page. It needs no login."""

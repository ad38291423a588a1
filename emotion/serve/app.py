"""The application: a page, POST /analyze and /convert, GET /health and /openapi.json.

There is no /docs: its page would load scripts from another server. Nothing that is sent is kept.
"""

from __future__ import annotations

import asyncio
import string
from collections.abc import AsyncIterator, Coroutine, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import fastapi
from fastapi import FastAPI, Request, Response, UploadFile
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse
from pydantic import ValidationError
from starlette.requests import ClientDisconnect

from .. import __version__, page
from ..analyzer import Analyzer
from ..audio import AudioError
from ..formats import FormatError
from ..labels import tell_apart
from ..timeline import Timeline
from . import schema
from .gate import Gate
from .hearing import Hearing, TooMuch, Upload, in_thread
from .limits import Limits
from .schema import DOWNLOADS, Analysis, Error, FileFormat, Health, Query
from .worker import Worker

TEMPLATE = Path(__file__).with_name("page.html.template")
STATUS = {AudioError: 415, TooMuch: 413, FormatError: 422, ModuleNotFoundError: 501}
REFUSALS = {
    400: "a body that is no form", 403: "a foreign Host or Origin", 408: "a body that does not arrive",
    413: "too large, or too long", 415: "audio that cannot be read",
    422: "options, several files, or what a format cannot hold",
    501: "a format whose extra is not installed", 503: "too many requests; try again after Retry-After seconds",
}
ANALYSIS_AS_BODY = {"requestBody": {"required": True, "content": {"application/json": {"schema": {
    "$ref": "#/components/schemas/Analysis"}}}}}
GONE = 499   # nginx's code for who does not wait for the answer


def build(worker: Worker, model_name: str, limits: Limits = Limits(), host: str | None = None) -> Gate:
    """The application around a worker, which it closes at its end.

    host: the name of the loopback interface that it listens on; None: any Host may be asked for.
    Raises: ValueError for a model with a label that has no colour.
    """
    analyzer = worker.analyzer
    whole_page, page_policy = _page(analyzer, model_name, limits)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        worker.close()

    api = FastAPI(
        title="emotion", version=__version__, description="Which emotion is in speech, when, and how sure.",
        lifespan=lifespan, docs_url=None, redoc_url=None,
        responses={status: {"model": Error, "description": text} for status, text in REFUSALS.items()},
    )
    gate = Gate(api, limits, host)
    for kind in (*STATUS, RequestValidationError, ClientDisconnect):
        api.add_exception_handler(kind, _refuse)
    api.add_exception_handler(Exception, _fail)

    @api.get("/", include_in_schema=False)
    async def show() -> HTMLResponse:
        return HTMLResponse(whole_page, headers={
            "Content-Security-Policy": page_policy, "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer", "Cache-Control": "no-cache",
        })

    @api.get("/health")
    async def health() -> Health:
        return Health(
            status="ok", model=model_name, fingerprint=analyzer.fingerprint, labels=list(analyzer.labels),
            dimensions=list(analyzer.dimensions), version=__version__, queue_length=gate.inside,
        )

    @api.post("/analyze", response_model=Analysis, response_description="an Analysis, or the file of another format")
    async def analyze(request: Request, file: UploadFile, query: Annotated[Query, fastapi.Query()]) -> Response:
        """Which emotion is in a recording, when, and how sure."""
        if len((await request.form()).getlist("file")) > 1:   # of which FastAPI gives the last
            raise fastapi.HTTPException(422, "file: several were sent, and one is answered. Send each by itself.")
        name = schema.plain_name(file.filename)
        hearing = Hearing(Upload(file.file, name), worker, limits.max_seconds, query.pictures)
        answers = await _unless_gone(request, hearing.answers(query.channels == "separate"))
        if answers is None:
            return Response(status_code=GONE)
        if query.format == "json":
            return Response(await in_thread(schema.analysis, answers), media_type="application/json")
        return _download(await in_thread(schema.file, [answer for answer, _ in answers], query.format),
                         name, query.format)

    @api.post("/convert", response_class=Response, response_description="the file", openapi_extra=ANALYSIS_AS_BODY)
    async def convert(request: Request, format: FileFormat) -> Response:
        """The segments of an analysis, as /analyze gave it, in another format."""
        answers = await _sent_back(request)
        return _download(await in_thread(schema.file, answers, format), answers[0].name if answers else "", format)

    return gate


async def _sent_back(request: Request) -> list[Timeline]:
    """The answers of an Analysis. To read a long one takes its time, in which FastAPI would answer nobody else."""
    try:
        return await in_thread(schema.timelines, await request.body())
    except ValidationError as error:
        told = [{**fault, "loc": ("body", *fault["loc"])} for fault in error.errors()]
        raise RequestValidationError(told) from None


async def _unless_gone(request: Request, work: Coroutine) -> Any:
    """What the work returns; None where the client goes before, and the work is stopped."""
    working, watching = asyncio.ensure_future(work), asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait((working, watching), return_when=asyncio.FIRST_COMPLETED)
        return working.result() if working.done() else None
    finally:
        working.cancel()
        watching.cancel()
        await asyncio.wait((working, watching))


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _refuse(_: Request, error: Exception) -> Response:
    """An error as {"detail": ...}, in its own words: they tell what was given, what is allowed and what to do."""
    if isinstance(error, ClientDisconnect):   # while it was sending: nobody reads why
        return Response(status_code=GONE)
    if isinstance(error, RequestValidationError):
        told = "; ".join(f"{'.'.join(map(str, part['loc']))}: {part['msg']}" for part in error.errors())
        return JSONResponse({"detail": f"{told}. See /openapi.json."}, 422)
    status = next(status for kind, status in STATUS.items() if isinstance(error, kind))
    return JSONResponse({"detail": str(error)}, status)


def _fail(_: Request, error: Exception) -> JSONResponse:
    told = f"the server failed ({type(error).__name__}). Its log tells where."
    return JSONResponse({"detail": told}, 500, {"Connection": "close"})   # as uvicorn does, after a failure


def _download(content: bytes, name: str, format: FileFormat) -> Response:
    ending, kind, _ = DOWNLOADS[format]
    return Response(content, media_type=kind, headers={
        "Content-Disposition": f"attachment; filename*=UTF-8''{quote(Path(name).stem + ending, safe='')}",
        "X-Content-Type-Options": "nosniff",
    })


def _page(analyzer: Analyzer, model_name: str, limits: Limits) -> tuple[str, str]:
    """The page and its policy."""
    named, dimensions = tell_apart(analyzer.labels), analyzer.dimensions
    template = page.read(TEMPLATE, [*analyzer.labels, *({"unknown"} - {*analyzer.labels}), *dimensions])
    above, script, below = template.partition("<script>")
    filled = string.Template(above).substitute(
        subject="Which emotion is in a voice, when, and how sure" if named
        else f"{', '.join(dimensions).capitalize()} of a voice over time",
        asked=page.asked(named, dimensions),
        reading="\n".join(f'<p class="note">{text}</p>' for text in _reading(named, dimensions)),
        heads=('<th>emotion</th><th class="number">confidence</th>' if named else "")
        + "".join(f'<th class="number">{name}</th>' for name in dimensions),
        model=page.escaped(f"{model_name} {analyzer.fingerprint}"), version=__version__,
        max_bytes=limits.max_bytes, max_seconds=limits.max_seconds,
        max_mb=f"{limits.max_bytes / 1e6:g}", max_minutes=f"{limits.max_seconds / 60:g}",
        formats="\n".join(
            f'<button class="chip" value="{name}" data-ending="{ending}">{title}</button>'
            for name, (ending, _, title) in DOWNLOADS.items()
        ),
    )
    # blob: is the page's own text, which a recorder must be loaded from; and the recording that it plays
    policy = page.policy(template, script_src="blob:", connect_src="'self'", media_src="blob:", img_src="data:",
                         frame_ancestors="'none'")
    return filled + script + below, policy


def _reading(named: bool, dimensions: Sequence[str]) -> Iterator[str]:
    """How to read what the model says, in paragraphs."""
    if named:
        yield ("<b>Confidence</b> is the probability of the emotion: of all answers of 60&nbsp;%, about six in ten are "
               "right on recordings like those that the model was calibrated on. <b>Entropy</b> tells how far the "
               "probabilities are spread: 0 where one emotion has all, 1 where all are alike.")
    if dimensions:
        yield f"<b>Dimensions</b> are ratings as listeners give them: {page.ends(dimensions)}."

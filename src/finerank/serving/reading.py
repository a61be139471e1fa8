"""What comes in over HTTP: a body within its limits, a deadline, and the end of a caller who hangs up."""

import asyncio
import codecs
import math
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import ParamSpec, TypeVar

import numpy as np
import pydantic_core
from starlette.requests import ClientDisconnect, Request

from finerank.errors import DeadlineExceeded, InvalidInput, RequestTooLarge
from finerank.messages import Message
from finerank.serving.decompress import Decompressor
from finerank.serving.gate import Visit
from finerank.serving.problems import InvalidBody
from finerank.settings import ServeSettings

Result = TypeVar("Result")
Arguments = ParamSpec("Arguments")


SMALL_BYTES = 1 << 16
"""Bodies below are parsed on the event loop, in less time than a thread takes to start on them."""

VALUES_PER_DOCUMENT = 50
"""JSON values a body may hold for each document a request may have. A value of three bytes becomes a Python object of
up to 200, and Python's lock is held while they are made: 100,000 of them take 30 ms."""

_FEWEST_DOCUMENTS = 2000
"""A lower `max_documents` does not lower that."""


async def read_body(request: Request, visit: Visit, settings: ServeSettings) -> bytes:
    """The whole body. Raises `RequestTooLarge` as soon as it is, `DeadlineExceeded` if it takes longer than a request
    may, `ClientDisconnect` if it never ends."""
    max_bytes = settings.max_body_mb * 10**6
    announced = request.headers.get("content-length", "0")
    if announced.isdigit() and int(announced) > max_bytes:
        raise _too_large(max_bytes)
    encoded = Decompressor(request.headers.get("content-encoding", ""))
    parts: list[bytes] = []
    received = 0
    limit_s = min(settings.timeout_s, settings.body_timeout_s)
    try:
        async with asyncio.timeout(limit_s):
            async for part in request.stream():
                received += len(part)
                for piece in encoded.pieces(part):
                    visit.hold(len(piece))
                    if max(received, visit.held) > max_bytes:
                        raise _too_large(max_bytes)
                    if piece:
                        parts.append(piece)
                    if encoded.active:
                        await asyncio.sleep(0)  # a small part may be many pieces: others come between
        encoded.finish()
    except TimeoutError as error:
        raise DeadlineExceeded(
            Message("the body did not arrive within {seconds:g} s", "body.late", seconds=limit_s), retry_after_s=1
        ) from error
    visit.admit()
    return b"".join(parts)


async def off_loop(
    body: bytes, work: Callable[Arguments, Result], /, *arguments: Arguments.args, **options: Arguments.kwargs
) -> Result:
    """What the work on this body returns; on a thread if the body is big, so that other requests are answered."""
    if len(body) < SMALL_BYTES:
        return work(*arguments, **options)
    return await asyncio.to_thread(work, *arguments, **options)


def decode_json(body: bytes, max_documents: int) -> object:
    """The body's JSON value. Raises `InvalidBody`, and `RequestTooLarge` if it holds far more values than documents."""
    _check_values(body, VALUES_PER_DOCUMENT * max(max_documents, _FEWEST_DOCUMENTS))
    try:
        return pydantic_core.from_json(body.removeprefix(codecs.BOM_UTF8), allow_inf_nan=False)
    except (ValueError, RecursionError) as error:
        raise InvalidBody(Message("the body: not JSON: {why}", "body.json", why=error)) from None


@asynccontextmanager
async def deadline(request: Request, settings: ServeSettings) -> AsyncIterator[None]:
    """Ends the block, by `DeadlineExceeded`, after the seconds that the settings allow or the request asks for."""
    limit_s = min(read_timeout(request) or settings.timeout_s, settings.timeout_s)
    try:
        async with asyncio.timeout(limit_s):
            yield
    except TimeoutError as error:
        raise DeadlineExceeded(
            Message(
                "not answered within {seconds:g} s; send less at once, or raise timeout_s",
                "server.late",
                seconds=limit_s,
            ),
            retry_after_s=1,
        ) from error


def read_timeout(request: Request) -> float | None:
    """The seconds that `X-Request-Timeout` allows. Raises `InvalidInput`."""
    given = request.headers.get("x-request-timeout")
    if given is None:
        return None
    try:
        seconds = float(given)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise InvalidInput(
            Message("X-Request-Timeout: {given!r} is no number of seconds above 0", "body.timeout", given=given)
        )
    return seconds


async def unless_hung_up(request: Request, work: Coroutine[None, None, Result]) -> Result:
    """The work's result; `ClientDisconnect`, and the work cancelled, when the caller hangs up. Read the body before."""
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait((task, gone), return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientDisconnect
        return task.result()
    finally:
        for future in (task, gone):
            if not future.done():
                future.cancel()
        await asyncio.wait((task, gone))


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _too_large(max_bytes: int) -> RequestTooLarge:
    return RequestTooLarge(
        Message(
            "the body is larger than {limit} bytes; send fewer documents at once, or raise max_body_mb",
            "body.bytes",
            limit=max_bytes,
        )
    )


def _check_values(body: bytes, most: int) -> None:
    """Raise `RequestTooLarge` if the JSON holds more values, whatever field they are in. NumPy counts without Python's
    lock, and most bodies have too few commas for it to be needed."""
    if sum(map(body.count, (b",", b"[", b"{"))) <= most:
        return
    plain = np.frombuffer(body.replace(b"\\\\", b"  ").replace(b'\\"', b"  "), np.uint8)
    outside = ~np.logical_xor.accumulate(plain == ord('"'))  # of strings
    values = sum(int(np.count_nonzero((plain == ord(mark)) & outside)) for mark in ",[{")
    if values > most:
        raise RequestTooLarge(
            Message(
                "the body holds {count} JSON values, and may hold {limit}; leave out what is not ranked, or raise "
                "max_documents",
                "body.values",
                count=values,
                limit=most,
            )
        )

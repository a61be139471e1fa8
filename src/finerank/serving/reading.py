"""What comes in over HTTP: a body within its limits, a deadline, and the end of a caller who hangs up."""

import asyncio
import codecs
import math
from collections.abc import Coroutine
from typing import TypeVar

import pydantic_core
from starlette.requests import ClientDisconnect, Request

from finerank.errors import DeadlineExceeded, InvalidInput, RequestTooLarge
from finerank.serving.decompress import Decompressor
from finerank.serving.gate import Visit
from finerank.settings import ServeSettings

Result = TypeVar("Result")

HUNG_UP = 499
"""The status that the log gives a caller who did not wait for the answer, as nginx does."""


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
    try:
        async with asyncio.timeout(settings.timeout_s):
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
        raise DeadlineExceeded(f"the body did not arrive within {settings.timeout_s:g} s", retry_after_s=1) from error
    return b"".join(parts)


def decode_json(body: bytes) -> object:
    """The body's JSON value. Raises `InvalidInput`."""
    try:
        return pydantic_core.from_json(body.removeprefix(codecs.BOM_UTF8), allow_inf_nan=False)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"the body: not JSON: {error}") from None


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
        raise InvalidInput(f"X-Request-Timeout: {given!r} is no number of seconds above 0")
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
        f"the body is larger than {max_bytes} bytes; send fewer documents at once, or raise max_body_mb"
    )

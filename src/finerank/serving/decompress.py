"""Compressed request bodies: gzip and deflate, undone in small pieces so that a small body cannot fill the memory."""

import zlib
from collections.abc import Iterator

from finerank.errors import InvalidInput

READ_HERE = ("gzip", "deflate", "identity")
PIECE_BYTES = 1 << 16
"""Bytes undone at once: what is held before the caller has counted it."""

_GZIP = 16 + zlib.MAX_WBITS


class Decompressor:
    """Undoes what the header Content-Encoding names. Raises `InvalidInput` for an encoding that is not read here.

    >>> import gzip
    >>> undo = Decompressor("gzip")
    >>> b"".join(undo.pieces(gzip.compress(b"a text")))
    b'a text'
    >>> undo.finish()
    """

    def __init__(self, encoding: str) -> None:
        names = [name.strip().lower().removeprefix("x-") for name in encoding.split(",")]
        names = [name for name in names if name not in ("", "identity")]
        if len(names) > 1 or not set(names) <= set(READ_HERE):
            raise InvalidInput(
                f"Content-Encoding: {encoding!r} is not read here; send the body as it is, or as gzip or deflate"
            )
        self._name = names[0] if names else ""
        self._zlib = zlib.decompressobj(_GZIP) if self._name == "gzip" else None
        self._head = b""

    @property
    def active(self) -> bool:
        return bool(self._name)

    def pieces(self, part: bytes) -> Iterator[bytes]:
        """What a part of the body says, at most `PIECE_BYTES` at a time. Raises `InvalidInput` if it is damaged."""
        if not self._name:
            yield part
            return
        if self._zlib is None:  # deflate: two bytes tell whether zlib's header is there, which some clients leave out
            self._head += part
            if len(self._head) < 2:
                return
            part, self._head = self._head, b""
            self._zlib = zlib.decompressobj(zlib.MAX_WBITS if _has_zlib_header(part) else -zlib.MAX_WBITS)
        while part:
            if self._zlib.eof:
                if self._name != "gzip":
                    raise self._damaged("more follows its end")
                self._zlib = zlib.decompressobj(_GZIP)  # gzip may be several members, one after the other
            yield from self._undo(self._zlib, part)
            part = self._zlib.unused_data

    def finish(self) -> None:
        """Raises `InvalidInput` if the body ended too early."""
        if self._name and (self._zlib is None or not self._zlib.eof):
            raise self._damaged("it ends too early")

    def _undo(self, stream: "zlib._Decompress", part: bytes) -> Iterator[bytes]:
        piece = b""
        while not stream.eof and (part or len(piece) == PIECE_BYTES):  # a full piece may have left more inside
            try:
                piece = stream.decompress(part, PIECE_BYTES)
            except zlib.error as error:
                raise self._damaged(str(error)) from None
            part = stream.unconsumed_tail
            yield piece

    def _damaged(self, why: str) -> InvalidInput:
        return InvalidInput(f"the body: not {self._name}, as Content-Encoding says: {why}; send it whole, or as it is")


def _has_zlib_header(start: bytes) -> bool:
    return start[0] & 0x0F == zlib.DEFLATED and (start[0] << 8 | start[1]) % 31 == 0

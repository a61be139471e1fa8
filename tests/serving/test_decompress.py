"""Compressed request bodies over HTTP, and what they unpack to piece by piece."""

import gzip
import json
import zlib
from collections.abc import Callable

import pytest

from finerank.serving.decompress import PIECE_BYTES, Decompressor

NATIVE = {"query": "reset button", "documents": ["Keep it dry.", "Hold the reset button."]}


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


def in_members(data: bytes) -> bytes:
    return gzip.compress(data[:9]) + gzip.compress(data[9:])


class TestCompression:
    @pytest.mark.parametrize(
        ("encoding", "pack"),
        [
            ("gzip", gzip.compress),
            ("GZIP", gzip.compress),
            ("x-gzip", gzip.compress),
            ("gzip, identity", gzip.compress),
            ("gzip", in_members),
            ("deflate", zlib.compress),
            ("deflate", raw_deflate),
            ("identity", bytes),
            ("", bytes),
        ],
    )
    @pytest.mark.parametrize("path", ["/v1/rerank", "/finerank/v1/rerank", "/finerank/v1/overlap"])
    def test_it_is_undone(self, server, path, encoding: str, pack: Callable[[bytes], bytes]) -> None:
        content = pack(json.dumps(NATIVE).encode())
        answer = server.http.post(path, content=content, headers={"content-encoding": encoding})
        assert answer.status_code == 200, answer.text

    @pytest.mark.parametrize("encoding", ["br", "zstd", "compress", "gzip, gzip", "gzip, br"])
    def test_what_is_not_read_is_named_with_what_is(self, server, encoding) -> None:
        answer = server.http.post("/v1/rerank", content=b"x", headers={"content-encoding": encoding})
        assert answer.status_code == 400
        assert answer.json()["detail"] == (
            f"Content-Encoding: '{encoding}' is not read here; send the body as it is, or as gzip or deflate"
        )

    @pytest.mark.parametrize("encoding", ["gzip", "deflate"])
    @pytest.mark.parametrize("content", [b"", b"x", b"not packed at all", "short"])
    def test_what_is_damaged_is_refused(self, server, encoding, content) -> None:
        if content == "short":
            content = (gzip.compress if encoding == "gzip" else zlib.compress)(json.dumps(NATIVE).encode())[:-3]
        answer = server.http.post("/v1/rerank", content=content, headers={"content-encoding": encoding})
        assert answer.status_code == 400
        assert answer.json()["detail"].startswith(f"the body: not {encoding}, as Content-Encoding says: ")

    @pytest.mark.parametrize(("encoding", "pack"), [("gzip", gzip.compress), ("deflate", raw_deflate)])
    def test_a_bomb_is_refused_at_the_limit(self, start_server, encoding, pack) -> None:
        server = start_server(max_body_mb=1)
        bomb = pack(b"x" * 30_000_000)
        assert len(bomb) < 100_000
        answer = server.http.post("/v1/rerank", content=bomb, headers={"content-encoding": encoding})
        assert answer.status_code == 413
        assert "larger than 1000000 bytes" in answer.json()["detail"]

    def test_a_body_that_unpacks_to_nothing_ends_at_the_limit_too(self, start_server) -> None:
        server = start_server(max_body_mb=1)
        empty = gzip.compress(b"")

        def parts():
            for _ in range(100):
                yield empty * 1000

        answer = server.http.post("/v1/rerank", content=parts(), headers={"content-encoding": "gzip"})
        assert answer.status_code == 413

    @pytest.mark.parametrize("size", [1, 2, 3, 1000])
    @pytest.mark.parametrize(("encoding", "pack"), [("gzip", in_members), ("deflate", raw_deflate)])
    def test_the_parts_may_be_of_any_size(self, encoding, pack, size) -> None:
        data = bytes(range(256)) * 1000
        packed = pack(data)
        undo = Decompressor(encoding)
        pieces = [piece for start in range(0, len(packed), size) for piece in undo.pieces(packed[start : start + size])]
        undo.finish()
        assert b"".join(pieces) == data
        assert max(map(len, pieces)) <= PIECE_BYTES

"""`finerank rank --batch`: a file of requests to a file of rankings, in constant memory, going on after a kill.

Every request line gives exactly one output line, in order, that carries its line number: a ranking, or an error. A
run that finds such a file goes on after its last whole line, if what decides its rankings is the same: the first line
tells what that was.
"""

import gzip
import hashlib
import io
import json
import logging
import os
import sys
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from finerank.cli.candidates import parse_document, standard_input
from finerank.cli.render import ranking_json
from finerank.errors import InvalidInput, InvalidSetting, OutOfMemory, ScoreError
from finerank.ranking import Document, check_query

if TYPE_CHECKING:
    from finerank.reranker import Reranker

logger = logging.getLogger("finerank")

GROUP_DOCUMENTS = 512
"""Documents scored together: enough to fill batches, and few enough that a kill loses little."""

_LINE_START = b'{"line": '

_DECIDING = (
    *("template", "long_documents", "chunk_overlap", "pooling", "clean"),
    *("effort", "first_model", "threshold"),
)
"""The settings that decide what is in the rankings, beside the model, its precision and max_length."""

SOME_LINES_BAD = 3
"""The exit code when the run is done and some lines were bad."""


@dataclass(frozen=True, slots=True)
class Request:
    """One line of the input: its number, and what it asks for, or the error it gives."""

    line: int
    query: str = ""
    documents: tuple[Document, ...] = ()
    id: object = None
    error: str = ""


def rank_batch(reranker: "Reranker", source: Path, out: Path | None, top_n: int | None) -> int:
    """Rank every line of `source` into `out` (or standard output); returns the exit code."""
    if out is not None and out.exists() and source.exists() and out.samefile(source):
        raise InvalidSetting(f"--out {out}: is the input; name another")
    run = what_decides(reranker, top_n) if out is not None else {}
    bad = 0
    with _open_input(source) as lines, _open_output(out) as sink, _progress() as bar:
        done = resume_point(out, run) if out is not None else 0
        first = {"run": run} if run and not done else {}
        task = bar.add_task("ranking", total=None, lines=done)
        for group in groups(read_requests(lines, done)):
            for request, answer in zip(group, answers(reranker, group, top_n), strict=True):
                sink.write(json.dumps({"line": request.line, **first, **answer}, ensure_ascii=False) + "\n")
                first = {}
                if "error" in answer:
                    bad += 1
                    bar.console.print(f"line {request.line}: {answer['error']}", style="red", markup=False)
            sink.flush()
            bar.update(task, lines=group[-1].line)
    if bad:
        sys.stderr.write(f"finerank: {bad} bad line(s); their errors are in the output\n")
    return SOME_LINES_BAD if bad else 0


def what_decides(reranker: "Reranker", top_n: int | None) -> dict[str, object]:
    """What decides the rankings of a run, as JSON fields. What moves a logit by rounding alone is left out."""
    content = reranker.files.fingerprint()[:16] if reranker.files else None
    fitted = hashlib.sha256(repr(reranker.calibration).encode()).hexdigest()[:16] if reranker.calibration else None
    return {
        "model": reranker.model,
        "content": content,
        "precision": reranker.device.precision,
        "max_length": reranker.max_length,
        **{name: getattr(reranker.settings, name) for name in _DECIDING},
        "calibration": fitted,
        "top_n": top_n,
    }


def resume_point(out: Path, run: Mapping[str, object]) -> int:
    """The number of the last request answered in `out`; a half-written last line of ours is cut off.

    Raises `InvalidSetting`, and changes nothing, if the file was not written by such a run, or by another (`run` is as
    of `what_decides`).
    """
    if not out.exists() or out.stat().st_size == 0:
        return 0
    foreign = InvalidSetting(f"{out}: exists and is not the output of a batch run; name another")
    with out.open("r+b") as file:
        end = _end_of_last_line(file)
        file.seek(end)
        begun = file.read(len(_LINE_START))
        if not _LINE_START.startswith(begun):
            raise foreign
        try:
            answer = json.loads(_line_before(file, end)) if end else {"line": 0}
            line, written_by = int(answer["line"]), {"model": answer.get("model", run["model"])}
            file.seek(0)
            first = json.loads(file.readline()) if end else {}
            written_by |= first.get("run", {})
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise foreign from error
        if others := [name for name, value in written_by.items() if value != run.get(name)]:
            was, now = (", ".join(f"{name}={of.get(name)!r}" for name in others) for of in (written_by, run))
            raise InvalidSetting(f"{out}: was begun with {was}, not {now}; go on with the same, or name another")
        file.truncate(end)
    return line


def read_requests(lines: Iterable[str], skip: int) -> Iterator[Request]:
    """The requests after line `skip`; blank lines are passed over."""
    for number, line in enumerate(lines, start=1):
        if number > skip and line.strip():
            yield parse_request(number, line)


def parse_request(number: int, line: str) -> Request:
    """One line as a request, or as the error it gives."""
    try:
        fields = json.loads(line)
        if not isinstance(fields, dict) or not isinstance(fields.get("query"), str):
            raise InvalidInput('a request is an object with a string "query" and a list "documents"')
        check_query(fields["query"])
        if not isinstance(fields.get("documents"), list):
            raise InvalidInput('"documents" must be a list')
        documents = tuple(_numbered(index, value) for index, value in enumerate(fields["documents"]))
    except (ValueError, RecursionError) as error:
        return Request(number, error=str(error))
    return Request(number, fields["query"], documents, fields.get("id"))


def groups(requests: Iterable[Request]) -> Iterator[list[Request]]:
    """Neighbouring requests of about `GROUP_DOCUMENTS` documents together."""
    group: list[Request] = []
    size = 0
    for request in requests:
        group.append(request)
        size += max(1, len(request.documents))
        if size >= GROUP_DOCUMENTS:
            yield group
            group, size = [], 0
    if group:
        yield group


def answers(reranker: "Reranker", group: list[Request], top_n: int | None) -> list[dict[str, object]]:
    """What each request of the group gets. If one cannot be scored, they are tried one by one; a failure that is not
    of a request's making, a full disk say, ends the run and is not written down as a bad line."""
    good = [request for request in group if not request.error]
    failure = ""
    try:
        rankings = reranker.rank_many([(request.query, request.documents) for request in good], top_n=top_n)
    except (InvalidInput, ScoreError, OutOfMemory) as error:
        failure = str(error)
    if failure and len(group) > 1:
        return [answer for request in group for answer in answers(reranker, [request], top_n)]
    if failure:
        return [{**_id(group[0]), "error": failure}]
    ranked = {request.line: ranking_json(ranking) for request, ranking in zip(good, rankings, strict=True)}
    return [{**_id(request), **ranked.get(request.line, {"error": request.error})} for request in group]


def _id(request: Request) -> dict[str, object]:
    return {"id": request.id} if request.id is not None else {}


def _numbered(index: int, value: object) -> Document:
    try:
        return parse_document(value)
    except InvalidInput as error:
        raise InvalidInput(f"documents[{index}]: {error}") from error


def _end_of_last_line(file: IO[bytes]) -> int:
    """The offset after the last line break."""
    position = file.seek(0, os.SEEK_END)
    while position > 0:
        size = min(1 << 16, position)
        file.seek(position - size)
        found = file.read(size).rfind(b"\n")
        if found >= 0:
            return position - size + found + 1
        position -= size
    return 0


def _line_before(file: IO[bytes], end: int) -> bytes:
    """The line that ends at offset `end`."""
    size = 1 << 16
    while True:
        start = max(0, end - size)
        file.seek(start)
        content = file.read(end - start).rstrip(b"\n")
        found = content.rfind(b"\n")
        if found >= 0 or start == 0:
            return content[found + 1 :]
        size *= 4


@contextmanager
def _open_input(source: Path) -> Iterator[TextIO]:
    """Standard input, or a file, in UTF-8 with or without a mark; decompressed where its name ends in .gz."""
    if str(source) == "-":
        stream = standard_input()
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8-sig", errors="replace")
        yield stream
        return
    opened = gzip.open if source.suffix == ".gz" else open
    try:
        file = opened(source, "rt", encoding="utf-8-sig", errors="replace")
    except OSError as error:
        raise InvalidInput(f"{source}: {error.strerror}") from error
    with file:
        try:
            yield file
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise InvalidInput(f"{source}: is damaged ({error}); compress it again, and go on") from error


@contextmanager
def _open_output(out: Path | None) -> Iterator[TextIO]:
    """Standard output, or a file that no other run writes to meanwhile."""
    if out is None:
        yield sys.stdout
        return
    try:
        # A lone surrogate becomes \udXXX, which is its JSON escape.
        file = out.open("a", encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise InvalidSetting(f"--out {out}: {error.strerror}") from error
    with file:
        if out.is_file():  # not a pipe or /dev/null, which many may write to
            _lock(file, out)
        yield file


def _lock(file: TextIO, out: Path) -> None:
    """Keep other runs out of the file until it is closed, or the process dies."""
    try:
        import fcntl
    except ImportError:  # Windows, which has no such lock
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise InvalidSetting(f"--out {out}: another run writes to it; wait until it ends, or name another") from error
    except OSError as error:
        logger.warning("--out %s: cannot be locked (%s); let no other run write to it", out, error)


def _progress() -> Progress:
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[lines]} lines"),
        TimeElapsedColumn(),
    )
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)

"""`finerank rank --batch`: a file of requests to a file of rankings, in constant memory; an interrupted run can go on.

Every request line gives exactly one output line, in order, with its line number: a ranking, or an error. The first
output line records what decides the rankings, and every line a fingerprint of the requests up to it: a run goes on with
the output of an earlier one only if both are the same.
"""

import hashlib
import json
import logging
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from finerank.cli.candidates import parse_document
from finerank.cli.interrupt import INTERRUPTED
from finerank.cli.render import ranking_json
from finerank.errors import InvalidInput, InvalidSetting, OutOfMemory, ScoreError
from finerank.io.atomic import OutputPlace, open_append, output_place
from finerank.io.decode import open_lines
from finerank.io.jsonl import is_unicode, parse_json, to_json
from finerank.ranking import Document, check_query
from finerank.settings import check_threshold, check_top_n

if TYPE_CHECKING:
    from finerank.ranking import Ranking
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


_FIELDS = ("query", "documents", "id", "top_n", "threshold")


@dataclass(frozen=True, slots=True)
class Request:
    """One line of the input: its number, the fingerprint of all requests up to it, and what it asks for, or its error.

    `unused` are the fields that have no meaning.
    """

    line: int
    query: str = ""
    documents: tuple[Document, ...] = ()
    id: object = None
    top_n: int | None = None
    threshold: float | None = None
    unused: tuple[str, ...] = ()
    error: str = ""
    input: str = ""


@dataclass(slots=True)
class _Run:
    """What this run has done so far."""

    line: int = 0
    answered: int = 0
    bad: int = 0
    unused: set[str] = field(default_factory=set)


def rank_batch(reranker: "Reranker", source: Path, out: Path | None, top_n: int | None) -> int:
    """Rank every line of `source` into `out` (or standard output); returns the exit code."""
    if out is not None and out.exists() and source.exists() and out.samefile(source):
        raise InvalidSetting(f"--out {out}: is the input; name another")
    resumable = out if out is not None and _place(out).regular else None
    decides = what_decides(reranker, top_n) if resumable is not None else {}
    done = _Run()
    with open_lines(source) as lines, _open_output(out) as (sink, ascii_only), _progress() as bar:
        numbered = _numbered_lines(lines)
        answered = 0
        if resumable is not None:
            answered = resume_point(resumable, decides)
            check_input(numbered, answered, resumable, source)
        first = {"run": decides} if decides and not answered else {}
        task = bar.add_task("ranking", total=None, lines=answered)
        try:
            for group in groups(map(_parse, numbered)):
                for request, answer in zip(group, answers(reranker, group, top_n), strict=True):
                    line = {"line": request.line, "input": request.input, **first, **answer}
                    sink.write(to_json(line, ascii_only=ascii_only) + "\n")
                    first = {}
                    _note(request, answer, done, bar.console)
                sink.flush()
                bar.update(task, lines=done.line)
        except KeyboardInterrupt:
            sink.flush()
            bar.stop()
            _tell_interrupted(done, resumable)
            return INTERRUPTED
    if done.bad:
        sys.stderr.write(f"finerank: {done.bad} bad line(s); their errors are in the output\n")
    return SOME_LINES_BAD if done.bad else 0


def _note(request: Request, answer: Mapping[str, object], done: _Run, console: Console) -> None:
    done.line = request.line
    done.answered += 1
    if "error" in answer:
        done.bad += 1
        why = str(answer["error"]).removeprefix(f"line {request.line}: ")
        console.print(f"line {request.line}: {why}", style="red", markup=False)
    if unused := [name for name in request.unused if name not in done.unused]:
        done.unused.update(unused)
        console.print(
            f"line {request.line}: {', '.join(unused)}: not used; a request has {', '.join(_FIELDS)}",
            style="yellow",
            markup=False,
            soft_wrap=True,
        )


def _tell_interrupted(done: _Run, out: Path | None) -> None:
    what = f"finerank: stopped; this run answered {done.answered} request(s)"
    if done.answered:
        what += f", the last on line {done.line}"
    then = (
        f"They are in {out}; give the same command to go on"
        if out is not None
        else "Without --out FILE a run begins at the first line again"
    )
    sys.stderr.write(f"{what}. {then}\n")


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


def check_input(lines: Iterator[tuple[int, str, str]], answered: int, out: Path, source: Path) -> None:
    """Skip the lines that `out` answers. Raises `InvalidSetting` if they are not those it answers."""
    if not answered:
        return
    read = next(((number, input_) for number, _, input_ in lines if number >= answered), (0, ""))
    with out.open("rb") as file:
        known = json.loads(_line_before(file, _end_of_last_line(file))).get("input")
    if known is None:
        logger.warning("%s: does not say which requests it answers; make sure that %s begins with them", out, source)
    if read[0] != answered or known not in (None, read[1]):
        raise InvalidSetting(
            f"{out}: answers other requests than the first {answered} lines of {source}, which were changed, moved or "
            "removed since; restore them, delete the output to rank all again, or name another"
        )


def _numbered_lines(lines: Iterable[str]) -> Iterator[tuple[int, str, str]]:
    """Every line that is not blank: its number, its text, and the fingerprint of all up to it."""
    state = hashlib.blake2b(digest_size=12)
    for number, line in enumerate(lines, start=1):
        if text := line.strip():
            state.update(f"{number}\0{text}\0".encode("utf-8", "surrogatepass"))
            yield number, text, state.hexdigest()


def _parse(line: tuple[int, str, str]) -> Request:
    number, text, input_ = line
    return replace(parse_request(number, text), input=input_)


def parse_request(number: int, line: str) -> Request:
    """One line as a request, or as the error it gives."""
    id_: object = None
    try:
        fields = parse_json(line, f"line {number}")
        id_ = fields.get("id") if isinstance(fields, dict) else None
        if not isinstance(fields, dict) or not isinstance(fields.get("query"), str):
            raise InvalidInput('a request is an object with a string "query" and a list "documents"')
        check_query(fields["query"])
        if not isinstance(fields.get("documents"), list):
            raise InvalidInput('"documents" must be a list')
        documents = tuple(_numbered(index, value) for index, value in enumerate(fields["documents"]))
        top_n, threshold = check_top_n(fields.get("top_n")), check_threshold(fields.get("threshold"))
    except (ValueError, RecursionError) as error:
        return Request(number, id=id_, error=str(error))
    unused = tuple(name for name in fields if name not in _FIELDS)
    return Request(number, fields["query"], documents, id_, top_n, threshold, unused)


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
    """What each request of the group gets; its own `top_n` and `threshold` go before those of the run.

    If one cannot be scored, they are tried one by one; a failure that is not of a request's making, a full disk say,
    ends the run and is not written down as a bad line.
    """
    good = [request for request in group if not request.error]
    rankings: dict[int, Ranking] = {}
    failure = ""
    try:
        for limits in dict.fromkeys((request.top_n, request.threshold) for request in good):
            alike = [request for request in good if (request.top_n, request.threshold) == limits]
            pairs = [(request.query, request.documents) for request in alike]
            kept = top_n if limits[0] is None else limits[0]
            ranked = reranker.rank_many(pairs, top_n=kept, threshold=limits[1])
            rankings |= {request.line: ranking for request, ranking in zip(alike, ranked, strict=True)}
    except (InvalidInput, ScoreError, OutOfMemory) as error:
        failure = str(error)
    if failure and len(group) > 1:
        return [answer for request in group for answer in answers(reranker, [request], top_n)]
    if failure:
        return [{**_id(group[0]), "error": failure}]
    return [{**_id(each), **_answer(each, rankings)} for each in group]


def _answer(request: Request, rankings: "Mapping[int, Ranking]") -> dict[str, object]:
    return {"error": request.error} if request.error else ranking_json(rankings[request.line])


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


def _place(out: Path) -> OutputPlace:
    try:
        return output_place(out)
    except OSError as error:
        raise InvalidSetting(f"--out {out}: {error.strerror}") from error


@contextmanager
def _open_output(out: Path | None) -> Iterator[tuple[TextIO, bool]]:
    """Standard output, or a file that no other run writes to meanwhile; and whether it takes ASCII only."""
    if out is None:
        yield sys.stdout, not is_unicode(sys.stdout)
        return
    with ExitStack() as opened:
        try:
            file = opened.enter_context(open_append(out))
        except OSError as error:
            raise InvalidSetting(f"--out {out}: {error.strerror}") from error
        if _place(out).regular:  # not a pipe or /dev/null, which many may write to
            _lock(file, out)
        yield file, False


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

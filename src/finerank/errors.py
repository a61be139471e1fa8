"""Every exception finerank raises.

FinerankError
├── InvalidInput        a query or document that cannot be scored (also a ValueError)
│   └── UnreadableQuery    of whose words the model knows none
├── InvalidSetting      an option with a wrong name or value (also a ValueError)
│   └── UnusablePath    a file or folder that cannot be read or written as asked
├── MissingExtra        an optional dependency is not installed (also an ImportError)
├── ModelError
│   ├── ModelNotFound   no such folder, no such hub id, or not cached while offline
│   ├── BrokenModel     files are missing, truncated or not readable
│   ├── UnsupportedModel   readable, and not a reranker finerank can run
│   └── ParityFailed    an exported model does not rank as its source does
├── DeviceError
│   ├── DeviceUnavailable  the device asked for fails one of its checks
│   ├── OutOfMemory        even a single pair does not fit
│   └── LostThreads        a forked process would wait forever for threads of its parent
├── TrainingCollapsed   a model in training no longer learns to rank
├── ScoreError          the model answered NaN or infinity, or scoring failed on a server
├── UnreadableFile      a file that is no document finerank can read
├── StoreError          a document store cannot be read or written
│   ├── StoreNotFound   no store there
│   └── StoreLocked     another process writes to it
├── EndpointError       an HTTP endpoint is down, slow, refuses or breaks off
├── CacheError          the score cache cannot be opened or written
└── RequestRefused      the server does not do what a request asks
    ├── RequestTooLarge     more bytes, documents or tokens than it may have
    ├── Unauthorized        no API key, or a wrong one
    ├── Forbidden           not allowed here, whatever the key
    ├── NotFound            no such path, model or dialect
    ├── Overloaded          the queue is full (`retry_after_s` says when to come again)
    ├── Unavailable         no model is ready, the server shuts down, or is not there (`retry_after_s`)
    └── DeadlineExceeded    its time was up before it was answered
"""

from finerank.messages import Message


class FinerankError(Exception):
    """Anything finerank raises on purpose; the message names the value and the fix."""


class InvalidInput(FinerankError, ValueError):
    """A query or a document that cannot be scored."""


class UnreadableQuery(InvalidInput):
    """A query of whose words the model knows none."""


class InvalidSetting(FinerankError, ValueError):
    """An option with a wrong name or value; `option` is its name where it is one of the settings."""

    def __init__(self, message: str, *, option: str = "") -> None:
        super().__init__(message)
        self.option = option


class UnusablePath(InvalidSetting):
    """A file or folder that an option names and that cannot be read or written as asked."""


class MissingExtra(FinerankError, ImportError):
    """An optional dependency is not installed."""

    def __init__(self, what: str, extra: str) -> None:
        message = "{what} needs an extra that is not installed: pip install 'finerank[{extra}]'"
        super().__init__(Message(message, "extra.missing", what=what, extra=extra))
        self.what = what
        self.extra = extra


class ModelError(FinerankError):
    """Something about a model's files."""


class ModelNotFound(ModelError):
    """No such folder, no such hub id, or not cached while offline."""


class BrokenModel(ModelError):
    """Model files are missing, truncated or not readable."""


class UnsupportedModel(ModelError):
    """A readable model that is not a reranker finerank can run."""


class ParityFailed(ModelError):
    """An exported model does not rank as its source does."""


class DeviceError(FinerankError):
    """Something about the device that scores."""


class DeviceUnavailable(DeviceError):
    """The device asked for fails one of its checks."""


class OutOfMemory(DeviceError):
    """A batch does not fit into the device's memory."""


class LostThreads(DeviceError):
    """A forked process has none of the threads that compute, and would wait for them forever."""


class TrainingCollapsed(FinerankError):
    """A model in training no longer learns to rank: its loss is NaN, its scores are alike, or the dev set got worse."""


class ScoreError(FinerankError):
    """The model answered NaN or infinity, or scoring failed on a server."""


class UnreadableFile(FinerankError):
    """A file that is no document finerank can read: damaged, encrypted, empty, of another kind."""


class StoreError(FinerankError):
    """A document store cannot be read or written."""


class StoreNotFound(StoreError):
    """There is no document store at the place named."""


class StoreLocked(StoreError):
    """Another process writes to the document store."""


class EndpointError(FinerankError):
    """An HTTP endpoint (embeddings, chat) is down, slow, refuses, or breaks off."""


class CacheError(FinerankError):
    """The score cache cannot be opened or written."""


class RequestRefused(FinerankError):
    """The server does not do what a request asks."""

    def __init__(self, message: str, *, retry_after_s: int | None = None, scope: str = "") -> None:
        """`scope` names what a key must allow, if that is what is missing: rank, metrics or admin."""
        super().__init__(message)
        self.retry_after_s = retry_after_s
        self.scope = scope


class RequestTooLarge(RequestRefused):
    """More bytes, documents or tokens than a request may have."""


class Unauthorized(RequestRefused):
    """No API key, or a wrong one."""


class Forbidden(RequestRefused):
    """Not allowed: with this key, from this web page, or under this host name."""


class NotFound(RequestRefused):
    """No such path, model or dialect."""


class Overloaded(RequestRefused):
    """The queue is full."""


class Unavailable(RequestRefused):
    """No model is ready, the server shuts down, or is not there."""


class DeadlineExceeded(RequestRefused):
    """A request's time was up before it was answered."""

"""finerank puts the passages that answer a question first.

>>> from finerank import Reranker
>>> reranker = Reranker.from_pretrained()                        # doctest: +SKIP
>>> reranker.rank("where is the reset button?", passages)[0]     # doctest: +SKIP

`Reranker` and `RemoteReranker` are resolved on first use, so that `import finerank` loads neither numpy, nor a model
runtime, nor an HTTP client.
"""

from typing import TYPE_CHECKING

from finerank.errors import (
    BrokenModel,
    CacheError,
    DeadlineExceeded,
    DeviceError,
    DeviceUnavailable,
    EndpointError,
    FinerankError,
    Forbidden,
    InvalidInput,
    InvalidSetting,
    LostThreads,
    MissingExtra,
    ModelError,
    ModelNotFound,
    NotFound,
    OutOfMemory,
    Overloaded,
    ParityFailed,
    RequestRefused,
    RequestTooLarge,
    ScoreError,
    StoreError,
    StoreLocked,
    StoreNotFound,
    TrainingCollapsed,
    Unauthorized,
    Unavailable,
    UnreadableFile,
    UnreadableQuery,
    UnsupportedModel,
    UnusablePath,
)
from finerank.ranking import Document, PairScore, RankedDocument, Ranker, Ranking, Usage, rank_by_score

if TYPE_CHECKING:
    from finerank.explain import Explanation
    from finerank.remote import RemoteReranker
    from finerank.reranker import Reranker

__version__ = "0.1.0"

__all__ = [
    "BrokenModel",
    "CacheError",
    "DeadlineExceeded",
    "DeviceError",
    "DeviceUnavailable",
    "Document",
    "EndpointError",
    "Explanation",
    "FinerankError",
    "Forbidden",
    "InvalidInput",
    "InvalidSetting",
    "LostThreads",
    "MissingExtra",
    "ModelError",
    "ModelNotFound",
    "NotFound",
    "OutOfMemory",
    "Overloaded",
    "PairScore",
    "ParityFailed",
    "RankedDocument",
    "Ranker",
    "Ranking",
    "RemoteReranker",
    "RequestRefused",
    "RequestTooLarge",
    "Reranker",
    "ScoreError",
    "StoreError",
    "StoreLocked",
    "StoreNotFound",
    "TrainingCollapsed",
    "Unauthorized",
    "Unavailable",
    "UnreadableFile",
    "UnreadableQuery",
    "UnsupportedModel",
    "UnusablePath",
    "Usage",
    "__version__",
    "rank_by_score",
]

_LAZY = {
    "Reranker": "finerank.reranker",
    "RemoteReranker": "finerank.remote",
    "Explanation": "finerank.explain",
}


def __getattr__(name: str) -> object:
    if name in _LAZY:
        from importlib import import_module

        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'finerank' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__

"""`effort="fast"`: a quick first look at all candidates, so that the model scores only those that can reach the top.

The look is taken by the model's own early exit (its first layers and a head trained for them) or by a small model. What
it leaves is scored as ever; what it sorts out is not in the ranking.
"""

from finerank.errors import InvalidSetting
from finerank.scoring.backend import Shortenable
from finerank.scoring.exits import find_exit
from finerank.scoring.model_files import ModelFiles, find_model
from finerank.scoring.scorer import Scorer
from finerank.settings import DEFAULT_MODEL, Settings

_WITH_EXITS = ("native", "torch")
_WORTH_IT = 0.5  # a small model's operations, as a part of the model's


def small_model(settings: Settings, files: ModelFiles) -> Settings | None:
    """How to load the small model that takes the look, None where the model's own exit takes it.

    Raises `InvalidSetting` if there is no exit, and the model too small for one before it to save anything.
    """
    if settings.first_model is None and files.backend in _WITH_EXITS and find_exit(files):
        return None
    name = settings.first_model or DEFAULT_MODEL
    small = find_model(name, device=settings.device)
    if settings.first_model is None and _operations(small) > _WORTH_IT * _operations(files):
        raise InvalidSetting(
            f"effort='fast': {files.name} has no early exit (or backend={files.backend!r} cannot take it), and is too "
            f"small to be preceded by {name}; name a smaller first_model, or train an exit with exit_layers"
        )
    return Settings(
        model=name,
        device=settings.device,
        threads=settings.threads,
        max_length=settings.max_length and min(settings.max_length, small.usable_length),
        chunk_overlap=settings.chunk_overlap,
        clean=settings.clean,
        deterministic=settings.deterministic,
        passage_cache_mb=settings.passage_cache_mb,
    )


def exit_scorer(scorer: Scorer, files: ModelFiles) -> Scorer:
    """A scorer of the same pairs by the model's early exit; the two take turns."""
    backend, early = scorer.backend, find_exit(files)
    assert isinstance(backend, Shortenable)
    assert early is not None
    return Scorer(backend.shortened(early), max_batch_tokens=scorer.max_batch_tokens, forward_lock=scorer.forward_lock)


def _operations(files: ModelFiles) -> int:
    """The weights that a token meets, for the comparison of two encoders."""
    layers, hidden, inner = (
        int(files.config.get(name) or 0) for name in ("num_hidden_layers", "hidden_size", "intermediate_size")
    )
    return layers * hidden * (4 * hidden + 2 * inner)

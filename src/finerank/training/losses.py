"""Losses by name, over lists of scored passages.

Every loss takes `scores`, `labels` and `given`, [lists, passages] each: the model's logits, the grade of each passage
(above 0 is relevant), and which places hold a passage at all. It returns one number, averaged over what it counts:
passages, pairs or lists. A distillation loss takes a teacher's logits for labels.

>>> make_loss("infonce", top_grade=1)(scores, labels, given)     # doctest: +SKIP
"""

import math
from collections.abc import Callable, Mapping

from finerank.errors import InvalidSetting, MissingExtra

try:
    import torch
    from torch import Tensor
    from torch.nn import functional as F  # noqa: N812 - torch's own convention
except ImportError as error:
    raise MissingExtra("training", "train") from error

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]

MARGIN = 1.0
"""Logits by which a better passage must lead in the triplet loss."""

MIN_STEP = 0.01
"""Logits between two thresholds of the ordinal loss, at least: with none a grade would have no chance at all."""


def binary_cross_entropy(scores: Tensor, labels: Tensor, given: Tensor) -> Tensor:
    """Pointwise: each passage is relevant or not. A grade between 0 and 1 is taken as a probability."""
    return F.binary_cross_entropy_with_logits(scores[given], labels[given].clamp(0, 1))


class MeanSquaredError(torch.nn.Module):
    """Pointwise regression of the score, sigmoid(logit), on grades as parts of the highest grade of the data."""

    def __init__(self, top_grade: float) -> None:
        super().__init__()
        self._top_grade = max(top_grade, 1.0)

    def forward(self, scores: Tensor, labels: Tensor, given: Tensor) -> Tensor:
        return F.mse_loss(torch.sigmoid(scores[given]), labels[given] / self._top_grade)


class OrdinalCrossEntropy(torch.nn.Module):
    """Pointwise multi-class cross-entropy over the grades 0, 1, ..., with one logit: grade > k has the probability
    sigmoid(logit - threshold k), the thresholds learned (proportional odds; McCullagh 1980, "Regression models for
    ordinal data").

    A served reranker has one logit, and K separate class scores would have to be folded into one afterwards.
    """

    def __init__(self, top_grade: float) -> None:
        super().__init__()
        grades = 1 + round(top_grade)
        if grades < 2:
            raise InvalidSetting(f"loss='ordinal': needs grades 0, 1, ..., and the highest in the data is {top_grade}")
        self.first = torch.nn.Parameter(torch.tensor(-0.5 * (grades - 2)))
        self.steps = torch.nn.Parameter(torch.full((grades - 2,), 0.5254))  # so that a step is 1

    @property
    def thresholds(self) -> Tensor:
        """Logits between one grade and the next, rising: float32 [grades - 1]."""
        return torch.cat([self.first[None], self.first + (MIN_STEP + F.softplus(self.steps)).cumsum(0)])

    def forward(self, scores: Tensor, labels: Tensor, given: Tensor) -> Tensor:
        edges = F.pad(self.thresholds, (1, 1), value=torch.inf)
        grades = labels[given].round().long().clamp(0, len(edges) - 2)
        low, high = torch.where(grades == 0, -torch.inf, edges[grades]), edges[grades + 1]
        # log(sigmoid(s - low) - sigmoid(s - high)), in parts that stay finite, with a gradient, however far s is off.
        inside = F.logsigmoid(scores[given] - low) + F.logsigmoid(high - scores[given])
        return -(inside + torch.log1p(-torch.exp(low - high))).mean()


def ranknet(scores: Tensor, labels: Tensor, given: Tensor) -> Tensor:
    """Pairwise logistic loss over all pairs of different grade (Burges et al. 2005, "Learning to rank using gradient
    descent", equation 3)."""
    ahead, better = _pairs(scores, labels, given)
    return F.softplus(-ahead[better]).sum() / better.sum().clamp_min(1)


def triplet(scores: Tensor, labels: Tensor, given: Tensor) -> Tensor:
    """Pairwise hinge: the better passage leads by `MARGIN` logits, or pays for what is missing."""
    ahead, better = _pairs(scores, labels, given)
    return F.relu(MARGIN - ahead[better]).sum() / better.sum().clamp_min(1)


def listnet(scores: Tensor, labels: Tensor, given: Tensor) -> Tensor:
    """Listwise: cross-entropy between the top-one probabilities of grades and of scores (Cao et al. 2007, "Learning to
    rank: from pairwise approach to listwise approach", section 4.3)."""
    return _cross_entropy(labels, scores, given)


def infonce(scores: Tensor, labels: Tensor, given: Tensor) -> Tensor:
    """Listwise contrastive: each relevant passage against all that are not (van den Oord et al. 2018,
    "Representation learning with contrastive predictive coding", equation 4); the loss of bge-reranker. A list
    without a relevant passage counts nothing."""
    relevant = (labels > 0) & given
    against = scores.masked_fill(relevant | ~given, -torch.inf).logsumexp(1, keepdim=True)
    losses = torch.logaddexp(scores, against) - scores
    return losses[relevant].sum() / relevant.sum().clamp_min(1)


def lambda_loss(scores: Tensor, labels: Tensor, given: Tensor) -> Tensor:
    """Listwise, a bound on nDCG: pairs weighed by what swapping them would change (Wang et al. 2018, "The LambdaLoss
    framework for ranking metric optimization", NDCG-Loss2++, with a mu of 10 as in sentence-transformers)."""
    ahead, better = _pairs(scores, labels, given)
    gains = (2 ** labels.masked_fill(~given, 0) - 1) / _ideal_dcg(labels, given)
    ranks = scores.detach().masked_fill(~given, -torch.inf).argsort(1, descending=True).argsort(1) + 1.0
    apart = (ranks[:, :, None] - ranks[:, None, :]).abs()
    distance = (1 / torch.log2(1 + apart.clamp_min(1)) - 1 / torch.log2(2 + apart.clamp_min(1))).abs()
    discount = 1 / torch.log2(1 + ranks)
    swap = (discount[:, :, None] - discount[:, None, :]).abs()
    weights = (10 * distance + swap) * (gains[:, :, None] - gains[:, None, :]).abs()
    losses = weights * F.softplus(-ahead) / math.log(2)  # base 2: only then is it a bound
    return losses[better].sum() / better.flatten(1).any(1).sum().clamp_min(1)


def margin_mse(scores: Tensor, teacher: Tensor, given: Tensor) -> Tensor:
    """Distillation: differences between the student's logits match those between the teacher's (Hofstätter et al.
    2020, "Improving efficient neural ranking models with cross-architecture knowledge distillation", Margin-MSE),
    over all pairs of two passages of a list."""
    both = _both(given) & ~torch.eye(given.shape[1], dtype=torch.bool, device=given.device)
    margins, wanted = (each[:, :, None] - each[:, None, :] for each in (scores, teacher))
    return ((margins - wanted)[both] ** 2).sum() / both.sum().clamp_min(1)


def kl_divergence(scores: Tensor, teacher: Tensor, given: Tensor) -> Tensor:
    """Distillation: KL divergence from the teacher's softmax over a list to the student's (Hinton et al. 2015,
    "Distilling the knowledge in a neural network", at temperature 1)."""
    entropy = _cross_entropy(teacher, teacher, given).detach()
    return _cross_entropy(teacher, scores, given) - entropy


LOSSES: Mapping[str, Loss] = {
    "bce": binary_cross_entropy,
    "ranknet": ranknet,
    "triplet": triplet,
    "listnet": listnet,
    "lambda": lambda_loss,
    "infonce": infonce,
}

GRADED_LOSSES: Mapping[str, Callable[[float], Loss]] = {"mse": MeanSquaredError, "ordinal": OrdinalCrossEntropy}
"""Those that must know the highest grade of the data."""

LOSS_NAMES = (*LOSSES, *GRADED_LOSSES)

DISTILLATIONS: Mapping[str, Loss] = {"margin-mse": margin_mse, "kl": kl_divergence}


def make_loss(name: str, top_grade: float) -> Loss:
    """The loss of this name for data with grades up to `top_grade`."""
    return LOSSES[name] if name in LOSSES else GRADED_LOSSES[name](top_grade)


def _both(given: Tensor) -> Tensor:
    return given[:, :, None] & given[:, None, :]


def _pairs(scores: Tensor, labels: Tensor, given: Tensor) -> tuple[Tensor, Tensor]:
    """How far passage i leads passage j in logits, and whether its grade is higher: [lists, passages, passages]."""
    better = (labels[:, :, None] > labels[:, None, :]) & _both(given)
    return scores[:, :, None] - scores[:, None, :], better


def _cross_entropy(target: Tensor, scores: Tensor, given: Tensor) -> Tensor:
    """Between the softmax over each list of `target` and of `scores`, averaged over lists."""
    wanted = target.masked_fill(~given, -torch.inf).softmax(1)
    logs = scores.masked_fill(~given, -torch.inf).log_softmax(1).masked_fill(~given, 0)
    return -(wanted * logs).sum(1).mean()


def _ideal_dcg(labels: Tensor, given: Tensor) -> Tensor:
    best = labels.masked_fill(~given, 0).sort(1, descending=True).values
    discount = torch.log2(torch.arange(2, best.shape[1] + 2, device=labels.device, dtype=labels.dtype))
    return ((2**best - 1) / discount).sum(1, keepdim=True).clamp_min(1e-9)

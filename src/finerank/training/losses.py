"""Losses by name, over lists of scored passages.

Every loss takes `scores`, `labels` and `given`, [lists, passages] each: the model's logits, the grade of each passage
(above 0 is relevant), and which places hold a passage at all. It returns one number, averaged over what it counts:
passages, pairs or lists. A distillation loss takes a teacher's logits for labels.

>>> LOSSES["infonce"](scores, labels, given)     # doctest: +SKIP
"""

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


def binary_cross_entropy(scores: Tensor, labels: Tensor, given: Tensor) -> Tensor:
    """Pointwise: each passage is relevant or not. A grade between 0 and 1 is taken as a probability."""
    return F.binary_cross_entropy_with_logits(scores[given], labels[given].clamp(0, 1))


def mean_squared_error(scores: Tensor, labels: Tensor, given: Tensor) -> Tensor:
    """Pointwise regression of the score, sigmoid(logit), on grades scaled to 0..1."""
    return F.mse_loss(torch.sigmoid(scores[given]), _unit(labels, given)[given])


class OrdinalCrossEntropy(torch.nn.Module):
    """Pointwise multi-class cross-entropy over the grades 0, 1, ..., with one logit: grade > k has the probability
    sigmoid(logit - threshold k), the thresholds learned (proportional odds; McCullagh 1980).

    A served reranker has one logit, and K separate class scores would have to be folded into one afterwards.
    """

    def __init__(self, grades: int) -> None:
        super().__init__()
        if grades < 2:
            raise InvalidSetting(f"loss='ordinal': needs grades of 0 and more, and the data has {grades} grade")
        self.first = torch.nn.Parameter(torch.tensor(-0.5 * (grades - 2)))
        self.steps = torch.nn.Parameter(torch.full((grades - 2,), 0.5413))  # softplus(0.5413) is 1

    def forward(self, scores: Tensor, labels: Tensor, given: Tensor) -> Tensor:
        thresholds = torch.cat([self.first[None], self.first + F.softplus(self.steps).cumsum(0)])
        above = torch.sigmoid(scores[given][:, None] - thresholds)
        ends = torch.ones_like(above[:, :1])
        chances = torch.cat([ends, above], 1) - torch.cat([above, 0 * ends], 1)
        chosen = chances.gather(1, labels[given].round().long()[:, None])
        return -torch.log(chosen.clamp_min(1e-9)).mean()


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
    framework for ranking metric optimization", NDCG-Loss2++, with its mu of 10)."""
    ahead, better = _pairs(scores, labels, given)
    gains = (2 ** labels.masked_fill(~given, 0) - 1) / _ideal_dcg(labels, given)
    ranks = scores.detach().masked_fill(~given, -torch.inf).argsort(1, descending=True).argsort(1) + 1.0
    apart = (ranks[:, :, None] - ranks[:, None, :]).abs()
    distance = (1 / torch.log2(1 + apart.clamp_min(1)) - 1 / torch.log2(2 + apart.clamp_min(1))).abs()
    discount = 1 / torch.log2(1 + ranks)
    swap = (discount[:, :, None] - discount[:, None, :]).abs()
    weights = (10 * distance + swap) * (gains[:, :, None] - gains[:, None, :]).abs()
    return (weights * F.softplus(-ahead))[better].sum() / (better.flatten(1).any(1)).sum().clamp_min(1)


def margin_mse(scores: Tensor, teacher: Tensor, given: Tensor) -> Tensor:
    """Distillation: differences between the student's logits match those between the teacher's (Hofstätter et al.
    2020, "Improving efficient neural ranking models with cross-architecture knowledge distillation", equation 6),
    over all pairs of a list."""
    both = _both(given)
    student = (scores[:, :, None] - scores[:, None, :])[both]
    return F.mse_loss(student, (teacher[:, :, None] - teacher[:, None, :])[both])


def kl_divergence(scores: Tensor, teacher: Tensor, given: Tensor) -> Tensor:
    """Distillation: KL divergence from the teacher's softmax over a list to the student's (Hinton et al. 2015,
    "Distilling the knowledge in a neural network", at temperature 1)."""
    entropy = _cross_entropy(teacher, teacher, given).detach()
    return _cross_entropy(teacher, scores, given) - entropy


LOSSES: Mapping[str, Loss] = {
    "bce": binary_cross_entropy,
    "mse": mean_squared_error,
    "ranknet": ranknet,
    "triplet": triplet,
    "listnet": listnet,
    "lambda": lambda_loss,
    "infonce": infonce,
}
"""By name; besides these there is `ordinal`, which has parameters of its own."""

DISTILLATIONS: Mapping[str, Loss] = {"margin-mse": margin_mse, "kl": kl_divergence}

LOSS_NAMES = (*LOSSES, "ordinal")


def _unit(labels: Tensor, given: Tensor) -> Tensor:
    return labels / labels[given].max().clamp_min(1)


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

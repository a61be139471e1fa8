"""Losses against slow references in plain Python, written from the formulas."""

import math
from collections.abc import Callable
from itertools import permutations

import pytest
import torch

from finerank import InvalidSetting
from finerank.training.losses import DISTILLATIONS, LOSS_NAMES, OrdinalCrossEntropy, lambda_loss, make_loss

Lists = list[tuple[list[float], list[float]]]

LISTS: Lists = [
    ([1.2, -0.3, 0.5, 2.0], [2.0, 0.0, 1.0, 0.0]),
    ([0.1, -1.0], [1.0, 0.0]),
    ([0.7, 0.2, -0.4], [0.0, 3.0, 1.0]),
    ([0.3, 0.4], [0.0, 0.0]),
]
TOP_GRADE = 3.0


def tensors(lists: Lists, junk: float = 0.0, width: int = 5) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    scores, labels = (
        torch.tensor([[*row[side], *[junk] * (width - len(row[side]))] for row in lists]) for side in (0, 1)
    )
    given = torch.tensor([[place < len(row[0]) for place in range(width)] for row in lists])
    return scores.requires_grad_(), labels, given


def value(loss: torch.Tensor) -> float:
    return float(loss.detach())


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def softmax(values: list[float]) -> list[float]:
    whole = sum(map(math.exp, values))
    return [math.exp(value) / whole for value in values]


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


def pointwise(loss: Callable[[float, float], float]) -> Callable[[Lists], float]:
    return lambda lists: mean([loss(s, y) for scores, labels in lists for s, y in zip(scores, labels, strict=True)])


def pairwise(loss: Callable[[float], float]) -> Callable[[Lists], float]:
    def whole(lists: Lists) -> float:
        return mean(
            [
                loss(s1 - s2)
                for row in lists
                for (s1, y1), (s2, y2) in permutations(zip(*row, strict=True), 2)
                if y1 > y2
            ]
        )

    return whole


def bce(score: float, label: float) -> float:
    chance = min(label, 1.0)
    return -chance * math.log(sigmoid(score)) - (1 - chance) * math.log(1 - sigmoid(score))


def ordinal(score: float, label: float) -> float:
    above = [1.0, *(sigmoid(score - threshold) for threshold in (-1, 0, 1)), 0.0]
    return -math.log(above[int(label)] - above[int(label) + 1])


def listnet(lists: Lists) -> float:
    return mean(
        [-sum(p * math.log(q) for p, q in zip(softmax(y), softmax(s), strict=True)) for s, y in lists],
    )


def infonce(lists: Lists) -> float:
    losses = []
    for scores, labels in lists:
        against = [math.exp(s) for s, y in zip(scores, labels, strict=True) if y == 0]
        losses += [
            -math.log(math.exp(s) / (math.exp(s) + sum(against))) for s, y in zip(scores, labels, strict=True) if y > 0
        ]
    return mean(losses)


def ndcg_loss2pp(lists: Lists) -> float:
    """(rho + mu delta) |G_i - G_j| log2(1 + exp(s_j - s_i)), summed over the pairs of a list."""
    sums = []
    for scores, labels in lists:
        ideal = sum((2**y - 1) / math.log2(1 + rank) for rank, y in enumerate(sorted(labels, reverse=True), start=1))
        order = sorted(range(len(scores)), key=lambda index: -scores[index])
        whole, pairs = 0.0, 0
        for (i, a), (j, b) in permutations(enumerate(order, start=1), 2):
            if labels[a] > labels[b]:
                rho = abs(1 / math.log2(1 + i) - 1 / math.log2(1 + j))
                delta = abs(1 / math.log2(1 + abs(i - j)) - 1 / math.log2(2 + abs(i - j)))
                gain = (2 ** labels[a] - 2 ** labels[b]) / ideal
                whole += (rho + 10 * delta) * gain * math.log2(1 + math.exp(scores[b] - scores[a]))
                pairs += 1
        sums += [whole] if pairs else []
    return mean(sums)


REFERENCES: dict[str, Callable[[Lists], float]] = {
    "bce": pointwise(bce),
    "mse": pointwise(lambda score, label: (sigmoid(score) - label / TOP_GRADE) ** 2),
    "ordinal": pointwise(ordinal),
    "ranknet": pairwise(lambda ahead: math.log(1 + math.exp(-ahead))),
    "triplet": pairwise(lambda ahead: max(0.0, 1 - ahead)),
    "listnet": listnet,
    "infonce": infonce,
    "lambda": ndcg_loss2pp,
}


def margin_mse(lists: Lists) -> float:
    return mean(
        [
            ((s1 - s2) - (t1 - t2)) ** 2
            for row in lists
            for (s1, t1), (s2, t2) in permutations(zip(*row, strict=True), 2)
        ]
    )


def kl(lists: Lists) -> float:
    return mean([sum(p * math.log(p / q) for p, q in zip(softmax(t), softmax(s), strict=True)) for s, t in lists])


EVERY = [*LOSS_NAMES, *DISTILLATIONS]


def loss_named(name: str) -> Callable[..., torch.Tensor]:
    return DISTILLATIONS[name] if name in DISTILLATIONS else make_loss(name, TOP_GRADE)


@pytest.mark.parametrize("name", EVERY)
def test_it_is_what_the_formula_says(name: str):
    expected = {**REFERENCES, "margin-mse": margin_mse, "kl": kl}[name](LISTS)
    assert value(loss_named(name)(*tensors(LISTS))) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("junk", [9.0, -1e4])
def test_padding_never_matters(name: str, junk: float):
    scores, labels, given = tensors(LISTS, junk)
    loss = loss_named(name)(scores, labels, given)
    loss.backward()
    assert value(loss) == pytest.approx(value(loss_named(name)(*tensors(LISTS, width=4))), rel=1e-5)
    assert scores.grad is not None
    assert scores.grad[~given].eq(0).all()
    assert scores.grad.isfinite().all()
    assert scores.grad[given].any()


@pytest.mark.parametrize("name", EVERY)
def test_the_order_of_passages_never_matters(name: str):
    turned = [(scores[::-1], labels[::-1]) for scores, labels in LISTS]
    assert value(loss_named(name)(*tensors(turned))) == pytest.approx(value(loss_named(name)(*tensors(LISTS))))


@pytest.mark.parametrize("name", EVERY)
def test_a_better_order_costs_less(name: str):
    losses = [
        value(loss_named(name)(*tensors([(scores, [3.0, 0.0, 0.0])])))
        for scores in ([2.0, 0.0, -2.0], [0.0, 2.0, -2.0], [-2.0, 0.0, 2.0])
    ]
    assert losses[0] < losses[1] < losses[2]


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("labels", [[1.0, 0.0, 3.0], [0.0, 0.0, 0.0], [1.0, 1.0, 1.0]])
def test_the_gradient_is_finite_however_far_off_the_scores_are(name: str, labels: list[float]):
    scores, grades, given = tensors([([300.0, -300.0, 0.0], labels), ([0.0], [1.0])])
    loss = loss_named(name)(scores, grades, given)
    loss.backward()
    assert loss.isfinite()
    assert scores.grad is not None
    assert scores.grad.isfinite().all()


def test_ordinal_pulls_back_a_score_that_is_far_off():
    scores, labels, given = tensors([([300.0, -300.0], [0.0, 3.0])])
    make_loss("ordinal", 3)(scores, labels, given).backward()
    assert scores.grad is not None
    assert scores.grad[0, 0] > 0.1
    assert scores.grad[0, 1] < -0.1


def test_ordinal_thresholds_stay_in_order():
    loss = OrdinalCrossEntropy(4)
    torch.nn.init.normal_(loss.steps, std=9.0, generator=torch.Generator().manual_seed(0))
    assert len(loss.thresholds) == 4
    assert (loss.thresholds.diff() > 0).all()


def test_ordinal_thresholds_learn():
    loss = OrdinalCrossEntropy(3)
    loss(*tensors(LISTS)).backward()
    assert all(part.grad is not None and part.grad.abs().max() > 0 for part in loss.parameters())


def test_ordinal_needs_more_than_one_grade():
    with pytest.raises(InvalidSetting, match="grades"):
        make_loss("ordinal", 0.0)


@pytest.mark.parametrize("scores", [[3.0, 1.0, -1.0], [-1.0, 0.0, 0.1], [0.0, 0.0, 0.0]])
def test_lambda_weighs_every_pair_positively(scores: list[float]):
    for better, worse in ((0, 1), (0, 2), (1, 2)):
        grades = [0.0, 0.0, 0.0]
        grades[better] = 1.0
        logits, labels, given = tensors([(scores, grades)])
        lambda_loss(logits, labels, given).backward()
        assert logits.grad is not None
        assert logits.grad[0, better] < 0 < logits.grad[0, worse]


def test_mse_takes_grades_by_the_data_and_not_by_the_batch():
    low = [([0.0, 0.0], [1.0, 0.0])]
    assert value(make_loss("mse", 2.0)(*tensors(low))) == pytest.approx((0.0 + 0.25) / 2)


@pytest.mark.parametrize("name", DISTILLATIONS)
def test_a_student_like_its_teacher_pays_nothing(name: str):
    shifted = [([t + 2.0 for t in teacher], teacher) for _, teacher in LISTS]
    assert value(DISTILLATIONS[name](*tensors(shifted))) == pytest.approx(0.0, abs=1e-6)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # sentence-transformers' own
def test_lambda_is_that_of_sentence_transformers():
    from sentence_transformers.cross_encoder.losses.lambda_loss import LambdaLoss

    class Model(torch.nn.Module):
        num_labels, device = 1, torch.device("cpu")

        def preprocess(self, pairs, **_):
            return {"scores": torch.tensor([score for _, score in pairs])}

        def forward(self, batch):
            return batch

    lists = [row for row in LISTS if any(row[1])]
    inputs = [["q"] * len(lists), [scores for scores, _ in lists]]
    theirs = LambdaLoss(Model())(inputs, [torch.tensor(labels) for _, labels in lists])
    pairs = sum(a > b for _, labels in lists for a, b in permutations(labels, 2))
    assert value(lambda_loss(*tensors(lists))) * len(lists) == pytest.approx(float(theirs) * pairs, rel=1e-4)

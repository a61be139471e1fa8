"""The scorer, the dev measures and the guard against collapse."""

import math
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from transformers import TrainerControl, TrainerState, TrainingArguments

from finerank.errors import TrainingCollapsed
from finerank.scoring.encode import PairEncoder
from finerank.testing import word_tokenizer
from finerank.training.examples import Example
from finerank.training.lists import ListCollator
from finerank.training.losses import infonce, kl_divergence
from finerank.training.trainer import CollapseGuard, Collator, ListScorer, ListTrainer, spread

DEV = [
    Example(f"query {number}", tuple(f"text {place}" for place in range(9)), (1.0, *[0.0] * 8)) for number in range(40)
]


class Judge(torch.nn.Module):
    """Scores by a rule on the grades, in the place of a model."""

    def __init__(self, sign: float) -> None:
        super().__init__()
        self.sign = sign
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.figures: dict[str, torch.Tensor] = {}

    def forward(self, grades, **_):
        return self.weight * 0, self.sign * grades


@pytest.fixture
def rank(tmp_path: Path):
    def dev_measures(sign: float, train_collator: Collator | None = None) -> dict[str, float]:
        args = TrainingArguments(output_dir=str(tmp_path), use_cpu=True, report_to=[])
        collator = ListCollator(PairEncoder(word_tokenizer(), 32), 0, 4096)
        return ListTrainer(Judge(sign), args, collator, None, DEV, train_collator=train_collator).rank_dev()

    return dev_measures


def test_the_dev_measures_tell_a_good_order_from_a_bad_one(rank):
    assert rank(1.0) == {"nDCG@10": 1.0, "RR@10": 1.0}
    assert rank(-1.0) == pytest.approx({"nDCG@10": 1 / math.log2(10), "RR@10": 1 / 9})


def test_dev_lists_are_read_whole_though_training_hides_words(rank):
    def hide(_: Sequence[Example]) -> dict[str, object]:
        raise AssertionError("this is for training")

    assert rank(1.0, hide)["nDCG@10"] == 1.0


def test_equal_scores_earn_nothing_though_the_answer_comes_first_in_the_data(rank):
    assert 0.15 < rank(0.0)["RR@10"] < 0.5


def test_a_scorer_puts_logits_where_they_belong_and_mixes_the_losses():
    class FirstToken(torch.nn.Module):
        def forward(self, input_ids):
            return SimpleNamespace(logits=input_ids[:, :1].float())

    given = torch.tensor([[True, True, True], [True, True, False]])
    grades = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    teacher = torch.tensor([[0.0, 0.0, 0.0], [1.0, 5.0, 0.0]])
    taught = torch.tensor([False, True])
    scorer = ListScorer(FirstToken(), infonce, kl_divergence, 0.4)
    groups = [{"input_ids": torch.tensor([[7], [2]])}, {"input_ids": torch.tensor([[3], [4], [1]])}]
    loss, scores = scorer(
        groups, places=torch.tensor([4, 0, 1, 2, 3]), given=given, grades=grades, teacher=teacher, taught=taught
    )
    assert scores.tolist() == [[2.0, 3.0, 4.0], [1.0, 7.0, 0.0]]
    share = 0.4 * 0.5
    mixed = (1 - share) * infonce(scores, grades, given) + share * kl_divergence(scores[1:], teacher[1:], given[1:])
    assert float(loss) == pytest.approx(float(mixed))
    assert float(scorer.figures["spread"]) == pytest.approx((np.std([2, 3, 4]) + np.std([1, 7])) / 2)


def test_spread_of_single_passages_is_nothing():
    assert spread(torch.tensor([[5.0, 0.0]]), torch.tensor([[True, False]])) == 0


def logged(guard: CollapseGuard, spreads: list[float], loss: float = 1.0) -> None:
    for step, value in enumerate(spreads):
        guard.on_log(ARGS, TrainerState(global_step=step), TrainerControl(), logs={"loss": loss, "spread": value})


def evaluated(guard: CollapseGuard, values: list[float]) -> None:
    for step, value in enumerate(values):
        guard.on_evaluate(ARGS, TrainerState(global_step=step), TrainerControl(), metrics={"eval_nDCG@10": value})


ARGS = SimpleNamespace()


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_the_guard_stops_at_a_loss_that_is_no_number(loss: float):
    with pytest.raises(
        TrainingCollapsed, match=r"step 0: the loss is (nan|inf)\. Lower learning_rate.*precision='fp32'"
    ):
        logged(CollapseGuard(), [1.0], loss)


@pytest.mark.parametrize("spreads", [[2.0, *[0.03] * 5], [0.0] * 5, [9e-5] * 5])
def test_the_guard_stops_when_all_passages_score_alike(spreads: list[float]):
    logged(CollapseGuard(), spreads[:-1])
    with pytest.raises(TrainingCollapsed, match=r"the same score .*a tenth is a good try"):
        logged(CollapseGuard(), spreads)


def test_the_guard_leaves_a_run_alone_that_finds_its_way_back():
    logged(CollapseGuard(), [2.0, *[0.01] * 4, 0.5, *[0.01] * 4])
    logged(CollapseGuard(), [2.0, *[0.05] * 20])


def test_the_guard_stops_when_the_dev_lists_get_worse():
    evaluated(CollapseGuard(), [0.5, 0.7, 0.6, 0.6])
    with pytest.raises(
        TrainingCollapsed, match=r"step 4: nDCG@10 on the dev lists is 0\.600, 0\.100 under its best, for 3"
    ):
        evaluated(CollapseGuard(), [0.5, 0.7, 0.6, 0.6, 0.6])


def test_the_guard_allows_for_noise_on_the_dev_lists():
    evaluated(CollapseGuard(), [0.7, 0.66, 0.66, 0.66, 0.66])
    evaluated(CollapseGuard(), [0.7, 0.6, 0.6, 0.68, 0.6, 0.6])


def test_the_guard_of_a_resumed_run_knows_its_best():
    guard = CollapseGuard()
    guard.on_train_begin(ARGS, TrainerState(best_metric=0.9), TrainerControl())
    with pytest.raises(TrainingCollapsed, match="under its best"):
        evaluated(guard, [0.5, 0.5, 0.5])

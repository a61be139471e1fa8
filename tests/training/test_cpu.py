"""Training steps on a CPU: faster than transformers' own, and the same."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - torch's own convention
from transformers import AutoModelForSequenceClassification

from finerank.training import run
from finerank.training.cpu import accelerate, dropout

MakeModel = Callable[..., Path]


def load(folder: Path) -> torch.nn.Module:
    return AutoModelForSequenceClassification.from_pretrained(folder, attn_implementation="eager")


def step(model: torch.nn.Module) -> tuple[Tensor, dict[str, Tensor]]:
    """Logits of three pairs of 9, 7 and 4 tokens, and the gradient of every parameter."""
    lengths = torch.tensor([9, 7, 4])
    mask = (torch.arange(9) < lengths[:, None]).long()
    ids = torch.randint(5, 50, (3, 9), generator=torch.Generator().manual_seed(1)) * mask + (1 - mask)
    logits = model(input_ids=ids, attention_mask=mask).logits
    logits.square().sum().backward()
    return logits.detach(), {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("family", ["bert", "roberta", "xlm-roberta", "camembert", "deberta-v2"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch.jit in deberta-v2
def test_logits_and_gradients_are_those_of_transformers(make_model: MakeModel, family: str):
    plain, fast = load(make_model(family)), load(make_model(family))
    accelerate(fast)
    expected, gradients = step(plain.eval())
    logits, found = step(fast.eval())
    torch.testing.assert_close(logits, expected)
    assert found.keys() == gradients.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(
            found[name], gradient, rtol=1e-4, atol=1e-4, msg=lambda text, name=name: f"{name}: {text}"
        )


def test_the_last_layer_computes_only_what_the_head_reads(make_model: MakeModel):
    model = load(make_model("bert"))
    accelerate(model)
    ids = torch.full((2, 6), 7)
    assert model.base_model(input_ids=ids).last_hidden_state.shape[1] == 1
    accelerate(every := load(make_model("bert")), every_token=True)
    assert every.base_model(input_ids=ids).last_hidden_state.shape[1] == 6


def test_dropout_is_on_in_training_only(make_model: MakeModel):
    model = load(make_model("bert"))
    accelerate(model)
    ids = torch.full((2, 6), 7)
    assert not torch.equal(*(model.train()(input_ids=ids).logits for _ in range(2)))
    assert torch.equal(*(model.eval()(input_ids=ids).logits for _ in range(2)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_dropout_has_the_rate_and_the_mean_of_torchs(dtype: torch.dtype):
    torch.manual_seed(0)
    x = torch.ones(999, 1001, dtype=dtype, requires_grad=True)
    y = dropout(x, 0.1)
    assert y.dtype == dtype
    assert float((y == 0).float().mean()) == pytest.approx(0.1, abs=0.001)
    assert set(y.detach().unique().tolist()) == set(F.dropout(x, 0.1).detach().unique().tolist())
    y.sum().backward()
    assert torch.equal(x.grad, y.detach())
    assert dropout(x, 0.0) is x


@pytest.mark.parametrize(("supported", "expected"), [(True, "bf16"), (False, "fp32")])
def test_a_cpu_trains_in_bf16_where_it_multiplies_it(monkeypatch: pytest.MonkeyPatch, supported: bool, expected: str):
    monkeypatch.setattr(run, "has_bf16", lambda: supported)
    assert run._precision("auto", use_cpu=True) == expected
    assert run._precision("fp32", use_cpu=True) == "fp32"

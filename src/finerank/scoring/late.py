"""Late interaction as transformers and training see it: see `finerank.scoring.families` for what it computes."""

from functools import cache
from typing import Any

from finerank.errors import MissingExtra
from finerank.scoring.families import CROSS, FAMILIES, LATE

try:
    import torch
    from torch import Tensor
    from transformers import PreTrainedModel
    from transformers.modeling_outputs import SequenceClassifierOutput
except ImportError as error:
    raise MissingExtra("late interaction outside the native engine", "transformers") from error


@cache
def late_class(classifier: type[PreTrainedModel]) -> type[PreTrainedModel]:
    """A sequence classifier's class with its forward pass replaced; saved, config.json names it as the architecture."""
    return type(classifier.__name__.removesuffix(CROSS) + LATE, (_LateInteraction, classifier), {})


class _LateInteraction:
    """Takes pairs as the classifier does, [pairs, tokens] with token types 0 and 1, and keeps their texts apart."""

    config: Any
    get_submodule: Any
    base_model: Any

    def forward(
        self,
        input_ids: Tensor | None = None,
        *,
        attention_mask: Tensor,
        token_type_ids: Tensor,
        inputs_embeds: Tensor | None = None,
        output_hidden_states: bool = False,
        **_: object,
    ) -> SequenceClassifierOutput:
        mask, types = attention_mask.bool(), token_type_ids.bool()
        seen = (types[:, :, None] == types[:, None, :]) & mask[:, None, :]
        places = mask.cumsum(1) - 1
        places = places - types * (mask & ~types).sum(1, keepdim=True)
        family, dtype = FAMILIES[self.config.model_type], self.base_model.dtype
        output = self.base_model(
            input_ids=input_ids,
            inputs_embeds=inputs_embeds,
            attention_mask=torch.where(seen, 0.0, torch.finfo(dtype).min).to(dtype)[:, None],
            token_type_ids=token_type_ids,
            position_ids=places.clamp_min(0),
            output_hidden_states=output_hidden_states,
        )
        dense, out = self.get_submodule(family.dense), self.get_submodule(family.out)
        logits = compare(dense, out, output.last_hidden_state, attention_mask, token_type_ids)
        return SequenceClassifierOutput(logits=logits, hidden_states=output.hidden_states)


def compare(dense: Any, out: Any, hidden: Tensor, attention_mask: Tensor, token_type_ids: Tensor) -> Tensor:  # noqa: ANN401
    """Logits [pairs, 1] from the states [pairs, tokens, hidden]; `dense` and `out` are torch's linear layers."""
    mask, types = attention_mask.bool(), token_type_ids.bool()
    with torch.autocast(hidden.device.type, enabled=False):
        hidden = hidden.float()
        vectors = torch.nn.functional.linear(hidden, dense.weight.float(), dense.bias.float())
        products = (vectors @ vectors.transpose(1, 2)).masked_fill(~(mask & types)[:, None], -1e9)
        weights = (hidden @ out.weight[0].float()).masked_fill(~mask | types, -1e9)
        best = products.max(2).values
        logits: Tensor = (best * torch.softmax(weights, 1)).sum(1, keepdim=True) + out.bias.float()
    return logits

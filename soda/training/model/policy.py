"""A model as training uses it: answers' log-probabilities, or a loss of them, from one forward."""

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from soda.errors import ModelError
from soda.progress import say
from soda.training.model.attention import ATTENTION, register_attention
from soda.training.model.examples import Example
from soda.training.model.head import (
    Objective,
    Sums,
    answer_logps,
    fused_logps,
    fused_loss,
    token_logps,
)
from soda.training.model.micro_batch import MicroBatch, pack, pad

__all__ = ["Policy"]

# Decoders that attend through transformers' interface, in every layer, and whose logits are the
# product of the last hidden state and the head. Others train by the plain path.
_PACKED_TYPES = frozenset({"llama", "mistral", "qwen2", "qwen3", "smollm3"})
_LENGTH_DEPENDENT = frozenset({"dynamic", "longrope"})  # rotary angles that depend on the row


class Policy(nn.Module):
    """A causal language model, and the path that its forwards take.

    packed: prompts shared, no padding, the head fused with the loss. plain: a padded row for each
    answer, and the model's own logits; for every model that transformers loads.

    Args:
        model: from AutoModelForCausalLM.
        padding: the id that pads rows.
        longest: no prompt with one answer is longer than so many tokens.
    """

    def __init__(self, model: Any, padding: int, longest: int):
        super().__init__()
        self.model = model
        self.padding = padding
        self.longest = longest
        self.recomputes = False
        self.why_plain = _why_plain(model.config, longest)
        if self.packed:
            register_attention()
            model.set_attn_implementation(ATTENTION)

    @property
    def packed(self) -> bool:
        """Whether forwards take the packed path."""
        return self.why_plain is None

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    def say_path(self) -> None:
        """Say which path it takes, and why."""
        kind = self.model.config.model_type
        if self.why_plain is None:
            say(f"train: {kind}: packed path: prompts shared, no padding, fused head")
        else:
            say(f"train: {kind}: plain path: {self.why_plain}")

    def recompute_activations(self) -> None:
        """Keep each layer's input only, and compute the rest again in the backward.

        Raises:
            ModelError: the model does not offer it.
        """
        if not self.model.supports_gradient_checkpointing:
            kind = self.model.config.model_type
            raise ModelError(
                f"train: expected memory for {kind}, which cannot recompute activations"
            )
        self.model.activation_checkpointing_enable({"use_reentrant": False})
        for module in self.model.modules():  # it works in training mode only; nothing may drop out
            if isinstance(module, nn.Dropout):
                module.p = 0.0
            for name, value in vars(module).items():  # such as OPT's own, which is no module
                if "drop" in name and isinstance(value, float):
                    setattr(module, name, 0.0)
        self.model.train()
        self.recomputes = True

    @contextlib.contextmanager
    def answering(self) -> Iterator[Any]:
        """Yield the model ready to generate: in training mode, recomputing, it keeps no cache."""
        training = self.model.training
        self.model.eval()
        try:
            yield self.model
        finally:
            self.model.train(training)

    def compile_layers(self) -> None:
        """Compile every layer, on a GPU; twice the speed at 0.5B."""
        layers = self.model._no_split_modules or ()
        for module in self.model.modules():
            if type(module).__name__ in layers:
                module.compile()

    def micro_batch(self, examples: Sequence[Example], temperature: float = 1.0) -> MicroBatch:
        """Return a batch for this model, still on the CPU."""
        if self.packed:
            multiple_of = 128 if self.device.type == "cuda" else 1
            batch = pack(examples, self.longest, multiple_of)
        else:
            batch = pad(examples, self.padding)
        return dataclasses.replace(batch, temperature=temperature)

    def forward(
        self, batch: MicroBatch, objective: Objective | None = None
    ) -> Tensor | tuple[Tensor, Sums]:
        """Return the log-probability of each answer token, or the objective's loss and sums."""
        if self.packed:
            hidden_RTE = self.hidden(batch)
            hidden_NE = hidden_RTE[0].index_select(0, batch.predictor_N)
            weight_VE = self.model.get_output_embeddings().weight
            if objective is None:
                return fused_logps(hidden_NE, weight_VE, batch)
            return fused_loss(hidden_NE, weight_VE, batch, objective)
        logits_RTV = self.model(batch.ids_RT, use_cache=False, **batch.inputs).logits
        logits_NV = logits_RTV.flatten(0, 1)[batch.predictor_N].float() / batch.temperature
        logps_N = token_logps(logits_NV, batch.target_N)
        if objective is None:
            return logps_N
        return objective(batch.examples, logps_N, batch.lengths_A)

    def hidden(self, batch: MicroBatch) -> Tensor:
        """Return the last hidden state of every place: (R, T, width)."""
        inputs = dict(batch.inputs)
        if self.packed:
            # a mask of four dimensions is handed on as it is: our attention looks at none
            inputs["attention_mask"] = torch.zeros((1, 1, 1, 1), device=batch.ids_RT.device)
        found: Tensor = self.model.base_model(
            batch.ids_RT, use_cache=False, **inputs
        ).last_hidden_state
        return found

    def answer_logps(self, examples: Sequence[Example]) -> Tensor:
        """Return the summed log-probability of every answer, in nats: (answers,), no gradients.

        The forward is recorded as in training and let go: a graph without gradients is compiled to
        other kernels, which round otherwise (0.6980 instead of ln 2 was seen at 0.5B).
        """
        batch = self.micro_batch(examples).to(self.device)
        with torch.set_grad_enabled(self.device.type == "cuda"):
            logps_N = self(batch)
        return answer_logps(logps_N.detach(), batch.lengths_A)


def _why_plain(config: Any, longest: int) -> str | None:
    """Return why a model cannot take the packed path, or None if it can."""
    if config.model_type not in _PACKED_TYPES:
        return f"the packed path knows {', '.join(sorted(_PACKED_TYPES))}"
    rope = getattr(config, "rope_parameters", None) or {}
    if rope.get("rope_type") in _LENGTH_DEPENDENT:
        return f"its rotary angles ({rope['rope_type']}) depend on the length of a row"
    layers = getattr(config, "layer_types", None) or []
    windowed = "sliding_attention" in layers or config.model_type == "mistral"
    window = getattr(config, "sliding_window", None)
    if windowed and window is not None and longest > window:
        return f"its attention sees {window} tokens, and the longest example has {longest}"
    return None

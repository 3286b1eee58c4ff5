"""The account of a model's tensors: wanted by the architecture, there, of the right shape, used.

transformers fills what is missing with random numbers and passes over what it does not know. It is
asked here, on tensors without content, what it would do with the names and shapes of the files.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from soda.errors import ModelError
from soda.student.quiet import quiet
from soda.student.tensors import Stored

__all__ = ["Account", "mismatched", "refuse_incomplete", "take_account"]

# What tools put between the names of modules: torch.compile, DDP and DeepSpeed, FSDP,
# activation checkpointing, Lightning.
_WRAPPERS = {
    *("_orig_mod", "module", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"),
    *("_forward_module", "_fpw_module"),
}
# Parts that a student of text does without; anything else that is not used is refused.
_EXTRA = re.compile(
    r"(^|\.)(vision|visual|image|multi_modal|multimodal|mm_|audio|speech|talker|token2wav|code2wav"
    r"|mtp|nextn|v_head|value_head)\w*\."
)
_PLAIN = ("F64", "F32", "F16", "BF16")  # others hold numbers that a scale elsewhere belongs to
_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Account:
    """What becomes of every tensor of the files."""

    names: dict[str, str]  # by which each that is used is kept: most keep their own
    missing: list[str] = field(default_factory=list)
    mismatched: list[str] = field(default_factory=list)  # with both shapes
    unknown: list[str] = field(default_factory=list)
    left_out: dict[str, int] = field(default_factory=dict)  # tensors by the part they are of
    removed: str = ""  # what was taken off the names
    config: Any = None  # of the model itself: of one that also sees, its text part's

    @property
    def problems(self) -> int:
        """How many tensors are missing, misshapen or unknown; 0: the model is whole."""
        return len(self.missing) + len(self.mismatched) + len(self.unknown)

    def refuse(self, source: str) -> None:
        """Refuse a model that is not whole.

        Raises:
            ModelError: it names the first tensors of what is wrong, and how many there are.
        """
        refuse_incomplete(source, self.missing, self.mismatched, self.unknown)


def refuse_incomplete(
    source: str, missing: Iterable[str], mismatched: Iterable[str], unknown: Iterable[str]
) -> None:
    """Refuse tensors that are missing, of another shape, or wanted by nothing.

    Raises:
        ModelError: there are some.
    """
    found = {
        "found none for": sorted(missing),
        "found other shapes:": sorted(mismatched),
        "found some that it has no place for:": sorted(unknown),
    }
    problems = [f"{what} {_first(names)}" for what, names in found.items() if names]
    if problems:
        raise ModelError(
            f"{source}: expected the tensors that its config asks for, {'; '.join(problems)}"
        )


def _first(names: list[str]) -> str:
    more = len(names) - _SHOWN
    shown = ", ".join(name[:120] for name in names[:_SHOWN])
    return f"{shown} and {more} more" if more > 0 else shown


def take_account(config: Any, found: Mapping[str, Stored], source: str) -> Account:
    """Return what becomes of the tensors of some files in a model of this config.

    What tools put before or into the names is taken off where the names fit better then.

    Raises:
        ModelError: the config makes no model; it is called by `source`.
    """
    model = _empty(config, source)
    plain = {name: name for name in found}
    short = _unwrapped(plain, list(model.state_dict()))
    accounts = []
    for names in (short, plain) if short != plain else (plain,):
        if len(set(names.values())) < len(names):  # two would have one name
            continue
        accounts.append(_ask(model, found, names))
        if not accounts[-1].problems:
            break
    return min(accounts, key=lambda one: one.problems)


def _empty(config: Any, source: str) -> Any:
    import torch
    from transformers import AutoModelForCausalLM

    try:
        with quiet(), torch.device("meta"):
            return AutoModelForCausalLM.from_config(config)
    except Exception as error:  # each family's own code, with sizes that nobody has checked
        raise ModelError(
            f"{source}: expected a config that makes a model, found: {error}"
        ) from error


def _unwrapped(names: Mapping[str, str], wanted: list[str]) -> dict[str, str]:
    """Return names without wrappers, and without what most of them have before a wanted name."""
    short = {name: ".".join(p for p in name.split(".") if p not in _WRAPPERS) for name in names}
    ends = set(wanted)
    prefixes: Counter[str] = Counter()
    for name in short.values():
        parts = name.split(".")
        for cut in range(len(parts)):
            if ".".join(parts[cut:]) in ends:
                prefixes[".".join([*parts[:cut], ""])] += 1
                break
    prefix = prefixes.most_common(1)[0][0] if prefixes else ""
    return {name: value.removeprefix(prefix) for name, value in short.items()}


class _Tensor:
    """Stands for a tensor of a file, as a slice of safetensors does, and knows if it was taken."""

    def __init__(self, shape: tuple[int, ...]):
        self.shape = shape
        self.taken = False

    def __getitem__(self, _: Any) -> Any:
        import torch

        self.taken = True
        return torch.empty(self.shape, device="meta")


def _ask(model: Any, found: Mapping[str, Stored], names: Mapping[str, str]) -> Account:
    import torch

    tensors = {names[name]: _Tensor(stored.shape) for name, stored in found.items()}
    try:
        with quiet():
            _, info = type(model).from_pretrained(
                None,
                config=model.config,
                state_dict=tensors,
                dtype=torch.float32,
                device_map={"": "meta"},
                output_loading_info=True,
                ignore_mismatched_sizes=True,
            )
    except RuntimeError as error:  # a conversion: of experts that are not all there, for example
        why = f"what could be converted: {' '.join(str(error).split())[:200]}"
        return Account({}, missing=_gaps(tensors) or [why])
    used = {name: new for name, new in names.items() if tensors[new].taken}
    unknown = {name for name in info["unexpected_keys"] if not _EXTRA.search(name)}
    unknown |= _twice(used.values(), model.base_model_prefix)
    buffers = {name for name, _ in model.named_buffers()}
    unknown |= {
        f"{name} of type {found[name].kind}"
        for name, new in used.items()
        if found[name].kind not in _PLAIN and new not in buffers
    }
    return Account(
        names=used,
        missing=sorted(info["missing_keys"]),
        mismatched=mismatched(info),
        unknown=sorted(unknown),
        left_out=dict(Counter(_part(new) for new in names.values() if not tensors[new].taken)),
        removed=_removed(names),
        config=model.config,
    )


def _twice(names: Iterable[str], prefix: str) -> set[str]:
    """Return names that differ in the base model's prefix alone: one would hide the other."""
    counts = Counter(name.removeprefix(f"{prefix}.") for name in names)
    return {f"{name} twice" for name, count in counts.items() if count > 1}


def _gaps(names: Iterable[str]) -> list[str]:
    """Return the names that their numbered siblings have and they lack, such as one expert's."""
    numbers: dict[str, set[tuple[str, ...]]] = {}
    for name in names:
        numbers.setdefault(re.sub(r"\d+", "{}", name), set()).add(tuple(re.findall(r"\d+", name)))
    gaps = []
    for form, mine in numbers.items():
        stem = form.rpartition("{}")[0]
        siblings = (each for other, each in numbers.items() if other.rpartition("{}")[0] == stem)
        gaps += [form.format(*missing) for missing in set().union(*siblings) - mine if stem]
    return sorted(gaps)


def _removed(names: Mapping[str, str]) -> str:
    wrappers = {part for name in names for part in name.split(".") if part in _WRAPPERS}
    before = {
        name.removesuffix(new) for name, new in names.items() if name != new and name.endswith(new)
    }
    prefix = min(before, key=len, default="")
    changed = any(name != new for name, new in names.items())
    return prefix or (", ".join(sorted(wrappers)) if changed else "")


def mismatched(info: Mapping[str, Any]) -> list[str]:
    """Return what a loading report says of shapes: a line for each tensor."""
    return sorted(
        f"{name} {list(found)} in the place of {list(wanted)}"
        for name, found, wanted in info["mismatched_keys"]
    )


def _part(name: str) -> str:
    """Return what a tensor is a part of: `model.visual`, `mtp`, or a buffer of all layers."""
    if found := _EXTRA.search(name):
        return name[: found.end() - 1]
    head, _, last = name.rpartition(".")
    return head if last in ("weight", "bias") else last

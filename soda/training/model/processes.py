"""The processes that train together: one, or several that each hold a share of the weights."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from soda.training.model.policy import Policy

__all__ = ["Processes", "reshard", "whole"]


class Processes:
    """This process's place among those that `accelerate launch` or torchrun started."""

    def __init__(self) -> None:
        from accelerate import PartialState

        self._state = PartialState(cpu=not torch.cuda.is_available())
        self.device: torch.device = self._state.device
        self.index: int = self._state.process_index
        self.count: int = self._state.num_processes
        self.main: bool = self._state.is_main_process

    @property
    def half(self) -> bool:
        """Whether weights are bf16, with what they lack of float32 beside them: on one GPU.

        Several GPUs keep float32 shares.
        """
        return self.device.type == "cuda" and self.count == 1

    def wait(self) -> None:
        """Wait until every process is here."""
        self._state.wait_for_everyone()

    def place(self, policy: Policy) -> None:
        """Put a policy on the device; of several processes each takes a share of it (FSDP2).

        On GPUs the shares are float32 and the arithmetic is bf16.
        """
        if self.count == 1:
            policy.to(self.device)
            return
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

        mesh = init_device_mesh(self.device.type, (self.count,))
        precision = MixedPrecisionPolicy()
        if self.device.type == "cuda":
            precision = MixedPrecisionPolicy(torch.bfloat16, torch.float32)
        layers = policy.model._no_split_modules or ()
        for module in policy.modules():
            if type(module).__name__ in layers:
                fully_shard(module, mesh=mesh, mp_policy=precision)
        fully_shard(policy, mesh=mesh, mp_policy=precision)
        policy.to(self.device)

    def sync_gradients(self, trainee: Any, on: bool) -> None:
        """Say whether the next backward adds gradients up over the processes."""
        if self.count > 1:
            trainee.set_requires_gradient_sync(on)

    def total(self, sums: Mapping[str, Tensor | float]) -> dict[str, float]:
        """Add up every process's sums; all must have the same names."""
        names = sorted(sums)
        if not names:
            return {}
        values = [torch.as_tensor(sums[name], dtype=torch.float32) for name in names]
        added = torch.stack([value.to(self.device) for value in values])
        if self.count > 1:
            torch.distributed.all_reduce(added)
        return dict(zip(names, added.tolist(), strict=True))

    def gather(self, found: list[Any]) -> list[Any]:
        """Return every process's lists as one."""
        from accelerate.utils import gather_object

        return list(gather_object(found))


def reshard(module: nn.Module) -> None:
    """Give each process its share alone; a forward without a backward leaves some weights whole."""
    from torch.distributed.fsdp import FSDPModule

    for part in module.modules():
        if isinstance(part, FSDPModule):
            part.reshard()


def whole(tensor: Tensor) -> Tensor:
    """Return a tensor that may be shared out as one; every process has to call it."""
    from torch.distributed.tensor import DTensor

    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor

"""Compile functions on first use: importing the compiler takes a second, which a CPU run saves."""

import functools
from collections.abc import Callable
from typing import Any

import torch

__all__ = ["compiled"]


@functools.cache
def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function's compiled form, for tensors of any size."""
    return torch.compile(function, dynamic=True)

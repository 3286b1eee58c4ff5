"""One process, and several that add things up."""

import torch
from torch import nn

from soda.training.model.processes import Processes, whole
from tests.soda.training.plain import policy_of, tiny


def test_alone_there_is_nobody_to_wait_for():
    processes = Processes()
    assert (processes.index, processes.count, processes.main) == (0, 1, True)
    processes.wait()
    assert processes.total({"b": torch.tensor(2.0), "a": 1.0}) == {"a": 1.0, "b": 2.0}
    assert processes.total({}) == {}
    assert processes.gather([1, "two"]) == [1, "two"]


def test_alone_a_policy_is_only_moved():
    policy = policy_of(tiny())
    Processes().place(policy)
    assert policy.device == Processes().device
    assert Processes().half == (Processes().device.type == "cuda")


def test_alone_gradients_are_synchronised_with_nobody():
    Processes().sync_gradients(nn.Linear(1, 1), True)  # which could not be told


def test_a_tensor_that_is_not_shared_out_is_whole():
    tensor = torch.ones(2)
    assert whole(tensor) is tensor

"""Attention within a packed row: the copies a GPU needs, and what a CPU computes without them."""

from itertools import pairwise

import pytest
import torch

from soda.training.model.attention import Copies, Packing, _attention, _by_example, _Copy

LAYOUTS = {
    "pairs": [(3, [4, 2]), (5, [1, 6]), (1, [2, 2])],
    "one answer": [(3, [4]), (2, [1])],
    "empty answers": [(3, [4, 0]), (4, [0, 3]), (2, [5, 1])],
    "many and few answers": [(3, [2, 1, 4, 1]), (2, [3]), (4, [1, 2])],
    "filling": [(3, [4, 2]), (7, [])],
}
layouts = pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS.keys())


def random_states(layout, *, heads=4, fewer=2, width=8):
    torch.manual_seed(0)
    places = sum(prompt + sum(answers) for prompt, answers in layout)
    shapes = [(1, count, places, width) for count in (heads, fewer, fewer)]
    return [torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes]


def dense(query, key, value, layout):
    """What every place sees, written out as one mask: its prompt, and its own answer up to it."""
    places = query.shape[2]
    seen = torch.zeros(places, places, dtype=torch.bool)
    start = 0
    for prompt, answers in layout:
        begin = start + prompt
        seen[start:begin, start:begin] = True
        for answer in answers:
            seen[begin : begin + answer, start : start + prompt] = True
            seen[begin : begin + answer, begin : begin + answer] = True
            begin += answer
        start = begin
    seen = seen.tril()
    shared = query.shape[1] // key.shape[1]
    key, value = (x.repeat_interleave(shared, 1) for x in (key, value))
    scores = (query @ key.mT * query.shape[-1] ** -0.5).masked_fill(~seen, -torch.inf)
    return (scores.softmax(-1) @ value)[0].transpose(0, 1)


def from_copies(query, key, value, layout):
    """What FlashAttention does with the copies: one sequence at a time, aligned at the end."""
    copies = Copies.of(layout)
    query_THD, key_THD, value_THD = (x[0].transpose(0, 1) for x in (query, key, value))
    key_KHD, value_KHD = (_Copy.apply(x, copies) for x in (key_THD, value_THD))
    shared = query.shape[1] // key.shape[1]
    found = []
    bounds = zip(copies.queries.tolist(), copies.keys.tolist(), strict=True)
    begin, begin_keys = next(bounds)
    for end, end_keys in bounds:
        q = query_THD[begin:end].transpose(0, 1)
        k, v = (
            x[begin_keys:end_keys].transpose(0, 1).repeat_interleave(shared, 0)
            for x in (key_KHD, value_KHD)
        )
        ahead = k.shape[1] - q.shape[1]
        seen = torch.ones(q.shape[1], k.shape[1], dtype=torch.bool).tril(ahead)
        scores = (q @ k.mT * q.shape[-1] ** -0.5).masked_fill(~seen, -torch.inf)
        found.append((scores.softmax(-1) @ v).transpose(0, 1))
        begin, begin_keys = end, end_keys
    return torch.cat(found)


def by_example(query, key, value, layout):
    return _by_example(query, key, value, layout, None)


@layouts
@pytest.mark.parametrize("compute", [by_example, from_copies])
def test_an_answer_sees_its_prompt_and_itself(layout, compute):
    expected_states, states = random_states(layout), random_states(layout)
    expected, found = dense(*expected_states, layout), compute(*states, layout)
    torch.testing.assert_close(found, expected)
    slope = torch.randn_like(expected)
    expected.backward(slope)
    found.backward(slope)
    for one, other in zip(states, expected_states, strict=True):
        torch.testing.assert_close(one.grad, other.grad)


@layouts
def test_copies_are_of_the_prompt_and_one_answer_each(layout):
    copies = Copies.of(layout)
    start, expected = 0, []
    for prompt, answers in layout:
        begin = start + prompt
        for answer in answers or [0]:
            expected.append([*range(start, start + prompt), *range(begin, begin + answer)])
            begin += answer
        start = begin
    bounds = copies.keys.tolist()
    found = [copies.source_K[begin:end].tolist() for begin, end in pairwise(bounds)]
    assert found == expected
    assert copies.queries.dtype == copies.keys.dtype == torch.int32


@layouts
def test_gradients_of_copies_are_those_of_index_add(layout):
    torch.manual_seed(0)
    copies = Copies.of(layout)
    places = sum(prompt + sum(answers) for prompt, answers in layout)
    x_THD = torch.randn(places, 2, 4, dtype=torch.float64, requires_grad=True)
    found = _Copy.apply(x_THD, copies)
    assert torch.equal(found, x_THD[copies.source_K])
    slope = torch.randn_like(found)
    found.backward(slope)
    expected = torch.zeros_like(x_THD).index_add(0, copies.source_K, slope)
    torch.testing.assert_close(x_THD.grad, expected)


def test_a_scale_and_as_many_key_heads_as_query_heads():
    layout = LAYOUTS["pairs"]
    query, key, value = random_states(layout, heads=2)
    packing = Packing(layout, 12)
    module = torch.nn.Module()
    found, _ = _attention(module, query, key, value, None, scaling=0.5, packing=packing)
    expected = dense(query * 0.5 * query.shape[-1] ** 0.5, key, value, layout)
    torch.testing.assert_close(found[0], expected)


def test_a_row_that_is_not_packed_is_causal():
    query, key, value = random_states([(9, [])])
    module = torch.nn.Module()
    module.is_causal, module.num_key_value_groups = True, 2
    found, _ = _attention(module, query, key, value, None, scaling=None)
    torch.testing.assert_close(found[0], dense(query, key, value, [(9, [])]))


def test_a_cpu_needs_no_copies():
    packing = Packing(LAYOUTS["pairs"], 12)
    assert packing.to("cpu") is packing and packing.copies is None

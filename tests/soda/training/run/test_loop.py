"""The loop, beside a naive one; and what ends it."""

from dataclasses import dataclass, field, replace

import pytest
import torch

from soda.training.run.loop import (
    accumulate,
    ahead,
    clip,
    local_micro_batches,
    plan_of,
    run_phase,
)
from soda.training.run.optimizer import make_optimizer
from soda.training.run.phase import Phase, Start, Turn
from soda.training.run.position import Position
from soda.training.run.schedule import learning_rate
from tests.soda.training.plain import (
    FROZEN,
    PAIRS,
    assert_same_gradients,
    dpo,
    gradients,
    our_gradients,
    plain_gradients,
    policy_of,
    setup_of,
    tiny,
)

VALUES = {
    "batch_size": 4,
    "optimizer": {"warmup_share": 0.3, "max_grad_norm": 0.35},
    "seed": 3,
}
RATE = 1e-3
STEPS = 4  # 6 pairs in steps of 4 and 2, twice


def test_what_is_made_ahead_comes_in_order_and_errors_come_where_it_is_used():
    assert list(ahead(lambda number: number * number, range(4))) == [(0, 0), (1, 1), (2, 4), (3, 9)]
    assert list(ahead(str, [])) == []
    made = []
    turns = ahead(lambda number: made.append(number) or 6 // (2 - number), range(5))
    assert next(turns) == (0, 3) and next(turns) == (1, 6)
    with pytest.raises(ZeroDivisionError):
        next(turns)
    assert made[:3] == [0, 1, 2] and 4 not in made  # one ahead, and no more


@dataclass
class Watch:
    """A watcher that notes what it is told, and ends the phase where it is asked to."""

    refuse: int = -1  # the step that it does not want to happen
    last: int = -1  # the step after which it ends the phase
    seen: list = field(default_factory=list)
    reached_: list = field(default_factory=list)

    def sees(self, position, figures):
        self.seen.append((position, figures))
        return position.step != self.refuse

    def reached(self, position, figures):
        self.reached_.append((position, figures))
        return position.step != self.last


class InterruptedAfter:
    """SIGTERM that comes after so many micro-batches."""

    def __init__(self, count):
        self.count, self.asked = count, 0

    @property
    def came(self):
        self.asked += 1
        return self.asked > self.count


def every_pair(step, examples):
    return Turn(examples, dpo(examples))


class Run:
    """A policy and its optimizer, for the loop or for a naive version of it."""

    def __init__(self, kind="llama", interrupt=None):
        self.policy = policy_of(tiny(kind))
        self.setup = setup_of(None, self.policy, **VALUES)
        if interrupt:
            self.setup = replace(self.setup, interrupt=interrupt)
        self.optimizer = make_optimizer(self.policy, RATE, 0.0, half=False)

    def phase(self, turn_of=every_pair, **options):
        modules, rates = {"policy": self.policy}, {"policy": RATE}
        return Phase("dpo", 2, modules, rates, begin=lambda start: turn_of, **options)

    def go(self, watcher=None, *, step=0, turn_of=every_pair, **options):
        watcher = watcher or Watch()
        start = Start(step, FROZEN, {"policy": self.optimizer}, 40)
        run_phase(self.setup, self.phase(turn_of, **options), 0, start, watcher)
        return watcher

    def weights(self):
        return {name: weight.detach().clone() for name, weight in self.policy.named_parameters()}

    def pairs(self, step):
        plan = plan_of(self.setup, self.phase(), 0)
        return [PAIRS[place] for place in plan[step]]


def naive(steps=STEPS, kind="llama"):
    """Return weights, gradient norms and losses of the same training, written out."""
    model = tiny(kind)
    optimizer = torch.optim.AdamW(model.parameters(), betas=(0.9, 0.999), weight_decay=0.0)
    norms = []
    for step in range(steps):
        pairs = Run().pairs(step)
        found = plain_gradients(model, pairs)
        norm = torch.stack([grad.norm() for grad in found.values()]).norm()
        norms.append(float(norm))
        for name, weight in model.named_parameters():
            weight.grad = found[name] * min(1.0, 0.35 / float(norm))
        optimizer.param_groups[0]["lr"] = learning_rate(step, STEPS, 1e-3, 0.3)
        optimizer.step()
        optimizer.zero_grad()
    return {f"model.{name}": weight.detach() for name, weight in model.named_parameters()}, norms


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_a_phase_equals_a_naive_loop(kind):
    run = Run(kind)
    watcher = run.go()
    expected, norms = naive(kind=kind)
    assert min(norms) < 0.35 < max(norms)  # clipping takes part
    torch.testing.assert_close(run.weights(), expected, rtol=0, atol=2e-5)
    start = tiny(kind).get_input_embeddings().weight
    assert (run.policy.model.get_input_embeddings().weight - start).abs().max() > 1e-3
    assert [position for position, _ in watcher.reached_] == [Position(0, n) for n in (1, 2, 3, 4)]
    for number, (_, figures) in enumerate(watcher.reached_):
        assert figures.gradient_norm == pytest.approx(norms[number], rel=1e-3)
        rate = learning_rate(number, STEPS, 1e-3, 0.3)
        assert figures.learning_rate == rate
        assert figures.seconds > 0 and figures.tokens_per_second > 0
    assert watcher.seen[0][1].loss == watcher.reached_[0][1].loss


def test_figures_are_means_over_the_pairs_of_a_step():
    watcher = Run().go(Watch(last=1))
    pairs = Run().pairs(0)
    policy = policy_of(tiny("llama"))
    with torch.no_grad():
        _, sums = policy(policy.micro_batch(pairs), dpo(pairs))
    (_, figures), *others = watcher.reached_
    assert not others
    found = {"loss": figures.loss, **figures.means}
    assert found.keys() == sums.keys()
    for key, value in sums.items():
        assert found[key] == pytest.approx(float(value) / 4, rel=1e-4, abs=1e-5)


def test_a_step_that_is_refused_changes_nothing():
    run = Run()
    before = run.weights()
    watcher = run.go(Watch(refuse=1))
    assert watcher.reached_ == [] and len(watcher.seen) == 1
    torch.testing.assert_close(run.weights(), before, rtol=0, atol=0)


def test_an_interrupted_step_changes_nothing():
    run = Run(interrupt=InterruptedAfter(1))
    before = run.weights()
    assert run.go().seen == []
    assert run.setup.interrupt.asked == 2
    torch.testing.assert_close(run.weights(), before, rtol=0, atol=0)


def test_a_phase_that_goes_on_ends_as_one_that_was_not_stopped():
    undisturbed, stopped = Run(), Run()
    undisturbed.go()
    assert len(stopped.go(Watch(last=2)).reached_) == 2
    watcher = stopped.go(step=2)
    assert [position.step for position, _ in watcher.reached_] == [3, 4]
    torch.testing.assert_close(stopped.weights(), undisturbed.weights(), rtol=0, atol=0)
    assert stopped.go(step=STEPS).seen == []


def test_a_turn_that_waits_for_the_weights_sees_those_of_the_step_before():
    run, seen = Run(), []

    def turn(step, examples):
        seen.append(run.weights())
        return Turn(examples, dpo(examples), finish=lambda: seen.append(run.weights()))

    run.go(turn_of=turn, alone=True)
    assert len(seen) == 2 * STEPS
    norm = "model.model.norm.weight"
    for turned, finished in zip(seen[2::2], seen[1::2], strict=False):
        assert torch.equal(turned[norm], finished[norm])
    assert not torch.equal(seen[0][norm], seen[1][norm])  # it is finished after the update
    expected = Run()
    expected.go()
    torch.testing.assert_close(run.weights(), expected.weights(), rtol=0, atol=0)


@pytest.mark.parametrize("alone", [False, True])
def test_no_turn_ends_the_phase(alone):
    watcher = Run().go(
        turn_of=lambda step, examples: None if step == 2 else Turn(examples, dpo(examples)),
        alone=alone,
    )
    assert [position.step for position, _ in watcher.reached_] == [1, 2]


def test_a_turn_adds_figures_of_its_own():
    watcher = Run().go(
        Watch(last=1),
        turn_of=lambda step, pairs: Turn(pairs, dpo(pairs), {"reward": torch.tensor(6.0)}),
    )
    assert watcher.reached_[0][1].means["reward"] == 6.0 / 4


@dataclass
class OneOf:
    """A process among several, as the loop sees it."""

    index: int
    count: int
    device: str = "cpu"
    synced: list = field(default_factory=list)

    def sync_gradients(self, trainee, on):
        self.synced.append(on)


@pytest.mark.parametrize(("count", "micro_batch_tokens"), [(2, 40), (3, 1000), (8, 1000), (4, 1)])
def test_processes_share_a_step_out(count, micro_batch_tokens):
    policy = policy_of(tiny("llama"))
    found, turns, losses = [], set(), 0.0
    for index in range(count):
        process = OneOf(index, count)
        batches = local_micro_batches(policy, PAIRS, process, micro_batch_tokens)
        turns.add(len(batches))
        found += [one.id for batch, weight in batches if weight for one in batch.examples]
        losses += accumulate(policy, process, batches, dpo(PAIRS), lambda: False)["loss"]
        assert process.synced == [False] * (len(batches) - 1) + [True]
    assert sorted(found) == sorted(pair.id for pair in PAIRS)
    assert len(turns) == 1  # or one would wait for ever
    mean = {name: grad / count for name, grad in gradients(policy.model).items()}
    assert_same_gradients(mean, our_gradients(policy, [PAIRS], dpo(PAIRS)), 1e-5)
    _, sums = policy(policy.micro_batch(PAIRS), dpo(PAIRS))
    torch.testing.assert_close(losses, sums["loss"])


def test_clipping_returns_the_norm_from_before():
    policy = policy_of(tiny("llama"))
    expected = our_gradients(policy, [PAIRS], dpo(PAIRS))
    norm = torch.stack([grad.norm() for grad in expected.values()]).norm()
    policy(policy.micro_batch(PAIRS), dpo(PAIRS))[0].backward()
    torch.testing.assert_close(clip(policy, 0.1), norm)
    half = {name: grad * 0.1 / norm for name, grad in expected.items()}
    assert_same_gradients(gradients(policy.model), half, 1e-4)
    policy(policy.micro_batch(PAIRS), dpo(PAIRS))[0].backward()
    clip(policy, 1e6)
    assert_same_gradients(gradients(policy.model), expected, 1e-6)

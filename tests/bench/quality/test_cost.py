import pytest

from bench.quality.cells import PRESETS, Cell
from bench.quality.cost import Cost, estimate, minutes_left
from bench.quality.free_form import FreeItem
from bench.quality.tasks import Tasks
from soda.student.chat import ChatFormat
from tests.fakes.student import tokenizer


class Words:
    """Free-form prompts that are all of one length."""

    def held_out(self, count):
        return [FreeItem([{"role": "user", "content": "hello"}], "hello")] * min(count, 10)

    def training(self, count, seed):
        return self.held_out(10) * (count // 10 + 1)


def of(name, cells=None, source=None):
    chat = ChatFormat(tokenizer(), "tiny")
    preset = PRESETS[name]
    return estimate(preset, cells or preset.cells(), source or Tasks(), chat)


def test_a_cost_is_a_time():
    cost = Cost(trained=190, sampled=100, scored=550, loads=1) + Cost(trained=190)
    assert cost.seconds == pytest.approx(12)


def test_another_pass_costs_its_tokens():
    found = of("cpu")
    [three, four] = [found[cell] for cell in found if cell.method == "sft" and not cell.job.seed]
    items = Tasks().training(128, 0)
    chat = ChatFormat(tokenizer(), "tiny")
    tokens = sum(
        len(chat.prompt_ids(item.messages)) + chat.count(item.answer) + 1 for item in items
    )
    assert four - three == pytest.approx(tokens / 190)


def test_what_cells_share_is_paid_by_the_first():
    found = of("cpu")
    one, other = [found[cell] for cell in found if cell.method == "dpo" and cell.job.seed == 1]
    assert one > other + 128 * 0.7 * 48 / 100  # it samples the rejects


def test_without_its_warm_up_in_the_journal_dpo_pays_for_it():
    whole = of("cpu")
    [_, last] = [cell for cell in whole if cell.method == "dpo" and not cell.job.seed]
    warm_up = Cell(last.job, "sft", last.job.warm_epochs)
    assert of("cpu", [last])[last] > whole[last] + 0.5 * whole[warm_up]


def test_a_teacher_in_part_the_student_has_to_be_sampled():
    cells = [cell for cell in PRESETS["free-tiny"].cells() if cell.method == "sft"]
    found = of("free-tiny", cells, Words())
    [good] = [found[c] for c in cells if c.job.good_share == 1 and c.epochs == 1]
    [half] = [found[c] for c in cells if c.job.good_share == 0.5 and c.epochs == 1]
    assert half > good + 8 * 0.7 * 16 / 100


def test_what_was_taken_corrects_what_is_left():
    a, b, c = PRESETS["cpu"].cells()[:3]
    estimates = {a: 60.0, b: 120.0, c: 180.0}
    assert minutes_left(estimates, {}, 1) == pytest.approx(6)
    assert minutes_left(estimates, {}, 2) == pytest.approx(3)
    assert minutes_left(estimates, {a: 120.0}, 1) == pytest.approx(10)
    assert minutes_left(estimates, {a: 20.0, b: 40.0, c: 60.0}, 1) == 0

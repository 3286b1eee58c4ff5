import json
import math
from dataclasses import replace

import pytest

from bench.quality.cells import PRESETS, Cell
from bench.quality.free_form import QUICKSTART, read_free_form
from bench.quality.measure import measure
from bench.quality.students import Students
from bench.quality.tasks import Tasks
from soda import Model
from soda.artifacts.kinds import Pairs, Responses
from tests.fakes.student import save_student

PRESET = replace(PRESETS["tiny"], answer_tokens=6)
CENTRE = PRESET.centre


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    import soda

    folder = save_student(tmp_path_factory.mktemp("student"))
    out = tmp_path_factory.mktemp("imported") / "base"
    return soda.run("import-student", inputs={}, config={"source": str(folder)}, out=out).path


@pytest.fixture(scope="module")
def free(tmp_path_factory):
    return read_free_form(QUICKSTART, tmp_path_factory.mktemp("free"))


def dpo(job, rejects="student"):
    return Cell(job, "dpo", rejects=rejects, rate=1e-5, beta=0.1)


def test_soda_is_trained_from_the_warmed_up_student_on_the_base_students_answers(base, tmp_path):
    students = Students(PRESET, CENTRE, Tasks(), base, tmp_path)
    made = Model.open(students.of(dpo(CENTRE)))
    assert [one["method"] for one in made.trainings] == ["sft", "dpo"]
    assert made.trainings[0]["epochs"] == CENTRE.warm_epochs
    pairs = list(Pairs.open(students.folder / "pairs-student").rows("train"))
    items = Tasks().training(16, 0)
    assert [pair.chosen[0]["content"] for pair in pairs] == [item.answer for item in items]
    assert [pair.prompt for pair in pairs] == [item.messages for item in items]


def test_soda_and_the_seqkd_beside_it_see_the_data_as_often(base, tmp_path):
    students = Students(PRESET, CENTRE, Tasks(), base, tmp_path)

    def passes(cell):
        return sum(one["epochs"] for one in Model.open(students.of(cell)).trainings)

    assert passes(Cell(CENTRE, "sft", CENTRE.warm_epochs + 1)) == passes(dpo(CENTRE)) == 2


def test_moved_rejects_are_the_teachers_other_answers(base, free, tmp_path):
    students = Students(PRESET, CENTRE, free, base, tmp_path)
    students.of(dpo(CENTRE, "moved"))
    answers = [item.answer for item in free.training(16, 0)]
    rejects = Responses.open(students.folder / "rejects-moved").rows()
    assert [row.text for row in rejects] == [*answers[1:], answers[0]]


def test_a_teacher_in_part_the_base_student_is_made_once(base, free, tmp_path):
    job = CENTRE._replace(good_share=0.5)
    students = Students(PRESET, job, free, base, tmp_path)
    students.of(Cell(job, "sft", 1))
    file = students.folder / "teacher.jsonl"
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    items = free.training(16, 0)
    assert [line["messages"] for line in lines] == [item.messages for item in items]
    good = [line["response"] == item.answer for line, item in zip(lines, items, strict=True)]
    assert 3 < sum(good) < 13
    before = file.stat().st_mtime_ns
    students.of(Cell(job, "sft", 2))
    assert file.stat().st_mtime_ns == before


def test_figures_are_item_by_item(base, free):
    items = free.held_out(12)
    found = measure(base, items, 6)
    assert {len(values) for values in found.values()} == {12}
    assert [each is None for each in found["right"]] == [item.expected is None for item in items]
    assert {None, 0} <= set(found["right"])
    assert all(1 <= tokens <= 6 for tokens in found["tokens"])
    # a random student knows nothing: each of its 512 tokens is about as likely
    assert all(abs(each + math.log(512)) < 0.5 for each in found["logp"])

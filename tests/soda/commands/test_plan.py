"""What a run will take and cost is said before it, and measured on what is kept."""

import json

import pytest

from soda.cli import main
from tests.fakes.artifacts import make_prompts
from tests.fakes.teacher import completion, fake_teacher

COUNT = 20


@pytest.fixture(scope="module")
def prompts(tmp_path_factory):
    return make_prompts(tmp_path_factory.mktemp("prompts"), COUNT)


def plan(prompts, teacher, capsys, *more, **values):
    values = {"base_url": teacher.url, "model": "big", "probe": False, **values}
    sets = [f"--set={key}={json.dumps(value)}" for key, value in values.items()]
    with pytest.raises(SystemExit) as ended:
        main(["plan", "--prompts", str(prompts.path), *sets, *more])
    out = capsys.readouterr()
    return ended.value.code, dict(line.split(maxsplit=1) for line in out.out.splitlines()), out.err


def test_without_any_answer_it_gives_bounds_and_says_what_it_does_not_know(
    prompts, tmp_path, capsys
):
    with fake_teacher() as teacher:
        code, found, _ = plan(
            prompts,
            teacher,
            capsys,
            f"--out={tmp_path}/out",
            price={"input": 1, "output": 10},
            sampling={"max_tokens": 100},
            limits={"usd": 5, "requests_per_minute": 10},
        )
    assert code == 0 and not teacher.asked and not (tmp_path / "out").exists()
    assert found["prompts"] == "20: 0 answered already, 20 to ask"
    assert found["tokens"].endswith("unknown out, at most 2,000")
    assert (
        found["money"]
        == "unknown, at most 0.02 USD; spent so far 0.00 USD; limits.usd stops it at 5"
    )
    assert found["time"] == "about 0.03 hours" and found["bytes"] == "unknown of answers"


def test_a_few_asked_answers_make_it_an_estimate_and_are_not_asked_again(prompts, tmp_path, capsys):
    values = {"price": {"input": 1e6, "output": 1e6}, "sampling": {"max_tokens": 100}}
    with fake_teacher(lambda body, times: completion("a b c d e f g")) as teacher:
        code, found, _ = plan(
            prompts, teacher, capsys, f"--out={tmp_path}/out", "--ask=4", **values
        )
        assert code == 0 and teacher.asked.total() == 4
        again = plan(prompts, teacher, capsys, f"--out={tmp_path}/out", **values)[1]
    assert again == found
    assert found["prompts"] == "20: 4 answered already, 16 to ask"
    assert "(measured on 4 kept answers), about 112 out, at most 1,600" in found["tokens"]
    assert found["money"].startswith("about 19")
    assert "spent so far 48.00 USD" in found["money"]
    assert found["bytes"] == "about 208 of answers"


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        (["--set=model=''"], "plan: expected a teacher"),
        (["--set=limits={usd: 5}"], "teacher-gen.limits.usd: expected teacher-gen.price"),
        (["--ask=-1"], "--ask: expected a number of prompts, found -1"),
        (["--recipe=none.yaml"], "none.yaml: expected a recipe"),
        (["--set=speed=9"], "teacher-gen.speed: unknown key"),
    ],
)
def test_wrong_input_is_one_line(prompts, tmp_path, capsys, more, problem):
    with fake_teacher() as teacher:
        code, _, errors = plan(prompts, teacher, capsys, f"--out={tmp_path}/out", *more)
    assert code == 2 and problem in errors and errors.count("\n") == 1

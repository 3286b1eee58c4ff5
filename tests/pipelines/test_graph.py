"""A recipe's steps: rounds, rejects, variants and seeds unrolled, and equal ones shared."""

import pytest

from soda.errors import ConfigError
from soda_pipelines.distill.graph import Shards, make_graph
from tests.pipelines.test_compile import PLAIN, REJECTS


def graph(pipeline="distill", shards=Shards(), **more):  # noqa: B008 - frozen
    return {step.name: step for step in make_graph({**PLAIN, **more}, pipeline, shards)}


def compared(**variants):
    return graph("compare", variants=variants)


def test_the_warm_up_runs_beside_the_snapshot_and_is_the_trainings_start_and_reference():
    steps = graph()
    assert steps["warm-up"].inputs == {"data": "teacher-gen", "model": "import-student"}
    assert steps["train"].inputs == {"data": "pair-build", "model": "warm-up"}
    assert steps["snapshot"].inputs["model"] == "import-student"  # the untouched student's rejects
    models = {"model": "train", "warmed": "warm-up", "base": "import-student"}
    assert models.items() <= steps["eval"].inputs.items()
    names = list(steps)
    for step in steps.values():
        needs = [each for of in step.inputs.values() for each in ([of] if str(of) == of else of)]
        assert all(names.index(each) < names.index(step.name) for each in needs)


def test_in_the_second_round_the_trained_student_answers_and_goes_on():
    steps = graph(rounds=2)
    assert steps["snapshot: round 2"].inputs["model"] == "train"
    assert steps["pair-build: round 2"].inputs["student"] == "snapshot: round 2"
    assert steps["train: round 2"].inputs == {"data": "pair-build: round 2", "model": "train"}
    assert steps["register"].inputs["model"] == "train: round 2"


def test_rejects_come_from_any_models_with_shares_and_are_chosen_by_the_warmed_up_student():
    steps = graph(rejects=REJECTS, **{"choose-rejects": {"choose": "least_likely"}})
    chosen = steps["choose-rejects"]
    assert chosen.inputs["candidates"] == ("snapshot: reject 1", "teacher-gen: reject 2")
    assert chosen.inputs["model"] == "warm-up" and chosen.values["shares"] == [1, 2]
    assert steps["snapshot: reject 1"].inputs["model"] == "import-student: reject 1"
    assert steps["import-student: reject 1"].values["source"] == "org/smaller"
    assert steps["teacher-gen: reject 2"].values["model"] == "bad"
    assert "snapshot" not in steps and steps["pair-build"].inputs["student"] == "choose-rejects"
    first = graph(rejects=REJECTS)["choose-rejects"]
    assert first.inputs["model"] == "import-student"  # no likelihood: it waits for no training


def test_without_variants_a_comparison_is_the_papers_and_a_fair_seqkd():
    steps = graph("compare")
    assert steps["compare"].values["names"] == ["seqkd", "seqkd-x4", "soda", "gad"]
    assert steps["warm-up: seqkd-x4"].values["epochs"] == 4
    assert steps["eval: seqkd"].inputs["model"] == "warm-up" == steps["train"].inputs["model"]
    gad = steps["train: gad"]
    assert gad.inputs["model"] == "import-student" and gad.values["learning_rate"] == 1e-6
    assert "register" not in steps


def test_variants_share_what_is_equal_and_every_seed_is_a_training():
    variants = {"soda": {}, "loud": {"train": {"loss": {"name": "dpo", "beta": 0.5}}}}
    steps = graph("compare", variants=variants, seeds=[0, 1])
    trainings = [name for name, step in steps.items() if step.stage == "train"]
    assert trainings == [
        *("warm-up", "train", "warm-up: seed 1", "train: seed 1"),
        *("train: loud, seed 0", "train: loud, seed 1"),
    ]
    assert steps["train: loud, seed 1"].inputs["model"] == "warm-up: seed 1"
    stages = [step.stage for step in steps.values()]
    assert stages.count("snapshot") == stages.count("pair-build") == 1 and stages.count("eval") == 4
    assert {step.inputs["pairs"] for step in steps.values() if step.stage == "eval"} == {
        "pair-build"
    }
    assert steps["compare"].values["names"] == ["soda", "soda", "loud", "loud"]


def test_where_a_recipe_names_a_judge_each_training_is_judged_one_after_the_other():
    """Then each finds in the journal what the earlier ones have paid for."""
    variants = {"soda": {}, "loud": {"train": {"loss": {"name": "dpo", "beta": 0.5}}}}
    judge = {"opponents": ["base"]}
    steps = graph("compare", variants=variants, seeds=[0, 1], judge=judge)
    judged = [step for step in steps.values() if step.stage == "judge"]
    names = [f"judge: {each}, seed {n}" for each in variants for n in (0, 1)]
    assert [step.name for step in judged] == names
    assert steps["compare"].inputs["reports"] == tuple(names)
    assert [step.after for step in judged] == [(), *((name,) for name in names[:-1])]
    assert judged[0].inputs == {"report": "eval: soda, seed 0"}
    assert {step.values["opponents"][0] for step in judged} == {"base"}


def test_a_variant_with_other_rejects_is_measured_on_the_recipes_own_pairs():
    steps = compared(soda={}, other={"rejects": REJECTS})
    assert steps["train: other"].inputs["data"] == "pair-build: other"
    assert steps["eval: other"].inputs["pairs"] == "pair-build"


def test_shards_share_the_prompts_and_the_whole_comes_after_them():
    steps = graph(shards=Shards(teacher=2))
    whole, part = steps["teacher-gen"], steps["teacher-gen 2/2"]
    assert whole.after == ("teacher-gen 1/2", "teacher-gen 2/2") and not whole.shard
    assert part.shard == "2/2" and part.key == "teacher-gen" and part.values == whole.values
    assert steps["snapshot"].after == ()


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"train": {"beta": 1}}, r"train\.beta: unknown key"),
        ({"rounds": 0}, r"recipe\.rounds: expected"),
        ({"rejects": [{"shre": 1}]}, "rejects 1: unknown key 'shre'; did you mean 'share'?"),
        ({"rejects": [{"share": "x"}]}, "rejects 1: expected a share of 0 or more, found 'x'"),
        ({"rejects": [{"snapshot": {"temp": 1}}]}, r"rejects 1: snapshot\.temp: unknown key"),
        ({"variants": {"a": {"tran": {}}}}, "variant 'a': unknown step 'tran'; did you mean"),
        ({"variants": {"a": {"train": {"epoch": 1}}}}, r"variant 'a': train\.epoch: unknown key"),
    ],
)
@pytest.mark.parametrize("pipeline", ["distill", "compare"])
def test_a_wrong_value_is_refused_wherever_it_stands_before_anything_runs(pipeline, more, reason):
    with pytest.raises(ConfigError, match=reason):
        graph(pipeline, **more)


def test_the_papers_variants_are_checked_too():
    with pytest.raises(ConfigError, match="variant 'gad': train: expected no lora with gad"):
        graph("compare", train={"lora": {"rank": 4}})
    assert graph(train={"lora": {"rank": 4}})


def test_rejects_of_an_endpoint_and_a_teacher_in_the_environment_do_not_go_together(monkeypatch):
    monkeypatch.setenv("SODA_TEACHER_BASE_URL", "https://teacher.example/v1")
    with pytest.raises(ConfigError, match="rejects 2: expected the teacher in teacher-gen"):
        graph(rejects=REJECTS)


def test_a_variant_of_another_student_is_no_variant():
    other = {"import-student": {"source": "org/other", "revision": "2" * 40}}
    with pytest.raises(ConfigError, match="variant 'b': expected the recipe's own prompts"):
        compared(a={}, b=other)

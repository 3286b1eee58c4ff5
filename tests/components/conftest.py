"""What components are tried with: finished artifacts, a web server, artifacts of KFP."""

import json
from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest
from kfp import dsl

import soda
from soda_components.generate import load_component
from tests.fakes.web import Reply, serve

QUICK = {
    "snapshot": {"max_new_tokens": 8},
    "warm-up": {"method": "sft", "batch_size": 8, "epochs": 1, "learning_rate": 1e-2},
    "train": {"batch_size": 8},
    "eval": {"max_new_tokens": 8, "lm_eval_tasks": [], "bootstrap_samples": 100},
}


@pytest.fixture(scope="session")
def ready(made, tmp_path_factory):
    """Where finished artifacts lie, by name; `url` of the teacher; `quick` configs by stage."""
    root = tmp_path_factory.mktemp("ready")
    inputs = {"data": made["teacher"].path, "model": made["base"].path}
    warmed = soda.run("train", inputs=inputs, config=QUICK["warm-up"], out=root / "warmed")
    inputs = {"data": made["pairs"].path, "model": warmed.path}
    model = soda.run("train", inputs=inputs, config=QUICK["train"], out=root / "model")
    inputs = {key: made[key].path for key in ("base", "teacher", "pairs")}
    inputs |= {"model": model.path, "warmed": warmed.path}
    report = soda.run("eval", inputs=inputs, config=QUICK["eval"], out=root / "report")
    paths = {key: str(each.path) for key, each in made.items()}
    return SimpleNamespace(
        **paths,
        warmed=str(warmed.path),
        model=str(model.path),
        report=str(report.path),
        source=str(made["base"].path.parent / "source"),
        dataset=str(made["prompts"].path.parent / "dataset.jsonl"),
        quick=QUICK,
        url=made["teacher"].manifest.config["base_url"],
    )


@dataclass
class Web:
    """A running server: it lists one model, and takes what is posted."""

    url: str = ""
    posted: list = field(default_factory=list)

    def answer(self, asked):
        if asked.method == "POST":
            self.posted.append(json.loads(asked.body))
        return Reply(200, {"data": [{"id": "big-teacher"}]})


@pytest.fixture(scope="module")
def web():
    """A web server for one file's tests."""
    running = Web()
    with serve(running.answer) as running.url:
        yield running


@pytest.fixture
def call(tmp_path):
    """Call a component's function with KFP's artifacts; return them by name, and `returned`."""

    def kind(spec):
        return getattr(dsl, spec.type.removeprefix("system.").split("@")[0])

    def run(name, **given):
        component = load_component(name)
        spec = component.component_spec
        for key, each in spec.inputs.items():
            if each.type.startswith("system."):
                given[key] = kind(each)(name=key, uri=str(given[key]))
        made = {
            key: kind(each)(name=key, uri=str(tmp_path / "made" / key))
            for key, each in (spec.outputs or {}).items()
            if each.type.startswith("system.")
        }
        (tmp_path / "made").mkdir(exist_ok=True)
        returned = component.python_func(**given, **made)
        return SimpleNamespace(**made, returned=returned)

    return run


@pytest.fixture(scope="session")
def configs(ready):
    """Return configs for preflight with nothing wrong in them; keywords change the teacher."""

    def make(registry, **teacher):
        return {
            "prepare_prompts_config": {"dataset": ready.dataset},
            "import_student_config": {"source": ready.base},
            "teacher_gen_config": {"base_url": ready.url, "model": "fake", **teacher},
            "snapshot_config": {},
            "pair_build_config": {},
            "warm_up_config": {},
            "train_config": {},
            "eval_config": {},
            "register_config": {"name": "tiny", "registry": str(registry)},
        }

    return make

"""The registry: immutable versions, one a model, and a champion that has shown enough."""

import json
import shutil
import subprocess
import sys

import pytest

import soda
from soda.artifacts.kinds import Model, Registration, Report
from soda.errors import ArtifactError, ConfigError
from soda.registry.registry import Registry
from soda.stages.eval import EvalConfig
from soda.stages.register import RegisterConfig
from tests.fakes.student import save_student


def interval(mean):
    return {"mean": mean, "low": mean - 0.1, "high": mean + 0.1}


def make_report(path, change=0.5):
    metric = {"label": "ROUGE-L", "better": "higher", "count": 3}
    metric |= {"before": interval(0.2), "after": interval(0.2 + change), "change": interval(change)}
    figures = {
        "split": "test",
        "prompts": 3,
        "metrics": {"rouge_l": metric},
        "lm_eval": {"soda_facts": {"acc": {"before": 0.5, "after": 0.6, "stderr": 0.1}}},
        "teacher": {"model": "big-1", "endpoint": "http://t"},
        "models": {"before": "base", "after": "student"},
        "weights": {"before": "abc", "after": "def"},
    }
    with Report.create(path, config=EvalConfig(), inputs={}) as writer:
        (writer.path / "report.json").write_text(json.dumps(figures))
    return Report.open(path)


def make_model(made, root, seed):
    source = save_student(root / f"source-{seed}", seed=seed)
    base = soda.run(
        "import-student", inputs={}, config={"source": str(source)}, out=root / f"base-{seed}"
    )
    config = {"batch_size": 40, "learning_rate": 1e-6}
    inputs = {"data": made["pairs"].path, "model": base.path}
    return soda.run("train", inputs=inputs, config=config, out=root / f"model-{seed}")


@pytest.fixture(scope="module")
def models(made, tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    return [make_model(made, root, seed) for seed in (1, 2)]


def register(tmp_path, model, report, out="out", **config):
    config = {"name": "tiny", "registry": str(tmp_path / "registry"), **config}
    inputs = {"model": model.path, "report": report.path}
    return soda.run("register", inputs=inputs, config=config, out=tmp_path / out).facts()


def version(tmp_path, number, name="tiny"):
    return Registry(tmp_path / "registry").place_of(name, number).folder


def test_a_model_is_registered_once_with_card_and_lineage(models, tmp_path):
    report = make_report(tmp_path / "report")
    assert register(tmp_path, models[0], report)["version"] == 1
    assert register(tmp_path, models[1], report, "b")["version"] == 2
    assert register(tmp_path, models[0], report, "c")["version"] == 1
    folder = version(tmp_path, 2)
    lineage = json.loads((folder / "lineage.json").read_text())
    assert lineage["model_digest"] == models[1].digest
    assert lineage["teacher"]["model"] == "big-1"
    card = (folder / "README.md").read_text()
    assert "| ROUGE-L | 0.200 | 0.700 | +0.500 (+0.400 to +0.600) |" in card and "DPO" in card
    assert not any(path.stat().st_mode & 0o222 for path in folder.rglob("*") if path.is_file())


def test_the_same_command_again_is_no_change(models, tmp_path):
    report = make_report(tmp_path / "report")
    first = register(tmp_path, models[0], report)
    assert register(tmp_path, models[0], report) == first
    versions = tmp_path / "registry" / "tiny" / "versions"
    assert [path.name for path in versions.glob("*")] == [".soda-lock", "1.json"]


def test_the_report_is_the_versions_own_and_models_of_two_names_do_not_mix(models, tmp_path):
    report = make_report(tmp_path / "report")
    assert register(tmp_path, models[0], report, "a", name="one")["version"] == 1
    assert register(tmp_path, models[1], report, "b", name="two")["version"] == 1
    for name in ("one", "two"):
        folder = version(tmp_path, 1, name)
        assert Report.open(folder / "report", verify=True).digest == report.digest


def test_a_registered_version_stands_alone_and_is_an_artifact(models, tmp_path):
    shutil.copytree(models[0].path, tmp_path / "model")
    model = Model.open(tmp_path / "model")
    register(tmp_path, model, make_report(tmp_path / "report"))
    for folder in (tmp_path / "model", tmp_path / "report"):
        for file in [path for path in folder.rglob("*") if path.is_file()]:
            file.chmod(0o600)
            file.write_bytes(b"edited")
    registered = version(tmp_path, 1)
    assert Model.open(registered / "model", verify=True).digest == model.digest
    assert Report.open(registered / "report", verify=True).figures()


def test_a_link_in_a_model_is_not_registered_and_its_target_stays_as_it_is(models, tmp_path):
    shutil.copytree(models[0].path, tmp_path / "model")
    model = Model.open(tmp_path / "model")
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "secret").chmod(0o644)
    (tmp_path / "model" / "notes").symlink_to(tmp_path / "secret")
    with pytest.raises(ArtifactError, match="notes: expected a file, found a link"):
        register(tmp_path, model, make_report(tmp_path / "report"))
    assert not (tmp_path / "registry").exists()
    assert (tmp_path / "secret").stat().st_mode & 0o777 == 0o644


def test_a_registered_version_loads(models, tmp_path):
    from transformers import AutoModelForCausalLM

    register(tmp_path, models[0], make_report(tmp_path / "report"))
    AutoModelForCausalLM.from_pretrained(version(tmp_path, 1) / "model")


def test_the_champion_moves_only_for_a_report_that_passes(models, tmp_path):
    good, bad = make_report(tmp_path / "good"), make_report(tmp_path / "bad", change=0.05)
    checks = ["rouge_l.change.low > 0", "lm_eval.soda_facts.acc.after >= 0.6"]
    registry = Registry(tmp_path / "registry")
    first = register(tmp_path, models[0], bad, "a", champion_if=checks)
    assert not first["champion"] and first["failed_checks"] == checks[:1]
    assert registry.alias("tiny", "champion") is None
    assert register(tmp_path, models[1], good, "b", champion_if=checks)["champion"]
    assert registry.alias("tiny", "champion") == 2
    register(tmp_path, models[0], bad, "c", champion_if=checks)
    assert registry.alias("tiny", "champion") == 2


@pytest.mark.parametrize("figure", ["rouge.change.low", "rouge_l.change", "rouge_l.label"])
def test_checks_of_figures_that_are_not_there_are_refused(models, tmp_path, figure):
    report = make_report(tmp_path / "report")
    with pytest.raises(ConfigError, match=f"found '{figure}'; known: rouge_l"):
        register(tmp_path, models[0], report, champion_if=[f"{figure} > 0"])
    assert not (tmp_path / "registry").exists() and not (tmp_path / "out").exists()


def test_two_processes_at_once_register_both_models(models, tmp_path):
    report = make_report(tmp_path / "report")
    command = [sys.executable, "-m", "soda", "register", "--report", report.path]
    command += ["--set", "name=tiny", "--set", f"registry={tmp_path}/registry"]
    running = [
        subprocess.Popen(
            [*command, "--model", model.path, "--out", tmp_path / str(number)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number, model in enumerate(models)
    ]
    errors = [process.communicate()[1] for process in running]
    assert [process.returncode for process in running] == [0, 0], errors
    facts = [Registration.open(tmp_path / str(number)).facts() for number in range(2)]
    assert {fact["version"] for fact in facts} == {1, 2}
    for model, fact in zip(models, facts, strict=True):
        folder = version(tmp_path, fact["version"])
        assert json.loads((folder / "lineage.json").read_text())["model_digest"] == model.digest


@pytest.mark.parametrize("field", ["registry", "model_registry"])
@pytest.mark.parametrize("address", ["https://ann:canary@host", "https://host/?api-key=canary"])
def test_an_address_with_a_secret_is_refused_without_repeating_it(field, address):
    with pytest.raises(ConfigError, match="without a user, password or key") as refusal:
        RegisterConfig.parse({"name": "tiny", field: address})
    assert "canary" not in str(refusal.value)

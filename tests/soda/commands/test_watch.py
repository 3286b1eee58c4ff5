"""One run for one new teacher, however many ask: what is new, what changed, and who has it."""

import json
import threading
import time

import pytest

from soda import storage
from soda.cli import main
from soda.commands.notify import notify
from soda.commands.watch import release, watch, watch_step
from soda.errors import ConfigError, EndpointError
from soda.registry.registry import Registry
from soda.stages.register import RegisterConfig
from soda.stages.teacher_gen import TeacherGenConfig
from soda.teacher.fingerprint import PROBES
from soda.teacher.identity import look_at
from tests.fakes.listing_teacher import listing_teacher
from tests.fakes.waits import SHORT

KEY = "canary-71ac"


@pytest.fixture
def teacher(monkeypatch):
    monkeypatch.setenv("SODA_TEACHER_API_KEY", KEY)
    with listing_teacher() as running:
        running.key = KEY
        running.lists("big")
        yield running


class Setting:
    """A teacher, a registry and a store, and what is asked of them."""

    def __init__(self, teacher, root, store):
        self.teacher = teacher
        self.root = root
        self.store = store
        self.gen = TeacherGenConfig(base_url=teacher.url, model="big")
        self.register = RegisterConfig(
            name="tiny", registry=str(root / "registry"), teacher_licence="MIT"
        )

    def crown(self, **other):
        """Register a champion that the teacher, as it is now, has taught."""
        seen = look_at(self.gen.endpoint(), self.gen.body()).to_json()
        lineage = {key: seen[key] for key in ("endpoint", "model", "fingerprint")} | other
        source = self.root / "model"
        source.mkdir(exist_ok=True)
        registry = Registry(self.register.registry)
        version = registry.add(
            "tiny",
            {"model_digest": "d", "teacher": lineage},
            folders={"model": source, "report": source},
            card="card",
        )
        seen = registry.alias("tiny", "champion")
        registry.move_alias("tiny", "champion", version, seen=seen)

    def watch(self, run="", **named):
        return watch(self.gen, self.register, store=self.store, run=run, waits=SHORT, **named)

    def taken(self):
        return json.loads(storage.Place.of(self.store).open().read("watch/tiny.json")[0])

    def age(self, hours):
        """Make the last run's claim older."""
        taken = self.taken()
        text = json.dumps({**taken, "at": time.time() - 3600 * hours})
        storage.Place.of(self.store).open().write("watch/tiny.json", text.encode())

    def finish(self, run, state="FAILED"):
        values = {"register_config": self.register.model_dump(), "store": self.store}
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("SODA_RUN_ID", run)
            notify("distill", state=state, error="", ui="", **values)


@pytest.fixture
def setting(teacher, tmp_path):
    return Setting(teacher, tmp_path, str(tmp_path / "store"))


@pytest.fixture
def anywhere(teacher, tmp_path, place):
    return Setting(teacher, tmp_path, place)


def test_without_a_champion_a_teacher_is_new(setting):
    found = setting.watch()
    assert (found.outcome, found.identity) == ("new", "")
    assert found.evidence == [f"tiny has no champion in {setting.register.registry}"]


def test_a_teacher_of_another_name_is_new(setting):
    setting.crown(model="older")
    found = setting.watch()
    assert found.outcome == "new"
    assert found.evidence == [
        "champion: tiny version 1, taught by older",
        f"now: big at {setting.teacher.url}",
    ]


def test_a_teacher_at_another_endpoint_is_new(setting):
    setting.crown(endpoint="https://elsewhere.example/v1")
    assert setting.watch().outcome == "new"


def test_a_teacher_that_stayed_is_unchanged(setting):
    setting.crown()
    found = setting.watch("run-1")
    assert (found.outcome, found.identity) == ("unchanged", "")
    assert found.evidence[-1] == (
        "still served as 'big-2026-01': it gives the same answer to 6 of 6 probe prompts"
    )
    assert not (setting.root / "store").exists()


@pytest.mark.parametrize(
    ("name", "value", "evidence"),
    [
        ("says", "something else", "it gives the same answer to 0 of 6 probe prompts only"),
        ("served", "big-2026-09", "it is served as 'big-2026-09', before as 'big-2026-01'"),
    ],
)
def test_another_behind_the_same_name_has_changed(setting, name, value, evidence):
    setting.crown()
    setattr(setting.teacher, name, value)
    found = setting.watch()
    assert found.outcome == "changed" and found.evidence[-1] == evidence
    assert len(found.identity) == 12
    assert "**The teacher is changed.**\n- champion: tiny version 1" in found.markdown()


def test_a_champion_of_an_unknown_fingerprint_is_not_called_changed(setting):
    setting.crown(fingerprint=None)
    found = setting.watch()
    assert found.outcome == "unchanged" and "none compared" in found.evidence[-1]


def test_what_the_probes_do_not_tell_is_unclear_and_starts_nothing(setting, tmp_path):
    probes = dict.fromkeys(PROBES, "something else")
    champion = look_at(setting.gen.endpoint(), setting.gen.body()).to_json()["fingerprint"]
    champion["answers"] = [each if place < 2 else [] for place, each in
                           enumerate(champion["answers"])]  # fmt: skip
    setting.crown(fingerprint=champion)
    setting.teacher.answers = probes
    found = setting.watch("run-1")
    assert found.outcome == "unclear" and "only 2 of 6 probe prompts" in found.evidence[-1]
    assert "**The teacher is unclear.**" in found.markdown()
    assert step(setting, tmp_path)[0] == "unchanged"
    assert not (setting.root / "store" / "watch").exists()


def test_another_entry_in_the_list_is_seen_beside_the_last_run_only(setting):
    setting.crown()
    setting.teacher.lists("big", created=2)
    assert setting.watch("run-1").outcome == "unchanged"
    setting.teacher.says = "something else"
    assert setting.watch("run-1").outcome == "changed"
    assert setting.watch("run-2").outcome == "unchanged"
    setting.teacher.lists("big", created=3)
    assert setting.watch("run-2").outcome == "changed"


def test_an_unchanged_teacher_can_be_forced(setting):
    setting.crown()
    found = setting.watch("run-1", force=True)
    assert found.outcome == "changed" and found.evidence[-1] == "forced: taken as changed"
    assert found.identity and setting.taken()["run"] == "run-1"


def test_the_run_that_took_a_teacher_is_the_only_one(anywhere):
    assert anywhere.watch("run-1").outcome == "new"
    found = anywhere.watch("run-2")
    assert found.outcome == "unchanged"
    assert found.evidence[-1] == "run run-1 took this teacher 0.0 hours ago"
    assert anywhere.taken()["run"] == "run-1"


def test_of_runs_that_ask_at_the_same_time_one_takes_it(anywhere):
    found, barrier = {}, threading.Barrier(4)

    def ask(run):
        barrier.wait()
        found[run] = anywhere.watch(run).outcome

    threads = [threading.Thread(target=ask, args=(f"run-{number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(found.values()) == ["new", "unchanged", "unchanged", "unchanged"]
    assert found[anywhere.taken()["run"]] == "new"


def test_of_runs_that_take_over_at_the_same_time_one_does(anywhere):
    anywhere.watch("run-0")
    anywhere.finish("run-0")
    found, barrier = {}, threading.Barrier(3)

    def ask(run):
        barrier.wait()
        found[run] = anywhere.watch(run).outcome

    threads = [threading.Thread(target=ask, args=(f"run-{number}",)) for number in range(1, 4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(found.values()) == ["new", "unchanged", "unchanged"]
    assert found[anywhere.taken()["run"]] == "new"


def test_the_same_run_asked_again_finds_the_same(anywhere):
    anywhere.crown()
    anywhere.teacher.says = "something else"
    first = anywhere.watch("run-1")
    # Half the answers in other words are the same teacher, and must not be another identity.
    anywhere.teacher.answers = {"What is 17 * 23 + 9? Answer with the number.": "400."}
    assert anywhere.watch("run-1") == first
    assert first.outcome == "changed" and anywhere.taken()["identity"] == first.identity


def test_a_teacher_of_a_failed_run_is_taken_under_the_same_identity(anywhere):
    anywhere.crown()
    anywhere.teacher.says = "something else"
    first = anywhere.watch("run-1")
    anywhere.finish("run-1")
    anywhere.teacher.answers = {"What is 17 * 23 + 9? Answer with the number.": "400."}
    second = anywhere.watch("run-2")
    assert (second.outcome, second.identity) == ("changed", first.identity)
    assert anywhere.taken()["run"] == "run-2" and not anywhere.taken()["failed"]
    assert anywhere.watch("run-3").outcome == "unchanged"


def test_a_failed_run_that_is_tried_again_has_its_teacher_again(setting):
    setting.watch("run-1")
    setting.finish("run-1")
    assert setting.watch("run-1").outcome == "new"
    assert setting.watch("run-2").outcome == "unchanged"


@pytest.mark.parametrize("state", ["FAILED", "CANCELLED"])
def test_a_run_releases_only_what_it_took_itself(setting, state):
    setting.finish("run-0", state)
    setting.watch("run-1")
    setting.finish("run-2", state)
    assert setting.watch("run-3").outcome == "unchanged"
    setting.finish("run-1", state)
    assert setting.watch("run-3").outcome == "new"


def test_a_run_that_succeeded_keeps_its_teacher(setting):
    setting.watch("run-1")
    setting.finish("run-1", "SUCCEEDED")
    assert setting.watch("run-2").outcome == "unchanged"


def test_a_teacher_that_made_no_champion_is_tried_again_after_a_while(setting):
    setting.watch("run-1")
    setting.age(hours=167)
    assert setting.watch("run-2").outcome == "unchanged"
    assert setting.watch("run-2", retry_hours=100).outcome == "new"
    assert setting.taken()["run"] == "run-2"


def test_another_teacher_than_the_last_run_took_is_taken(setting):
    first = setting.watch("run-1")
    setting.teacher.says = "something else"
    second = setting.watch("run-2")
    assert second.outcome == "new" and setting.taken()["run"] == "run-2"
    # The journal under the first's identity holds the answers of another teacher.
    assert second.identity != first.identity


def test_a_recipes_own_identity_is_kept_for_a_new_teacher(setting):
    setting.gen = setting.gen.model_copy(update={"identity": "mine"})
    assert setting.watch("run-1").identity == "mine"
    assert setting.watch("run-2").identity == "mine"


def test_without_a_run_nothing_is_taken(setting):
    assert setting.watch().outcome == "new"
    assert not (setting.root / "store").exists()


def test_releasing_what_nobody_took_is_no_fault(setting):
    release("tiny", setting.store, "run-1")
    assert not (setting.root / "store" / "watch" / "tiny.json").exists()


def test_the_key_is_never_in_the_store(anywhere):
    anywhere.watch("run-1")
    store = storage.Place.of(anywhere.store).open()
    texts = [store.read(entry.name)[0] for entry in store.list()]
    assert len(texts) == 1 and not any(KEY.encode() in text for text in texts)


def test_a_recipe_without_a_teacher_is_refused(setting):
    setting.gen = TeacherGenConfig()
    with pytest.raises(ConfigError, match=r"base_url and \.model, found none"):
        setting.watch()


def test_a_teacher_that_is_not_there_is_refused_and_nothing_is_taken(setting):
    setting.teacher.fails = 503
    with pytest.raises(
        EndpointError, match="expected an answer to a probe prompt, found none: 503"
    ):
        setting.watch("run-1")
    assert not (setting.root / "store").exists()


def step(setting, tmp_path, **named):
    config = {"base_url": setting.teacher.url, "model": "big", "limits": {"concurrency": 4.0}}
    values = {"store": setting.store, "force": False}
    values |= {"report": str(tmp_path / "report.md")} | named
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SODA_RUN_ID", "run-1")
        return watch_step(config, setting.register.model_dump(), **values)


def test_the_step_reports_what_it_found(setting, tmp_path, capfd):
    assert step(setting, tmp_path) == ("new", "")
    assert (tmp_path / "report.md").read_text().startswith("**The teacher is new.**\n- tiny has no")
    assert capfd.readouterr().err.splitlines()[-1] == "watch: the teacher is new"


def test_the_step_ends_with_one_line_and_code_2(setting, tmp_path, capfd):
    setting.teacher.key = "another"
    with pytest.raises(SystemExit) as refused:
        step(setting, tmp_path)
    [line] = capfd.readouterr().err.splitlines()
    assert refused.value.code == 2 and "the key in SODA_TEACHER_API_KEY was refused" in line
    assert KEY not in line and not (tmp_path / "report.md").exists()


def test_the_command_says_what_it_found_and_takes_nothing(setting, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("SODA_STORE", setting.store)
    recipe = {
        "teacher-gen": {"base_url": setting.teacher.url, "model": "big"},
        "register": setting.register.model_dump(),
    }
    (tmp_path / "recipe.yaml").write_text(json.dumps(recipe))
    with pytest.raises(SystemExit) as done:
        main(["watch", "--recipe", str(tmp_path / "recipe.yaml")])
    assert done.value.code == 0
    assert capsys.readouterr().out == "new\n"
    assert not (tmp_path / "store").exists()

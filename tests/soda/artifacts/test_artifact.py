"""Artifacts: whole or not there, never changed, and reused only under their own key."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import soda
from soda import storage
from soda.artifacts.artifact import Artifact, name_in_store, work_place
from soda.artifacts.keys import run_key
from soda.artifacts.kinds import Pairs, Prompts
from soda.config import Config
from soda.errors import ArtifactError, StorageError
from soda.storage import Place


class ThingConfig(Config):
    value: int = 1

    @classmethod
    def stage(cls) -> str:
        return "compare"  # a key needs a stage's code


def make(out: Path, value: int = 1, inputs: dict[str, Artifact] | None = None) -> Prompts:
    config = ThingConfig(value=value)
    with Prompts.create(out, config=config, inputs=inputs or {}) as writer:
        writer.write("prompts.jsonl", {"id": "a"})
        writer.drop("b", "too_dull", "by far")
        (writer.path / "logs").mkdir()
        (writer.path / "logs" / "clock.txt").write_text(str(out))
    return Prompts.open(out)


def test_the_manifest_counts_rows_and_drops_and_lists_files(tmp_path):
    thing = make(tmp_path / "thing")
    assert thing.manifest.rows == {"prompts.jsonl": 1}
    assert thing.manifest.drops == {"too_dull": 1}
    assert set(thing.manifest.files) == {"prompts.jsonl", "drops.jsonl"}  # no logs
    drops = (thing.path / "drops.jsonl").read_text()
    assert json.loads(drops) == {"id": "b", "reason": "too_dull", "detail": "by far"}
    assert all(not path.stat().st_mode & 0o222 for path in thing.path.glob("*.json*"))


def test_the_digest_follows_content_config_and_inputs_not_place_or_logs(tmp_path):
    one, other = make(tmp_path / "a" / "one"), make(tmp_path / "b" / "other")
    assert one.digest == other.digest
    assert make(tmp_path / "c", value=2).digest != one.digest
    fed = make(tmp_path / "d", inputs={"x": one})
    assert fed.digest != one.digest
    assert fed.manifest.inputs == {"x": one.digest}


def test_an_error_inside_leaves_nothing_at_out_and_keeps_what_the_next_try_can_use(tmp_path):
    out, config = tmp_path / "thing", ThingConfig()
    for keeps in (False, True):
        with (
            pytest.raises(ZeroDivisionError),
            Prompts.create(out, config=config, inputs={}) as writer,
        ):
            writer.write("prompts.jsonl", {"id": "a"})
            if keeps:
                (writer.work / "part").write_text("half")
            raise ZeroDivisionError
        assert not out.exists()
        work = work_place(Place.of(out), config, {}).folder
        assert not (work / "artifact").exists()
        assert (work / "work" / "part").exists() is keeps
    with Prompts.create(out, config=config, inputs={}) as writer:
        assert (writer.work / "part").read_text() == "half"
    assert not work.exists()


def test_a_killed_run_leaves_nothing_at_out_and_the_next_goes_on(tmp_path):
    out, config = tmp_path / "thing", ThingConfig()
    code = f"""if True:
        import os
        from tests.soda.artifacts.test_artifact import Prompts, ThingConfig
        out = {str(out)!r}
        with Prompts.create(out, config=ThingConfig(), inputs={{}}) as writer:
            writer.write("prompts.jsonl", {{"id": "from the killed run"}})
            (writer.work / "part").write_text("half")
            os.kill(os.getpid(), 9)"""
    root = Path(__file__).parents[3]
    done = subprocess.run([sys.executable, "-c", code], cwd=root)
    assert done.returncode == -9 and not out.exists()
    with Prompts.create(out, config=config, inputs={}) as writer:
        assert (writer.work / "part").read_text() == "half"
        writer.write("prompts.jsonl", {"id": "a"})
    assert list(Prompts.open(out, verify=True).read_rows("prompts.jsonl")) == [{"id": "a"}]


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (lambda path: (path / "manifest.json").unlink(), "expected a finished artifact"),
        (lambda path: (path / "prompts.jsonl").unlink(), "expected 12 bytes, found no file"),
        (lambda path: edit(path / "prompts.jsonl", '{"id": "abc"}'), "expected 12 bytes, found 13"),
        (lambda path: edit(path / "prompts.jsonl", '{"id": "b"}\n'), "the manifest's sha256"),
        (
            lambda path: edit(path / "manifest.json", '{"format": 99}'),
            "format: expected 1, found 99",
        ),
        (lambda path: edit(path / "manifest.json", "[]"), "expected a manifest"),
        (lambda path: edit(path / "manifest.json", "{"), "expected JSON"),
        (lambda path: storage.remove_tree(path), "found nothing"),
        (
            lambda path: (path / "adapter_model.safetensors").write_text(""),
            "expected no file but those in its manifest.json, found adapter_model.safetensors",
        ),
        (
            lambda path: (path / "model.safetensors").symlink_to("/etc/hostname"),
            "model.safetensors: expected a file, found a link",
        ),
        (
            lambda path: replace_by_link(path / "prompts.jsonl"),
            "prompts.jsonl: expected a file, found a link",
        ),
        (
            lambda path: (path / "logs" / "a").symlink_to("/etc"),
            "logs/a: expected a file, found a link",
        ),
    ],
)
@pytest.mark.parametrize("verify", [False, True])
def test_open_refuses_what_is_missing_unfinished_or_damaged(tmp_path, damage, problem, verify):
    thing = make(tmp_path / "thing")
    damage(thing.path)
    with pytest.raises(ArtifactError, match=problem):
        Prompts.open(thing.path, verify=verify)


def test_an_input_that_changed_at_equal_size_is_not_used(tmp_path):
    thing = make(tmp_path / "thing")
    file = thing.path / "prompts.jsonl"
    times = file.stat()
    edit(file, '{"id": "b"}\n')
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    with pytest.raises(ArtifactError, match="the manifest's sha256"):
        soda.stage.prepare(
            "teacher-gen", inputs={"prompts": thing.path}, config={}, out=tmp_path / "out"
        )


def test_a_finished_artifact_is_read_once_and_not_by_who_made_it(tmp_path, monkeypatch):
    thing = make(tmp_path / "thing")
    monkeypatch.setattr("soda.storage.digests.file_digest", None)  # reading would raise
    assert Prompts.open(thing.path).digest == thing.digest


def test_a_link_that_a_stage_leaves_is_no_artifact(tmp_path):
    with (
        pytest.raises(StorageError, match="odd: expected a file, found a link"),
        Prompts.create(tmp_path / "out", config=ThingConfig(), inputs={}) as writer,
    ):
        (writer.path / "odd").symlink_to("/etc/hostname")
    assert not (tmp_path / "out").exists()


def test_an_empty_soda_store_is_none(tmp_path, monkeypatch):
    monkeypatch.setenv("SODA_STORE", "")
    make(tmp_path / "one")
    assert Prompts.reuse(tmp_path / "other", config=ThingConfig(), inputs={}) is None
    assert not (tmp_path / ".soda" / "artifacts").exists()


def test_an_artifact_under_the_right_name_with_another_key_is_made_again(tmp_path, monkeypatch):
    monkeypatch.setenv("SODA_STORE", str(tmp_path / "store"))
    theirs = make(tmp_path / "theirs", value=1)
    mine = ThingConfig(value=2)
    [kept] = (tmp_path / "store" / "artifacts").iterdir()
    kept.rename(tmp_path / "store" / name_in_store(mine.stage(), run_key(mine, {})))
    assert Prompts.reuse(tmp_path / "mine", config=mine, inputs={}) is None
    assert make(tmp_path / "mine", value=2).manifest.key != theirs.manifest.key


def test_only_the_owner_reads_what_a_stage_makes(tmp_path, monkeypatch):
    monkeypatch.setenv("SODA_STORE", str(tmp_path / "store"))
    (tmp_path / "data.jsonl").write_text('{"prompt": "a"}')
    config = {"dataset": str(tmp_path / "data.jsonl"), "test_share": 0.0, "validation_share": 0.0}
    soda.run("prepare-prompts", inputs={}, config=config, out=tmp_path / "runs" / "prompts")
    for top in ("runs", "store"):
        for path in [tmp_path / top, *(tmp_path / top).rglob("*")]:
            assert not path.stat().st_mode & 0o077, path


def replace_by_link(path):
    path.rename(path.parent.parent / "elsewhere")
    path.symlink_to(path.parent.parent / "elsewhere")


def edit(path: Path, text: str) -> None:
    path.chmod(0o644)
    path.write_text(text)


def test_open_refuses_another_kind(tmp_path):
    make(tmp_path / "thing")
    with pytest.raises(ArtifactError, match="expected 'pairs', found 'prompts'"):
        Pairs.open(tmp_path / "thing")


def test_the_same_key_is_reused_and_another_is_refused(tmp_path):
    thing = make(tmp_path / "thing")
    again = Prompts.reuse(thing.path, config=ThingConfig(), inputs={})
    assert again and again.digest == thing.digest
    with pytest.raises(ArtifactError, match="made with another config"):
        Prompts.reuse(thing.path, config=ThingConfig(value=2), inputs={})
    (tmp_path / "mine").write_text("a file of the user's")
    with pytest.raises(ArtifactError, match="expected nothing there"):
        Prompts.reuse(tmp_path / "mine", config=ThingConfig(), inputs={})


def test_a_shared_store_gives_a_finished_artifact_to_a_new_out(tmp_path, monkeypatch):
    monkeypatch.setenv("SODA_STORE", str(tmp_path / "store"))
    thing = make(tmp_path / "thing")
    again = Prompts.reuse(tmp_path / "again", config=ThingConfig(), inputs={})
    assert again and again.digest == thing.digest
    assert (again.path / "prompts.jsonl").samefile(thing.path / "prompts.jsonl")


@pytest.mark.parametrize(
    "damage",
    [
        lambda place: edit(place / "prompts.jsonl", '{"id": "b"}\n'),
        lambda place: (place / "manifest.json").unlink(),
    ],
)
def test_a_damaged_entry_of_the_store_is_made_again(tmp_path, monkeypatch, damage):
    monkeypatch.setenv("SODA_STORE", str(tmp_path / "store"))
    thing = make(tmp_path / "thing")
    damage(next((tmp_path / "store" / "artifacts").iterdir()))
    assert Prompts.reuse(tmp_path / "again", config=ThingConfig(), inputs={}) is None
    assert make(tmp_path / "again").digest == thing.digest


def test_two_runs_of_the_same_work_have_one_winner(tmp_path):
    out = tmp_path / "thing"
    with (
        Prompts.create(out, config=ThingConfig(), inputs={}),
        pytest.raises(StorageError, match="another run is at work"),
        Prompts.create(out, config=ThingConfig(), inputs={}),
    ):
        pass
    Prompts.open(out)


def test_a_full_disk_is_one_line_and_no_manifest(tmp_path):
    """The file size limit of the shell stands for the full disk: the same door, another errno."""
    rows = "".join(json.dumps({"prompt": f"{number} " + "x" * 200}) + "\n" for number in range(500))
    (tmp_path / "big.jsonl").write_text(rows)
    command = f"ulimit -f 16; trap '' XFSZ; {sys.executable} -m soda prepare-prompts "
    command += f"--set dataset={tmp_path}/big.jsonl --out {tmp_path}/out"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1 and "expected to write" in done.stderr
    assert not (tmp_path / "out").exists()
    assert not list((tmp_path / ".soda" / "work").iterdir())

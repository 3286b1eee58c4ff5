"""READMEs, metadata and component.yaml say what the code says, and work as they stand."""

import functools
import http.server
import re
import shutil
import threading

import pytest
import yaml
from kfp import compiler, components

from soda_components import generate

REQUIRED = {"name", "stability", "dependencies", "lastVerified"}
KEYS = REQUIRED | {"tags", "ci", "links", "managed", "description"}
VERSION = re.compile(r"(==|>=|<=|~=)?\d+\.\d+\.\d+")  # all three parts, as the convention has it


def examples(name):
    text = (generate.ROOT / name / "README.md").read_text()
    return re.findall(r"```python\n(.*?)\n```", text, re.DOTALL)


def test_the_files_are_what_the_code_says():
    said = []
    assert generate.main(["--check"], said.append) == 0, said


def test_a_file_that_is_out_of_date_is_named_and_then_written(tmp_path, monkeypatch):
    shutil.copytree(generate.ROOT, tmp_path / "components")
    monkeypatch.setattr(generate, "ROOT", tmp_path / "components")
    monkeypatch.setattr(generate, "names", lambda: ["watch"])
    stale = tmp_path / "components" / "watch" / "component.yaml"
    good = stale.read_text()
    stale.write_text("old")
    said = []
    assert generate.main(["--check"], said.append) == 1
    assert said == ["components/watch/component.yaml: out of date; run `make generated`"]
    assert stale.read_text() == "old"
    assert generate.main([], said.append) == 0
    assert stale.read_text() == good
    assert generate.main(["--check"], said.append) == 0


@pytest.mark.parametrize("name", generate.names())
def test_metadata_has_what_the_convention_asks_for(name):
    metadata = yaml.safe_load((generate.ROOT / name / "metadata.yaml").read_text())
    assert REQUIRED <= metadata.keys() <= KEYS
    assert metadata["name"] == name
    assert metadata["stability"] in ("alpha", "beta", "stable")
    assert metadata["lastVerified"].tzinfo
    assert metadata["dependencies"].keys() <= {"kubeflow", "external_services"}
    assert "Pipelines" in [each["name"] for each in metadata["dependencies"]["kubeflow"]]
    for group in metadata["dependencies"].values():
        assert all(VERSION.fullmatch(each["version"]) for each in group)


@pytest.fixture(scope="module")
def address():
    """The repository's root on loopback, as GitHub serves its files."""
    handler = functools.partial(Quiet, directory=generate.ROOT.parent)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@pytest.mark.parametrize("name", generate.names())
def test_the_examples_of_a_readme_work_as_they_stand(name, address, tmp_path):
    def executors(pipeline):
        compiler.Compiler().compile(pipeline, str(tmp_path / "spec.yaml"))
        return yaml.safe_load((tmp_path / "spec.yaml").read_text())["deploymentSpec"]

    example, by_address = examples(name)
    exec(example, imported := {})
    by_address, count = re.subn(r"https://raw\.\S+/v[^/]+", address, by_address)
    assert count == 1
    exec(by_address, loaded := {})
    exec(re.sub(rf"from soda_components.{name}\.component import \w+\n", "", example), loaded)
    assert executors(imported["example"]) == executors(loaded["example"])


@pytest.mark.parametrize("name", generate.names())
def test_a_component_loaded_from_its_file_is_the_one_of_the_code(name):
    loaded = components.load_component_from_file(str(generate.ROOT / name / "component.yaml"))
    written, made = loaded.component_spec, generate.load_component(name).component_spec
    for part in ("inputs", "outputs"):
        kinds = [
            {key: each.type.split("@")[0] for key, each in (getattr(spec, part) or {}).items()}
            for spec in (written, made)
        ]
        assert kinds[0] == kinds[1]
    assert written.implementation.container.image == made.implementation.container.image
    assert written.implementation.container.command == made.implementation.container.command

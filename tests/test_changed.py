"""What `make check` runs: the tests beside what changed."""

import pytest

from tests.changed import ALWAYS, ROOT, beside


@pytest.mark.parametrize(
    ("path", "test"),
    [
        ("soda/cli.py", "tests/soda/test_cli.py"),
        ("soda/stages/train.py", "tests/soda/stages/test_train.py"),
        ("soda/lint/rules/pods.py", "tests/soda/lint"),
        ("soda/evaluation/report.html.j2", "tests/soda/evaluation"),
        ("components/watch/component.py", "tests/components"),
        ("components/generate.py", "tests/components/test_generate.py"),
        ("pipelines/cron.py", "tests/pipelines/test_cron.py"),
        ("pipelines/distill/steps.py", "tests/pipelines"),
        ("manifests/base/limits.yaml", "tests/manifests"),
        ("images/Containerfile", "tests/images"),
        ("docs/cluster.md", "tests/test_docs.py"),
        ("tests/pipelines/golden.py", "tests/pipelines"),
        ("tests/test_docs.py", "tests/test_docs.py"),
        ("tests/fakes/web.py", "tests/fakes"),
    ],
)
def test_a_changed_file_leads_to_its_tests(path, test):
    assert beside([path]) == sorted([ALWAYS, test]) and (ROOT / test).exists()


@pytest.mark.parametrize("path", ["CHANGELOG.md", "tests/conftest.py", "tests/soda/gone/test_x.py"])
def test_what_has_no_tests_leads_to_the_rules_of_the_house(path):
    assert beside([path]) == [ALWAYS]

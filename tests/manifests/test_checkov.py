"""checkov finds nothing in what is applied, but what manifests/checkov.yaml explains.

python -m venv build/checkov
build/checkov/bin/pip install --no-deps -r manifests/checkov-requirements.txt
SODA_CHECKOV=build/checkov/bin/checkov .venv/bin/python -m pytest tests/manifests
"""

import json
import os
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.manifests.pods import pods
from tests.manifests.rendered import COMPOSED, FOLDERS, ROOT, objects

CHECKOV = os.environ.get("SODA_CHECKOV", "")  # read now: tests see no variable of ours


@pytest.mark.slow
@pytest.mark.skipif(not CHECKOV, reason="SODA_CHECKOV names no checkov")
def test_checkov_finds_nothing_unexplained(tmp_path):
    for stack in (*FOLDERS, *COMPOSED):
        made = [*objects(stack)]
        # checkov looks into no custom objects, so their pods are shown to it as Jobs
        hidden = [
            _as_job(pod, one, made)
            for one in made
            if one["kind"] in ("TrainingRuntime", "EventSource", "Sensor")
            for pod in pods(one)
        ]
        name = stack.replace("/", "-").replace(" ", "-")
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump_all([*made, *hidden]))
    command = [CHECKOV, "--config-file", str(ROOT / "checkov.yaml")]
    scanned = subprocess.run(
        [*command, "-d", str(tmp_path), "-o", "json"],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    reports = json.loads(scanned.stdout)
    reports = reports if isinstance(reports, list) else [reports]
    failed = [
        f"{check['check_id']} {check['check_name']}: {check['file_path']} {check['resource']}"
        for report in reports
        for check in report["results"]["failed_checks"]
    ]
    assert failed == []
    assert scanned.returncode == 0, scanned.stderr
    assert sum(report["summary"]["passed"] for report in reports) > 400


def _as_job(pod, owner, made):
    """Return a Job with this pod, and with the owner's reasons for what checkov shall skip."""
    (account,) = [
        one
        for one in made
        if one["kind"] == "ServiceAccount" and one["metadata"]["name"] == pod["serviceAccountName"]
    ] or [{"automountServiceAccountToken": True}]
    token = {"automountServiceAccountToken": account["automountServiceAccountToken"]}
    labels = {"app.kubernetes.io/part-of": "soda"}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            # an EventSource's own pod has no name; what a Sensor starts does
            "name": f"{owner['kind']}-{pod['containers'][0].get('name', 'itself')}",
            "namespace": "soda",
            "annotations": owner["metadata"].get("annotations", {}),
        },
        "spec": {"template": {"metadata": {"labels": labels}, "spec": {**token, **pod}}},
    }

"""Start a run on a cluster, from a file that says what and where."""

import argparse
from collections.abc import Iterable
from pathlib import Path

import kfp_server_api
from pydantic import Field

from soda.config import read_mapping
from soda.errors import ConfigError
from soda.kubernetes.api import OutOfReach
from soda.kubernetes.image_registry import image_digest

from .connection import HOST_HELP
from .following import follow
from .kfp_api import KfpServer, connect
from .runs import PipelineRunConfig, PreparedRun, prepare_run

__all__ = ["RunConfig", "add_arguments", "read_run", "run_command", "submit_run"]

KUBEFLOW = "kubeflow"  # where runs are, if Kubeflow has one user


class RunConfig(PipelineRunConfig):
    """One run: a pipeline, its arguments, and where on the cluster it goes."""

    experiment: str = Field(description="the experiment; made if there is none")
    name: str | None = Field(None, description="the run's name; else the pipeline's and version's")
    service_account: str | None = Field(None, description="as whom the steps run")
    namespace: str | None = Field(None, description="where Kubeflow has several users: whose")


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Declare what `soda submit` takes."""
    command.description = "Compile a pipeline, upload it if it is new, and start one run of it."
    text = "what to run, YAML: docs/cluster.md#runyaml"
    command.add_argument("-f", "--file", type=Path, required=True, metavar="FILE", help=text)
    command.add_argument("--host", metavar="URL", help=HOST_HELP)
    command.add_argument("--dry-run", action="store_true", help="check and compile, send nothing")
    command.add_argument(
        "--watch", action="store_true", help="follow the run to its end; code 1 if it fails"
    )
    command.add_argument(
        "--no-image-check",
        action="store_true",
        help="do not look the images up in their registries; nor does `images: []` in the file",
    )


def run_command(parsed: argparse.Namespace) -> int:
    """Check everything, upload the version unless it is there, start a run, say where it is.

    Raises:
        ClusterError: an image is not there, or the server refused.
    """
    config = read_run(parsed.file)
    prepared = prepare_run(config, parsed.file)
    print(f"pipeline:   {prepared.pipeline} {prepared.version}")
    print(f"experiment: {config.experiment}")
    if parsed.dry_run:
        for name, value in sorted(prepared.parameters.items()):
            print(f"  {name} = {value!r}")
        print("nothing was sent: --dry-run")
        return 0
    if not parsed.no_image_check:
        _look_up(prepared.images)
    server = connect(parsed.host, config.namespace)
    run = submit_run(server, config, prepared)
    print(f"run:        {run}")
    print(f"link:       {server.client.link(run)}", flush=True)
    if not parsed.watch:
        return 0
    try:
        return follow(server, run, server.namespace or KUBEFLOW)
    except KeyboardInterrupt:
        print("stopped watching; the run goes on")
        return 130


def _look_up(images: Iterable[str]) -> None:
    """Refuse an image that no node could pull: its step would wait for ever, preflight's first.

    Raises:
        ClusterError: there is no such image.
    """
    for reference in images:
        try:
            image_digest(reference)
        except OutOfReach as error:  # from here; a node may well reach it
            print(f"image:      not looked up: {error}")


def read_run(path: Path) -> RunConfig:
    """Read and check a run's file.

    Raises:
        ConfigError: the file is wrong, and where.
    """
    values = read_mapping(path, "a file that says what to run")
    try:
        return RunConfig.parse(values)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def submit_run(server: KfpServer, config: RunConfig, prepared: PreparedRun) -> str:
    """Start a run and return its id.

    Raises:
        ClusterError: the server refused; run the same command again.
    """
    version, uploaded = server.upload(prepared)
    print(f"version:    {'uploaded' if uploaded else 'there already'}")
    return server.start(
        kfp_server_api.V2beta1Run(
            experiment_id=server.experiment(config.experiment, create=True),
            display_name=config.name or f"{prepared.pipeline} {prepared.version}",
            pipeline_version_reference=version.reference(),
            runtime_config=kfp_server_api.V2beta1RuntimeConfig(
                parameters=dict(prepared.parameters), pipeline_root=config.pipeline_root
            ),
            service_account=config.service_account,
        )
    )

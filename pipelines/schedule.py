"""Make a cluster's recurring runs what a file declares: shown first, changed with --apply."""

import argparse
from collections import Counter
from pathlib import Path
from typing import Any

import kfp_server_api
from pydantic import Field, field_validator, model_validator

from soda.config import Config, read_mapping
from soda.errors import ClusterError, ConfigError

from .connection import HOST_HELP
from .cron import check_cron
from .kfp_api import KfpServer, PipelineVersion, connect
from .reconcile import Action, Wanted, mark, read_found, reconcile
from .runs import PipelineRunConfig, PreparedRun, prepare_run

__all__ = [
    "ScheduleConfig",
    "SchedulesConfig",
    "add_arguments",
    "read_schedules",
    "run_command",
]


class ScheduleConfig(PipelineRunConfig):
    """One recurring run."""

    name: str = Field(description="its name, once in the file")
    cron: str | None = Field(None, description="six fields, seconds first, in the server's time")
    every_seconds: int | None = Field(None, ge=1, description="instead of cron")
    max_concurrency: int = Field(1, ge=1, le=10, description="runs of it at a time")
    catchup: bool = Field(False, description="make up for the times that were missed")
    enabled: bool = Field(True, description="false: it stays, and does not fire")

    @field_validator("cron")
    @classmethod
    def _six_fields(cls, cron: str | None) -> str | None:
        return cron if cron is None else check_cron(cron)

    @model_validator(mode="after")
    def _one_trigger(self) -> "ScheduleConfig":
        if (self.cron is None) == (self.every_seconds is None):
            raise ValueError("expected either cron or every_seconds, found both or neither")
        return self


class SchedulesConfig(Config):
    """All recurring runs of one experiment."""

    experiment: str = Field(description="the experiment; made if there is none")
    service_account: str | None = Field(None, description="as whom the steps run")
    namespace: str | None = Field(None, description="where Kubeflow has several users: whose")
    schedules: list[dict[str, Any]] = Field(description="the recurring runs")


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Declare what `soda schedule` takes."""
    command.description = (
        "Show how a cluster's recurring runs differ from those of a file; --apply changes them."
    )
    text = "the schedules, YAML: docs/schedules.md"
    command.add_argument("-f", "--file", type=Path, required=True, metavar="FILE", help=text)
    command.add_argument("--host", metavar="URL", help=HOST_HELP)
    command.add_argument("--apply", action="store_true", help="do what is shown")
    command.add_argument(
        "--prune", action="store_true", help="delete ours that are no longer declared"
    )


def run_command(parsed: argparse.Namespace) -> int:
    """Show what differs; with --apply, do it."""
    config, schedules = read_schedules(parsed.file)
    prepared = [prepare_run(one, parsed.file) for one in schedules]
    server = connect(parsed.host, config.namespace)
    names = {one.version: one.pipeline for one in prepared}
    versions = {name: server.find_version(names[name], name) for name in names}
    wanted = [
        _wanted(config, one, run, versions[run.version])
        for one, run in zip(schedules, prepared, strict=True)
    ]
    experiment = server.experiment(config.experiment, create=False)
    everything = server.recurring_runs()
    _warn_of_others(everything, wanted, experiment)
    found = [read_found(one) for one in everything if one.experiment_id == experiment]
    actions = reconcile(wanted, found, prune=parsed.prune)
    _show(actions)
    changes = [action for action in actions if action.verb not in ("unchanged", "left")]
    if changes and not parsed.apply:
        print("nothing was changed; --apply does it")
    elif changes:
        _apply(server, config, changes)
        print("done")
    return 0


def read_schedules(path: Path) -> tuple[SchedulesConfig, list[ScheduleConfig]]:
    """Read and check a file of schedules.

    Raises:
        ConfigError: the file is wrong, and where.
    """
    values = read_mapping(path, "a file that says what to run")
    where = str(path)
    try:
        config = SchedulesConfig.parse(values)
        schedules = []
        for number, one in enumerate(config.schedules, start=1):
            where = f"{path}: schedule {number} ({one.get('name', 'no name')})"
            schedules.append(ScheduleConfig.parse(one))
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from error
    for name, times in Counter(one.name for one in schedules).items():
        if times > 1:
            raise ConfigError(f"{path}: expected each name once, found '{name}' {times} times")
    return config, schedules


def _wanted(
    config: SchedulesConfig,
    schedule: ScheduleConfig,
    run: PreparedRun,
    version: PipelineVersion | None,
) -> Wanted:
    facts = {
        "pipeline": run.pipeline,
        "version": run.version,
        "cron": schedule.cron,
        "every_seconds": schedule.every_seconds,
        "max_concurrency": schedule.max_concurrency,
        "catchup": schedule.catchup,
        "service_account": config.service_account,
        "pipeline_root": schedule.pipeline_root,
        "parameters": dict(run.parameters),
    }
    return Wanted(schedule.name, run, version, facts, schedule.enabled)


def _warn_of_others(everything: list[Any], wanted: list[Wanted], experiment: str | None) -> None:
    """Say which of ours fire under a declared name in another experiment: it may have moved."""
    names = {one.name for one in wanted}
    for run in everything:
        if run.experiment_id != experiment and run.display_name in names:
            found = read_found(run)
            if found.digest is not None and found.is_enabled:
                print(f"warning: '{found.name}' also fires in experiment {run.experiment_id}")


def _show(actions: list[Action]) -> None:
    for action in actions:
        print(f"{action.verb:<10}{action.name}")
        for note in action.notes:
            print(f"{'':<12}{note}")


def _apply(server: KfpServer, config: SchedulesConfig, changes: list[Action]) -> None:
    """Do what was shown; versions and experiment first, so that a failure there costs nothing."""
    versions: dict[str, PipelineVersion] = {}
    for action in changes:
        run = action.wanted and action.wanted.prepared
        if run and run.version not in versions:
            versions[run.version], _ = server.upload(run)
    experiment = server.experiment(config.experiment, create=bool(versions))
    for action in changes:
        if action.wanted:
            body = _body(action.wanted, str(experiment), versions[action.wanted.prepared.version])
            # The old one goes first: of two with one name both would fire.
            if action.verb == "replace":
                server.delete_recurring(action.run)
            try:
                server.make_recurring(body)
            except ClusterError as error:
                if action.verb == "create":
                    raise
                raise ClusterError(
                    f"{error}; '{action.name}' is deleted and not yet made again, so it does not "
                    "fire: run the same command again"
                ) from error
        elif action.verb == "delete":
            server.delete_recurring(action.run)
        else:
            server.switch_recurring(action.run, on=action.verb == "enable")


def _body(wanted: Wanted, experiment: str, version: PipelineVersion) -> Any:
    """Return a declared schedule as the API takes it."""
    facts, api = wanted.facts, kfp_server_api
    if facts["cron"]:
        trigger = api.V2beta1Trigger(cron_schedule=api.V2beta1CronSchedule(cron=facts["cron"]))
    else:
        every = api.V2beta1PeriodicSchedule(interval_second=str(facts["every_seconds"]))
        trigger = api.V2beta1Trigger(periodic_schedule=every)
    mode = api.RecurringRunMode.ENABLE if wanted.is_enabled else api.RecurringRunMode.DISABLE
    return api.V2beta1RecurringRun(
        experiment_id=experiment,
        display_name=wanted.name,
        description=mark(wanted),
        pipeline_version_reference=version.reference(),
        runtime_config=api.V2beta1RuntimeConfig(
            parameters=facts["parameters"], pipeline_root=facts["pipeline_root"]
        ),
        service_account=facts["service_account"],
        max_concurrency=str(facts["max_concurrency"]),
        no_catchup=not facts["catchup"],
        trigger=trigger,
        mode=mode,
    )

"""A recurring run that `soda schedule` makes fires, and goes when it is no longer declared."""

import yaml


def test_a_recurring_run_fires_and_is_pruned(world, champion):
    declared = world.declared("refresh", world.recipe())
    schedule = {"name": world.name, "every_seconds": 60, **declared}
    file = world.folder / "schedules.yaml"
    top = {"experiment": "soda-cluster-test", "service_account": "soda-runner"}
    file.write_text(yaml.safe_dump({**top, "schedules": [schedule]}))
    world.soda("schedule", "-f", str(file), "--apply").expect(0)
    server = world.server()
    try:
        [ours] = [one for one in server.recurring_runs() if one.display_name == world.name]
        runs = server.client.runs.run_service_list_runs

        def ended():
            found = runs(page_size=100, sort_by="created_at desc").runs or []
            mine = [one for one in found if one.recurring_run_id == ours.recurring_run_id]
            return next((one for one in mine if one.state in ("SUCCEEDED", "FAILED")), None)

        run = world.eventually(ended, "the end of a run that the schedule started")
        assert run.state == "SUCCEEDED", f"{run.run_id}: {run.error}"
    finally:
        file.write_text(yaml.safe_dump({**top, "schedules": []}))
        pruned = world.soda("schedule", "-f", str(file), "--apply", "--prune")
    pruned.expect(0)
    assert world.name not in {one.display_name for one in server.recurring_runs()}

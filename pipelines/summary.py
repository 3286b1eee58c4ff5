"""The few lines that a finished run ends with."""

from soda.artifacts.kinds import Registration, Report
from soda.registry.registry import Registry

__all__ = ["summarize"]


def summarize(registration: Registration, registry: str) -> str:
    """Return rows, held-out figures of each model, and where model, card and report are."""
    facts = registration.facts()
    folder = Registry(registry).place_of(facts["name"], facts["version"])
    figures = Report.open((folder / "report").fetch()).figures()
    rows, models = figures["rows"], figures["models"]
    drops = ", ".join(f"{count} {reason}" for reason, count in rows["drops"].items()) or "none"
    lines = [
        "",
        f"{rows['pairs']} pairs of {rows['prompts']} prompts (dropped: {drops}); held out: "
        f"{figures['prompts']} prompts, mean of {' -> '.join(models.values())}, change with 95 % "
        "interval",
    ]
    for metric in figures["metrics"].values():
        change = metric["change"]
        means = " -> ".join(f"{metric[model]['mean']:7.3f}" for model in models)
        lines.append(
            f"  {metric['label']:<48} {means}   {change['mean']:+.3f} "
            f"({change['low']:+.3f} to {change['high']:+.3f})"
        )
    for task, found in figures["lm_eval"].items():
        for key, values in found.items():
            means = " -> ".join(f"{values[model]:7.3f}" for model in models)
            lines.append(f"  {f'lm-eval {task} {key}':<48} {means}")
    for training in figures["trainings"]:
        if training["stopped_early"]:
            lines.append(f"{training['method']} stopped early: {training['stopped_early']}")
    verdict = "is the champion"
    if not facts["champion"]:
        verdict = f"is not the champion ({'; '.join(facts['failed_checks'])})"
    lines.append(f"{facts['name']} version {facts['version']} {verdict}: {folder}")
    return "\n".join(lines)

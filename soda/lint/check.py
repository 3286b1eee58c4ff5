"""Apply the rules to the documents of a spec."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from .config import LintConfig
from .errors import NoPipelineError
from .find import holds_pipeline
from .findings import SEVERITIES, Finding
from .parse import parse
from .rules import RULES, STYLE
from .source import Source, read
from .spec import Target

__all__ = ["check", "lint", "load"]


def load(path: Any) -> list[dict[str, Any]]:
    """Read the documents of a compiled pipeline: KFP's own YAML or JSON, or Kubernetes manifests.

    Raises:
        LintError: the file is missing, is neither YAML nor JSON, or holds no pipeline.
    """
    source = read(str(path))
    if not any(holds_pipeline(document) for document in source.documents):
        raise NoPipelineError(f"{path}: expected a compiled pipeline, found none")
    return [document for document in source.documents if isinstance(document, dict)]


def lint(documents: Sequence[Any], targets: Sequence[Target] = ()) -> list[Finding]:
    """Apply every rule to every pipeline among the documents.

    Args:
        documents: as `load` returns them
        targets: where the pipelines are to run; () for what they seem to be made for
    """
    return list(_findings(Source("spec", list(documents)), LintConfig(targets=tuple(targets))))


def check(source: Source, settings: LintConfig) -> list[Finding]:
    """Apply the rules that are on to one file: the worst first; what is accepted says why.

    Findings of style are one line, unless the settings ask for each.

    Raises:
        NoPipelineError: the file holds no pipeline.
    """
    found = [replace(f, suppressed=settings.accepted(f)) for f in _findings(source, settings)]
    style = {each for each in found if RULES[each.rule].style and each.rule not in settings.select}
    if style and not settings.style:
        shown = [each for each in found if each.suppressed is not None or each not in style]
        left = [each for each in found if each.suppressed is None and each in style]
        found = shown + ([_summary(left, source)] if left else [])
    return sorted(found, key=lambda each: (SEVERITIES.index(each.severity), each.line))


def _summary(style: list[Finding], source: Source) -> Finding:
    counts = Counter(each.rule for each in style).most_common()
    message = ", ".join(f"{number} {rule}" for rule, number in counts)
    line = min(each.line for each in style)
    return Finding(STYLE, "note", "root", message, RULES[STYLE].fix, source.name, line)


def _findings(source: Source, settings: LintConfig) -> Iterator[Finding]:
    try:
        specs = parse(source, settings.allow_image)
    except NoPipelineError as error:
        raise NoPipelineError(f"{source.name}: {error}") from None
    for spec in specs:
        targets = set(settings.targets or (spec.target,))
        for rule in (RULES[name] for name in settings.rules):
            for fault in rule.check(spec) if targets & set(rule.targets) else ():
                yield Finding(
                    rule=rule.id,
                    severity=rule.severity,
                    place=fault.place.name,
                    message=fault.message,
                    fix=fault.fix or rule.fix,
                    file=source.name,
                    line=source.line(fault.place.keys),
                )

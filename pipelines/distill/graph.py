"""A recipe -> the steps of a run, as data: what each makes, of what, with which values.

Rounds, sources of rejects, variants, seeds and shards are unrolled here. Two steps with the same
values and inputs are one step: variants share whatever they have in common.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from soda.errors import ConfigError
from soda.recipe import (
    STEPS,
    Recipe,
    check_recipe,
    merge,
    parse_step,
    rejects_of,
    rounds_of,
    short_values,
    variants_of,
)
from soda.rows import canonical

__all__ = ["MOST_STEPS", "Shards", "Step", "make_graph"]

# Argo keeps a run in one object of at most 1 MB, compressed. Of 32 shards, 464 nodes, it had 266 KB
# on a cluster: a step takes 8 KB at most.
MOST_STEPS = 100

Inputs = Mapping[str, str | tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Shards:
    """Among how many pods the prompts are shared."""

    teacher: int = 1
    snapshot: int = 1


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a run.

    Args:
        name: its own, once in a graph.
        stage: what it runs.
        title: what it is called in the graph.
        inputs: by name, the step that makes it, or several.
        after: steps that have to be done before, and of which nothing is read.
        values: of its config.
        key: of its values in the parameter `recipe`: a shard has those of the whole.
        shard: which part of the prompts: "2/8"; "" for all.
    """

    name: str
    stage: str
    title: str
    inputs: Inputs
    values: Mapping[str, Any]
    key: str
    after: tuple[str, ...] = ()
    shard: str = ""


@dataclass(frozen=True, slots=True)
class _Made:
    """The steps that make the parts of a training that its report needs."""

    base: str
    teacher: str
    warmed: str
    trained: str
    pairs: str


@dataclass(frozen=True, slots=True)
class _Label:
    """Whose step it is, where it is not the recipe's own and first: what is added to its name."""

    variant: str = ""
    seed: str = ""
    more: str = ""  # which round, which source of rejects

    def texts(self) -> list[str]:
        """Return what may be added, the shortest first; equal steps are one, whoever needs them."""
        whole = ", ".join(filter(None, [self.variant, self.seed, self.more]))
        return [whole] if self.variant else list(dict.fromkeys([self.more, whole]))

    def and_(self, more: str) -> "_Label":
        """Return the label of a part of it."""
        return replace(self, more=", ".join(filter(None, [self.more, more])))


class _Graph:
    def __init__(self, shards: Shards):
        self.steps: dict[str, Step] = {}
        self._known: dict[bytes, str] = {}
        self._shards = {"teacher-gen": shards.teacher, "snapshot": shards.snapshot}

    def add(self, recipe: Recipe, step: str, title: str, label: _Label, **inputs: Any) -> str:
        """Add a step of a recipe unless an equal one is there; return its name."""
        values = short_values(parse_step(recipe, step))
        return self.put(Step(step, STEPS[step], title, inputs, values, step), label)

    def put(self, step: Step, label: _Label) -> str:
        """Add a step unless an equal one is there; return its name."""
        identity = canonical([step.stage, step.values, dict(step.inputs)])
        if found := self._known.get(identity):
            return found
        names = {f"{step.name}: {text}" if text else step.name: text for text in label.texts()}
        name = next((each for each in names if each not in self.steps), None)
        assert name is not None, f"two steps of {label} are called {step.name}"
        title = f"{step.title}: {names[name]}" if names[name] else step.title
        step = replace(step, name=name, key=name, title=title)
        count, parts = self._shards.get(step.stage, 1), []
        for shard in (f"{number}/{count}" for number in range(1, count + 1) if count > 1):
            part = replace(step, name=f"{name} {shard}", title=f"{title} {shard}", shard=shard)
            self.steps[part.name] = part
            parts.append(part.name)
        self.steps[name] = replace(step, after=(*step.after, *parts))
        self._known[identity] = name
        return name


def make_graph(recipe: Recipe, pipeline: str, shards: Shards = Shards()) -> list[Step]:
    """Return the steps of a pipeline in an order in which each follows what it needs.

    Args:
        recipe: raw values.
        pipeline: distill, refresh or compare.
        shards: among how many pods the prompts are shared.

    Raises:
        ConfigError: a value is wrong, or there are too many steps for one run.
    """
    check_recipe(recipe)
    graph = _Graph(shards)
    if pipeline == "compare":
        _compare(graph, recipe)
    else:
        made = _train(graph, recipe, _Label())
        report = _measure(graph, recipe, made, made.pairs, _Label())
        if "judge" in recipe:
            register = recipe.get("register", {})
            champion = {key: register[key] for key in ("registry", "name") if key in register}
            judged = {**recipe, "judge": {**champion, **recipe["judge"]}}
            report = _judge(graph, judged, report, _Label())
        trained = made.trained
        graph.add(recipe, "register", "Register", _Label(), model=trained, report=report)
    if len(graph.steps) > MOST_STEPS:
        raise ConfigError(
            f"{pipeline}: expected at most {MOST_STEPS} steps, which one run can hold, found "
            f"{len(graph.steps)}; ask for fewer shards, seeds or variants"
        )
    return list(graph.steps.values())


def _compare(graph: _Graph, recipe: Recipe) -> None:
    """Add every variant with every seed, measured on the recipe's own pairs, and the table."""
    plain = merge(recipe, {})
    prompts, base, teacher = _sources(graph, plain, _Label())
    student = _own_answers(graph, plain, _Label(), prompts, base)
    answers = {"teacher": teacher, "student": student}
    pairs = graph.add(plain, "pair-build", "Pairs", _Label(), **answers)
    variants = variants_of(recipe)
    seed = {each: f"seed {each}" if "seeds" in recipe else "" for each in recipe.get("seeds", [0])}
    own = {each.seed: each.recipe for each in variants if each.is_own}
    for number, values in own.items():  # first, so that what is shared has the plain names
        _train(graph, values, _Label("", seed[number]), skip_idle=True)
    names: list[str] = []
    reports: list[str] = []
    for each in variants:
        label = _Label(each.name, seed[each.seed])
        made = _train(graph, each.recipe, label, skip_idle=True)
        if (made.base, made.teacher) != (base, teacher):
            raise ConfigError(
                f"variant '{each.name}': expected the recipe's own prompts, student and teacher, "
                "found others"
            )
        report = _measure(graph, plain, made, pairs, label)
        if "judge" in plain:  # one after the other: each finds what the others have paid for
            report = _judge(graph, plain, report, label, after=tuple(reports[-1:]))
        reports.append(report)
        names.append(each.name)
    step = Step("compare", "compare", "Compare", {"reports": tuple(reports)}, {"names": names}, "")
    graph.put(step, _Label())


def _sources(graph: _Graph, recipe: Recipe, label: _Label) -> tuple[str, str, str]:
    prompts = graph.add(recipe, "prepare-prompts", "Prompts", label)
    base = graph.add(recipe, "import-student", "Base student", label)
    teacher = graph.add(recipe, "teacher-gen", "Teacher's answers", label, prompts=prompts)
    return prompts, base, teacher


def _own_answers(graph: _Graph, recipe: Recipe, label: _Label, prompts: str, student: str) -> str:
    title = "Student's answers"
    return graph.add(recipe, "snapshot", title, label, prompts=prompts, model=student)


def _train(graph: _Graph, recipe: Recipe, label: _Label, *, skip_idle: bool = False) -> _Made:
    """Add the warm-up, and in each round the rejected answers, the pairs and the training.

    Args:
        skip_idle: leave a training without epochs out, which would hand its model on.
    """

    def is_left_out(step: str) -> bool:
        return skip_idle and getattr(parse_step(recipe, step), "epochs", None) == 0

    def training(step: str, title: str, label: _Label, model: str, data: str) -> str:
        if is_left_out(step):
            return model
        return graph.add(recipe, step, title, label, data=data, model=model)

    prompts, base, teacher = _sources(graph, recipe, label)
    warmed = training("warm-up", "Warm up", label, base, teacher)
    trained, pairs = warmed, ""
    rounds = 0 if is_left_out("train") else rounds_of(recipe)
    for number in range(1, rounds + 1):
        if number == 1:
            answers = _rejects(graph, recipe, label, prompts, base, warmed)
        else:
            label = replace(label, more=f"round {number}")
            answers = _own_answers(graph, recipe, label, prompts, trained)
        of = {"teacher": teacher, "student": answers}
        pairs = graph.add(recipe, "pair-build", "Pairs", label, **of)
        if "audit" in recipe:
            pairs = graph.add(recipe, "audit", "Audit", label, pairs=pairs, teacher=teacher)
        trained = training("train", "Train", label, trained, pairs)
    return _Made(base, teacher, warmed, trained, pairs)


def _rejects(
    graph: _Graph, recipe: Recipe, label: _Label, prompts: str, base: str, warmed: str
) -> str:
    """Add the answers that are rejected: the student's own, or those of the recipe's sources."""
    sources = rejects_of(recipe)
    if not sources and "choose-rejects" not in recipe:
        return _own_answers(graph, recipe, label, prompts, base)
    candidates = [] if sources else [_own_answers(graph, recipe, label, prompts, base)]
    for number, source in enumerate(sources, start=1):
        theirs, mark = merge(recipe, source.steps), label.and_(f"reject {number}")
        title, inputs = "Rejected answers", {"prompts": prompts}
        if "teacher-gen" in source.steps:
            if os.environ.get("SODA_TEACHER_BASE_URL"):
                raise ConfigError(
                    f"rejects {number}: expected the teacher in teacher-gen, as an endpoint gives "
                    "rejects; found SODA_TEACHER_BASE_URL, which would stand for both"
                )
            candidates.append(graph.add(theirs, "teacher-gen", title, mark, **inputs))
            continue
        inputs["model"] = graph.add(theirs, "import-student", "Model for rejects", mark)
        candidates.append(graph.add(theirs, "snapshot", title, mark, **inputs))
    chooses = dict(recipe.get("choose-rejects", {}))
    if len(sources) > 1 and any("share" in source for source in recipe["rejects"]):
        chooses = {"shares": [source.share for source in sources], **chooses}
    by_likelihood = chooses.get("choose", "first") != "first"
    return graph.add(
        {**recipe, "choose-rejects": chooses},
        "choose-rejects",
        "Choose rejects",
        label,
        candidates=tuple(candidates),
        model=warmed if by_likelihood else base,
    )


def _measure(graph: _Graph, recipe: Recipe, made: _Made, pairs: str, label: _Label) -> str:
    models = {"model": made.trained, "warmed": made.warmed, "base": made.base}
    answers = {"teacher": made.teacher, "pairs": pairs}
    return graph.add(recipe, "eval", "Measure", label, **models, **answers)


def _judge(
    graph: _Graph, recipe: Recipe, report: str, label: _Label, after: tuple[str, ...] = ()
) -> str:
    values = short_values(parse_step(recipe, "judge"))
    step = Step("judge", "judge", "Judge", {"report": report}, values, "judge", after)
    return graph.put(step, label)

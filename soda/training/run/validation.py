"""The validation examples: how likely their answers are, and what the policy itself answers."""

from soda.student.generate import Answer, Sampling, sample
from soda.training.objectives.preference import pair_sums
from soda.training.objectives.reference import Reference, logps_of_answers
from soda.training.run.metrics import CheckFigures
from soda.training.run.phase import Setup

__all__ = ["check_figures"]


def check_figures(
    setup: Setup, reference: Reference | None, micro_batch_tokens: int
) -> CheckFigures | None:
    """Return the means over the validation examples; None if SIGTERM came meanwhile.

    Args:
        reference: log-probabilities that rewards are made with; None: only the first answers,
            which are the teacher's, are looked at.
        micro_batch_tokens: how many go through the policy at once.
    """
    examples = setup.validation
    if reference is None:
        examples = [example.first() for example in examples]
    logps: dict[str, list[float]] = {}
    for key, found in logps_of_answers(setup.policy, examples, setup.processes, micro_batch_tokens):
        if setup.interrupted():
            return None
        logps[key] = found
    now = Reference(dict(setup.processes.gather(list(logps.items()))))
    means = {"chosen_logp": now.mean_logp(examples), "chosen_answer_logp": now.mean(examples)}
    if reference is not None:
        sums = pair_sums(setup.config.loss, now.of(examples, "cpu"), reference.of(examples, "cpu"))
        means |= {key: float(value) / len(examples) for key, value in sums.items()}
    answers = _answers(setup)
    if answers:
        means["repetitive"] = sum(one.repeats for one in answers) / len(answers)
        means["answer_tokens"] = sum(one.tokens for one in answers) / len(answers)
    return CheckFigures(**means)


def _answers(setup: Setup) -> list[Answer]:
    """Answer some validation prompts, greedily; not where several processes share weights."""
    health = setup.config.health
    prompts = [example.prompt.tolist() for example in setup.validation[: health.answers]]
    if not prompts or setup.processes.count > 1:
        return []
    sampling = Sampling(0, 1, health.answer_tokens, 0, len(prompts))
    may_page = not setup.policy.packed
    with setup.policy.answering() as model:
        found = sample(model, setup.chat, prompts, sampling, may_page=may_page)
        return [answer for _, answer in found]

import numpy as np
import pytest

from soda.audit.shortcuts import auc_within_pairs, audit_shortcuts, length_balanced

TEXT = "the river of stone and green paper moves under seven lamps to a silver garden"


def sentences(draw, count):
    return " ".join(draw.choice(TEXT.split(), size=count)).capitalize() + "."


def pairs(count, *, longer=0.5, bullets=0.0, seed=0):
    """Answers of the same words; chosen is longer, and in bullets, as often as is said."""
    draw = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        sizes = sorted(draw.integers(20, 60, size=2))
        sizes = sizes if draw.random() < longer else sizes[::-1]
        rejected, chosen = (sentences(draw, size) for size in sizes)
        if draw.random() < bullets:
            chosen = "\n".join(f"- {line}" for line in chosen.split(" of "))
        made.append((chosen, rejected))
    return made


def found(answers):
    return {one.feature: one for one in audit_shortcuts(answers)}


def test_answers_alike_have_no_shortcut():
    audit = found(pairs(1_000))
    for feature in ("length", "style"):
        assert audit[feature].auc == pytest.approx(0.5, abs=0.05) and not audit[feature].warn
    assert audit["length"].pairs == 1_000


@pytest.mark.parametrize("longer", [0.9, 0.1])
def test_length_is_a_shortcut_whichever_side_is_longer(longer):
    audit = found(pairs(1_000, longer=longer))
    assert audit["length"].auc == pytest.approx(longer, abs=0.04) and audit["length"].warn


def test_a_list_that_only_the_teacher_makes_is_a_shortcut_of_style():
    audit = found(pairs(1_000, bullets=0.9))
    assert audit["style"].auc > 0.85 and audit["style"].warn and not audit["length"].warn


def test_style_is_scored_on_pairs_that_the_fit_has_not_seen():
    assert found(pairs(40))["style"].auc < 0.75  # 20 features would fit 40 pairs by heart


def test_few_pairs_are_not_audited():
    assert audit_shortcuts(pairs(9)) == []


def test_the_auc_is_within_pairs():
    assert auc_within_pairs([1, 5, 0, -2]) == 0.625


@pytest.mark.parametrize("longer", [0.9, 0.3])
def test_length_balanced_pairs_have_no_length_to_tell_by(longer):
    answers = pairs(2_000, longer=longer)
    lengths = [(len(one), len(other)) for one, other in answers]
    kept = length_balanced(lengths)
    audit = found([answers[place] for place in kept])
    assert audit["length"].auc == pytest.approx(0.5, abs=1e-9)
    few = min(longer, 1 - longer)
    assert len(kept) == pytest.approx(2 * few * 2_000, rel=0.4)
    assert kept == sorted(set(kept)) == length_balanced(lengths)

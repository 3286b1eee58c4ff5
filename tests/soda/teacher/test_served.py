"""Whether a served name is the asked model's, with a version or a folder, or another's."""

import pytest

from soda.teacher.served import as_asked, spelling


@pytest.mark.parametrize(
    ("asked", "served"),
    [
        ("big", "big"),
        ("big", None),
        ("Big", "big"),
        ("gpt-4o", "gpt-4o-2024-08-06"),
        ("claude-sonnet-4", "claude-sonnet-4-20250514"),
        ("gemini-2.5-flash", "models/gemini-2.5-flash"),
        ("gemini-2.5-flash", "gemini-2.5-flash-preview-05-20"),
        ("gemini-2.5-flash", "gemini-2.5-flash-001"),
        ("llama3", "llama3:latest"),
        ("openai/gpt-4o", "gpt-4o"),
        ("gpt-4o", "openai/gpt-4o-2024-08-06"),
        ("Qwen/Qwen3-8B", "/models/Qwen3-8B"),
        ("claude-opus-4@20250514", "claude-opus-4"),
        ("gpt-5-chat-latest", "gpt-5-chat-latest"),
    ],
)
def test_a_name_with_a_version_or_a_folder_is_as_asked(asked, served):
    assert as_asked(asked, served)


@pytest.mark.parametrize(
    ("asked", "served"),
    [
        ("gpt-4o", "gpt-4o-mini"),
        ("gpt-4o", "gpt-4o-mini-2024-07-18"),
        ("gpt-4o", "gpt-4"),
        ("llama-3", "llama-3-70b"),
        ("big", "small"),
        ("big", ""),
        ("big", "bigger"),
        ("qwen3-8b", "qwen3-80b"),
    ],
)
def test_another_model_is_not(asked, served):
    assert not as_asked(asked, served)


def test_lists_spell_one_name_in_several_ways():
    assert len({spelling(name) for name in ("Big", "models/big", "big:latest", "big@001")}) == 1
    assert spelling("big") != spelling("big-mini")

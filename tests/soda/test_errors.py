"""A refusal is one short line that a terminal shows as it is, and exit code 2."""

from soda.errors import DataError, refuse


def test_a_refusal_is_one_line_without_commands_or_passwords(capsys):
    error = DataError("https://ann:pw@host:\n found \x1b]0;owned\x07" + "x" * 5_000_000)
    assert refuse(error).code == 2
    line = capsys.readouterr().err
    assert line.startswith("soda: https://host: found \\x1b]0;owned\\x07xxx")
    assert line.count("\n") == 1 and len(line) < 2100

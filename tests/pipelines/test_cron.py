"""Cron expressions of six fields, as Kubeflow's scheduler reads them."""

import pytest

from soda_pipelines.cron import check_cron


@pytest.mark.parametrize(
    "text",
    ["0 0 2 * * *", "*/15 * * * * ?", "0 0-30/5 9,17 1 JAN-MAR mon-fri", "59 59 23 31 12 6"],
)
def test_a_cron_of_six_fields_passes(text):
    assert check_cron(f"  {text} ") == text


@pytest.mark.parametrize(
    "text",
    [
        "@daily",
        "0 0 2 * *",
        "0 0 2 * * * *",
        "60 0 2 * * *",
        "0 0 2 0 * *",
        "0 0 2 * 13 *",
        "0 0 2 * * 7",
        "0 0 2 * * FRI-MON",
        "0 5-3 2 * * *",
        "0 */0 2 * * *",
        "0 0 2 * * L",
        "0 0 ² * * *",
        "0 0 -1 * * *",
    ],
)
def test_another_cron_is_refused(text):
    with pytest.raises(ValueError, match="expected"):
        check_cron(text)

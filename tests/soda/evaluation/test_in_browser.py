"""The pages in a real headless Chromium: nothing is fetched or cut off, and all can be found."""

import base64
import itertools
import os
from pathlib import Path

import pytest

from soda.evaluation.audit_page import render_audit
from soda.evaluation.report import draw_charts, render_html
from tests.fakes.browser import CHROMIUM, chromium, in_browser
from tests.soda.evaluation.test_report import (
    CURVE,
    a_sample,
    judged_figures,
    set_figures,
    set_sample,
    three_figures,
)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not CHROMIUM, reason="no Chromium here"),
]
EVIL = "</script><script>document.title='owned'</script><img src=x onerror=document.title='owned'>"
SCREENS = os.environ.get("SODA_SCREENSHOTS")  # a folder to look at, where one is wanted


@pytest.fixture(scope="module")
def browser():
    with chromium() as address:
        yield address


def many(count):
    text = "It is a sentence of some length, as models write it. " * 8
    return [
        a_sample(
            f"p{number}",
            before=f"{text} {number}",
            after=f"{text} needle{number}" if number % 100 == 7 else text,
            warmed=text,
            warmed_right=True,
            after_right=number % 3 == 0,
            before_right=number % 2 == 0,
            judged={"base": [0, 0.5, 1][number % 3]},
        )
        for number in range(count)
    ]


def report(samples, figures=None):
    figures = figures or three_figures() | {
        key: judged_figures()[key] for key in ("judge", "audit")
    }
    figures["regressions"] = []
    return render_html(figures, samples, draw_charts([CURVE]), steps=[STEP], recipe="train: {}\n")


STEP = {"stage": "train", "soda": "0.1", "digest": "a" * 64, "inputs": {"data": "b" * 64}}
STEP |= {"seconds": 12.5, "usd": 0.25}


def visit(browser, path, page, work):
    path.write_text(page, encoding="utf-8")

    async def go(tab):
        await tab.size(1200, 900)
        await tab.go(path.as_uri())
        found = await work(tab)
        assert tab.problems == []
        assert [url for url in tab.requests if not url.startswith("file:")] == []
        return found

    return in_browser(browser, go)


async def shoot(tab, name):
    if SCREENS:
        width = await tab.ask("innerWidth")
        clip = {"x": 0, "y": 0, "width": width, "height": 3200, "scale": 1}
        found = await tab.call("Page.captureScreenshot", captureBeyondViewport=True, clip=clip)
        (Path(SCREENS) / f"{name}.png").write_bytes(base64.b64decode(found["data"]))


def test_ten_thousand_rows_open_within_a_second_and_filter_and_search_find_them(browser, tmp_path):
    async def work(tab):
        took = await tab.ask("performance.getEntriesByType('navigation')[0].loadEventEnd")
        shown = "document.querySelectorAll('#samples article').length"
        status = "document.getElementById('samples-status').textContent"
        first = [await tab.ask(shown), await tab.ask(status)]
        tools = "document.querySelectorAll('#samples-tools input, #samples-tools select')"
        later = f"new Promise(done => setTimeout(() => done({status}), 400))"

        async def run(place, value, event):
            act = f"{tools}[{place}].value = {value!r};"
            act += f"{tools}[{place}].dispatchEvent(new Event({event!r}));"
            return await tab.ask(f"(() => {{ {act} return {later}; }})()")

        found = [await run(0, "NEEDLE107", "input"), await run(0, "", "input")]
        found += [await run(1, "now-right", "change"), await run(1, "beats base", "change")]
        await tab.ask("document.querySelectorAll('#samples-tools button')[1].click()")
        return took, first, found, await tab.ask(status)

    took, first, found, last = visit(browser, tmp_path / "r.html", report(many(10_000)), work)
    assert took < 1000
    assert first == [20, "10000 of 10000 prompts, page 1 of 500"]
    assert found == [
        "1 of 10000 prompts",
        "10000 of 10000 prompts, page 1 of 500",
        "1667 of 10000 prompts, page 1 of 84",
        "3333 of 10000 prompts, page 1 of 167",
    ]
    assert last == "3333 of 10000 prompts, page 2 of 167"


def with_sets():
    figures = set_figures() | {"audit": judged_figures()["audit"]}
    return report([*many(30), *(set_sample(f"vicuna-80:{n}") for n in range(12))], figures)


def test_answers_can_be_filtered_by_set(browser, tmp_path):
    async def work(tab):
        status = "document.getElementById('samples-status').textContent"
        choose = "const set = document.querySelectorAll('#samples-tools select')[1];"

        async def of(name):
            act = f"{choose} set.value = {name!r}; set.dispatchEvent(new Event('change'));"
            return await tab.ask(f"(() => {{ {act} return {status}; }})()")

        found = [await of("vicuna-80"), await of("test"), await of("")]
        await of("vicuna-80")
        text = "document.querySelector('#samples article').textContent"
        return found, await tab.ask(text)

    found, text = visit(browser, tmp_path / "r.html", with_sets(), work)
    assert found == [
        "12 of 42 prompts",
        "30 of 42 prompts, page 1 of 2",
        "42 of 42 prompts, page 1 of 3",
    ]
    assert "vicuna-80:0, vicuna-80" in text and "The judge's." in text and "The set's." in text
    assert "Teacher" not in text


@pytest.mark.parametrize("width", [390, 768, 1200])
@pytest.mark.parametrize("dark", [False, True])
def test_nothing_is_cut_off_on_any_screen(browser, tmp_path, width, dark):
    async def work(tab):
        await tab.size(width, 900, dark)
        await shoot(tab, f"report-{width}-{'dark' if dark else 'light'}")
        wide = (
            "[...document.querySelectorAll('table, td, th, article, pre, dl, svg')].filter(each => "
        )
        wide += (
            "each.getBoundingClientRect().width && each.getBoundingClientRect().right > innerWidth "
        )
        wide += "+ 1 && getComputedStyle(each.closest('thead') || each).position !== 'absolute')"
        wide += ".map(each => each.outerHTML.slice(0, 120))"
        return await tab.ask(wide), await tab.ask(
            "document.documentElement.scrollWidth - innerWidth"
        )

    cut, over = visit(browser, tmp_path / "r.html", with_sets(), work)
    assert cut == [] and over <= 0


@pytest.mark.parametrize(
    "field", ["id", "set", "teacher", "reference", "judge_answer", "before", "after", "expected"]
)
def test_hostile_answers_are_text(browser, tmp_path, field):
    async def work(tab):
        here = "document.getElementById('samples').textContent"
        return (
            await tab.ask("document.title"),
            await tab.ask(here),
            await tab.ask("document.querySelectorAll('#samples img, #samples script').length"),
        )

    rows = [a_sample(warmed="x", warmed_right=None, **{field: EVIL})]
    page = report(rows, set_figures() | {"audit": None})
    title, text, elements = visit(browser, tmp_path / "r.html", page, work)
    assert title.startswith("Distillation report") and EVIL in text and elements == 0


def test_everything_that_can_be_used_has_a_name_and_headings_are_in_order(browser, tmp_path):
    async def work(tab):
        tree = (await tab.call("Accessibility.getFullAXTree"))["nodes"]
        roles = ("button", "searchbox", "combobox", "image", "table")
        nameless = [
            node["role"]["value"]
            for node in tree
            if not node["ignored"]
            and node["role"]["value"] in roles
            and not node.get("name", {}).get("value")
        ]
        levels = "[...document.querySelectorAll('h1, h2, h3, h4')].map(each => +each.tagName[1])"
        return nameless, await tab.ask(levels)

    nameless, levels = visit(browser, tmp_path / "r.html", with_sets(), work)
    assert nameless == [] and levels[0] == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))


def test_the_audits_page_is_whole_too(browser, tmp_path):
    figures = judged_figures()
    audit = {**figures["audit"], "funnel": figures["funnel"]}

    async def work(tab):
        await tab.size(390, 900)
        await shoot(tab, "audit-390")
        return await tab.ask("document.documentElement.scrollWidth - innerWidth")

    assert visit(browser, tmp_path / "a.html", render_audit(audit), work) <= 0

# SPDX-License-Identifier: MIT
"""The HTML report in a real browser."""

import importlib.util
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[3] / "docs"


@pytest.fixture(scope="module")
def browser():
    spec = importlib.util.spec_from_file_location("browser", DOCS / "browser.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    program = module.find()
    if program is None:
        pytest.skip("no Chromium is installed")
    try:
        made = module.Browser(program)
    except (RuntimeError, TimeoutError, OSError) as error:
        pytest.skip(f"the browser does not start: {error}")
    with made:
        yield made


@pytest.fixture
def page(browser, written):
    def open_(fragment="", width=1400, dark=False):
        browser.view(width, 900, dark=dark)
        browser.open(written[0], fragment)
        browser.js("localStorage.clear()")
        return browser

    browser.said.clear()
    yield open_
    assert browser.said == []


def cases(b):
    return b.js("[...document.querySelectorAll('details.case')].map(e => e.querySelector('summary').innerText)")


def view(b):
    return b.js("document.body.dataset.view")


def choose(b, name, value):
    b.js(f"""(() => {{ const e = document.querySelector('[name={name}]'); e.value = {value!r};
        e.dispatchEvent(new Event('input', {{bubbles: true}})); }})()""")
    b.wait(f"new URLSearchParams(location.hash.slice(1)).get('{name}') === {value!r}")


def test_the_title_is_ours(page):
    b = page()
    assert b.js("document.title").startswith("dma-conformance")
    assert view(b) == "matrix"


def test_a_cell_leads_to_its_cases(page):
    b = page()
    b.click("td.cell a.fail")
    b.wait("document.body.dataset.view === 'cases'")
    assert "backend=gart_dma_ops" in b.js("location.hash")
    assert "FAIL" in cases(b)[0]
    assert all("gart_dma_ops" in one for one in cases(b))
    assert b.js("document.querySelector('[name=backend]').value") == "gart_dma_ops"


def test_filters_narrow_and_are_in_the_address(page):
    b = page("#view=cases")
    everything = len(cases(b))
    choose(b, "backend", "dma_dummy_ops")
    some = cases(b)
    assert 0 < len(some) <= everything
    assert all("dma_dummy_ops" in one for one in some)
    choose(b, "verdict", "pass")
    assert cases(b)
    assert all("ok" in one for one in cases(b))
    b.click("#clear")
    b.wait(f"document.querySelectorAll('details.case').length === {everything}")
    assert b.js("location.hash") == "#view=cases"


def test_proof_and_text(page):
    b = page("#view=cases&proof=read")
    assert cases(b)
    assert all("dma_dummy_ops" in one for one in cases(b))
    b = page("#view=cases&q=document.title")
    assert len(cases(b)) == 1


def test_a_permalink_opens_its_case(page, small):
    from conformance.results import read
    from conformance.verdict import Verdict

    failed = next(one for one in read(small).results if one.verdict is Verdict.FAIL)
    b = page(f"#case={failed.case}")
    b.wait("document.querySelector('details.case[open] .drill') !== null")
    assert len(cases(b)) == 1
    said = b.js("document.querySelector('.drill').innerText")
    assert f"dma-conformance explain {failed.case}" in said
    assert "</script><script>document.title='evil'" in said          # as text
    assert b.js("document.title") != "evil"


def test_a_known_fault_tells_its_source(page):
    b = page("#view=cases&verdict=known&backend=gart_dma_ops")
    b.click("details.case summary")
    b.wait("document.querySelector('.drill') !== null")
    said = b.js("document.querySelector('.drill').innerText")
    assert "known fault" in said
    assert ".c: " in said


def test_the_timeline_is_drawn(page):
    b = page("#view=cases&verdict=known")
    b.js("document.querySelectorAll('details.case').forEach(e => { e.open = true; })")
    b.wait("document.querySelector('.picture svg rect.dev') !== null")
    fill = b.js("getComputedStyle(document.querySelector('.picture svg rect.dev')).fill")
    assert fill == "rgb(185, 205, 245)"


def test_policy_is_above_mechanism_and_refused_is_not_unsafe(page):
    b = page("#view=p2p&api=all")
    cells = b.js("[...document.querySelectorAll('td.two')].map(e => e.innerText)")
    assert all(cell.split("\n")[0].startswith(("○ policy: supported", "⊘ policy: refused")) for cell in cells)
    looks = b.js("""['refused', 'unsafe'].map(name => {
        const e = document.querySelector('td.two > div:last-child.' + name), s = e && getComputedStyle(e);
        return s && [e.innerText.split('\\n')[0], s.color, s.backgroundColor];
    })""")
    refused, unsafe = looks
    assert refused is not None
    assert unsafe is not None
    assert all(mine != theirs for mine, theirs in zip(refused, unsafe, strict=True))


@pytest.mark.parametrize(("name", "words"), [
    ("designs", "P2P memory is mapped"), ("kills", "66.7 %"), ("kills", "sleeper in gart_dma_ops/opteron"),
    ("diff", "1 worse"),
], ids=["designs", "score", "survivor", "diff"])
def test_views(page, name, words):
    b = page()
    b.click(f"nav a[href='#view={name}']")
    b.wait(f"document.body.dataset.view === '{name}'")
    assert words in b.js("document.getElementById('main').innerText")


def test_the_theme_follows_the_system_and_the_button(page):
    colour = "getComputedStyle(document.body).backgroundColor"
    b = page(dark=True)
    dark = b.js(colour)
    b = page()
    light = b.js(colour)
    assert dark != light
    for name, seen in (("light", light), ("dark", dark), ("system", light)):
        b.click("#theme")
        assert b.js("document.getElementById('theme').textContent") == f"theme: {name}"
        assert b.js(colour) == seen


def test_with_the_keyboard_alone(page):
    b = page()
    b.key("Tab")
    assert b.js("document.activeElement.id") == "skip"
    b.key("Enter")
    b.wait("document.activeElement.id === 'main'")
    b.key("Tab")
    first = b.js("document.activeElement.innerText")
    assert first == b.js("document.querySelector('table.grid a').innerText")
    b.key("ArrowRight")
    b.key("ArrowDown")
    place = "[document.activeElement.closest('tr').rowIndex, document.activeElement.closest('td').cellIndex]"
    assert b.js(place) == [2, 2]
    b.key("Enter")
    b.wait("document.body.dataset.view === 'cases'")
    b.key("/")
    assert b.js("document.activeElement.name") == "q"
    b.key("Tab")
    b.key("Tab")
    for _ in range(30):
        if b.js("document.activeElement.tagName") == "SUMMARY":
            break
        b.key("Tab")
    b.key("Enter")
    b.wait("document.querySelector('details.case[open] .drill') !== null")


def test_every_verdict_has_a_glyph_and_a_word(page):
    b = page()
    marks = b.js("[...document.querySelectorAll('td.cell a')].map(e => e.textContent)")
    assert marks
    assert all(len(mark.split(" ")) >= 2 for mark in marks)


@pytest.mark.parametrize("name", ["matrix", "cases", "p2p", "designs", "kills", "diff"])
def test_at_phone_width_only_tables_scroll(page, name):
    b = page(f"#view={name}", width=390)
    assert b.js("document.documentElement.scrollWidth") <= 390


def test_print_has_no_controls(page):
    b = page()
    b.call("Emulation.setEmulatedMedia", media="print")
    assert b.js("getComputedStyle(document.getElementById('filters')).display") == "none"
    assert b.js("getComputedStyle(document.querySelector('table.grid')).display") == "table"
    b.call("Emulation.setEmulatedMedia", media="")

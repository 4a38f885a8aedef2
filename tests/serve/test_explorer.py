"""The explorer in a real browser shows what the database says."""

import os
import re
import threading
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import pytest
from support import toy_database
from support.browser import chromium, resize

from defectdb.db import open_database
from defectdb.errors import MissingPartError
from defectdb.query.kernels import kernel
from defectdb.serve.site.local_server import local_server
from defectdb.serve.site.write import assets_folder, write_site

PAGES = ("overview", "kernel", "model", "structure", "screening", "sql")
LABEL = "Vac_S-W_Mo"


@contextmanager
def served(folder):
    """The address of a folder that is shown on this machine meanwhile."""
    with local_server(folder) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def site(toy_template, tmp_path_factory):
    """The address of the toy database's explorer."""
    try:
        assets_folder()
    except MissingPartError as missing:
        pytest.skip(str(missing))
    folder = tmp_path_factory.mktemp("site") / "public"
    write_site(toy_template, folder)
    with served(folder) as address:
        yield address


@pytest.fixture(scope="module")
def browser(site, tmp_path_factory):
    with chromium(tmp_path_factory.mktemp("profile")) as opened:
        opened.get(site)
        yield opened


def show(browser, site, address):
    """Open a page and wait until it is whole; its element."""
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import WebDriverWait

    name, _, query = address.partition("?")
    fragment = f"#/{name}?{quote(query, safe='=&')}" if query else f"#/{name}"
    browser.get(f"{site}{fragment}")
    ready = f'main:not([aria-busy]) .page[data-address="{fragment}"]'
    [page] = WebDriverWait(browser, 90).until(lambda b: b.find_elements(By.CSS_SELECTOR, ready))
    return page


def texts(element, selector):
    """Read in one go: the page may draw itself anew between two calls."""
    script = "return [...arguments[0].querySelectorAll(arguments[1])].map(found => found.innerText.trim())"
    return element.parent.execute_script(script, element, selector)


def drawn(browser, page, selector):
    """Marks of a figure, once it is drawn."""
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import WebDriverWait

    return WebDriverWait(browser, 30).until(lambda _: page.find_elements(By.CSS_SELECTOR, selector))


@pytest.fixture
def numbers(toy_template):
    """What the database says by DuckDB and Python."""
    with open_database(toy_template, read_only=True) as db:
        yield db


@pytest.mark.parametrize(("width", "dark"), [(1600, False), (360, True)])
def test_every_page_fits_wide_and_narrow_screens_without_a_word_on_the_console(browser, site, width, dark):
    kept = os.environ.get("DEFECTDB_SCREENSHOTS")
    browser.get_log("browser")
    for name in PAGES:
        resize(browser, width, 900, dark=dark)
        page = show(browser, site, name)
        assert browser.execute_script("return document.documentElement.scrollWidth") <= width, name
        assert texts(page, "h1")[0]
        assert texts(page, ".error") == []
        if kept:
            height = browser.execute_script("return document.documentElement.scrollHeight")
            resize(browser, width, min(height, 4000), dark=dark)
            browser.save_screenshot(str(Path(kept) / f"{name}-{width}-{'dark' if dark else 'light'}.png"))
    resize(browser, 1600, 900)
    assert [entry["message"] for entry in browser.get_log("browser")] == []


def test_the_overview_counts_what_is_stored(browser, site, numbers):
    page = show(browser, site, "overview")
    assert texts(page, ".error") == []
    shown = dict(zip(texts(page, ".tiles li"), texts(page, ".tiles b"), strict=True))
    for table in ("structures", "pairs", "formulas"):
        count = numbers.value(f"SELECT count(*) FROM {table}")
        assert f"{count:,} {table}" in shown
    heads = texts(page, ".scroll[aria-label='Kernels in use'] th")
    assert heads[:4] == ["pair", "material", "target", "|Δz|"]


def test_the_kernel_page_draws_the_points_and_the_formula_that_python_computes(browser, site, numbers):
    page = show(browser, site, f"kernel?material=MoS2&label={LABEL}")
    points = numbers.value("SELECT count(*) FROM pair_energies WHERE label = ?", [LABEL])
    dots = f"[data-figure='kernel-MoS2-{LABEL}-formation_energy'] g[aria-label='dot'] path"
    assert len(drawn(browser, page, dots)) == points > 3
    assert "tokens" in texts(page, "output")[0]
    found = kernel(numbers, LABEL, "formation_energy")
    macro = f"SELECT f_{found.parts[0].formula_id}(3.19, 0) AS value"
    query = show(browser, site, f"sql?q={macro}")
    assert float(texts(query, "tbody td")[0]) == pytest.approx(float(found(3.19, 0.0)), rel=1e-6)


def test_the_terms_of_a_structure_add_up_to_its_prediction(browser, site, numbers):
    sql = """SELECT structure_id, value FROM predictions WHERE target = 'formation_energy' AND n_defects = 3
             AND value IS NOT NULL ORDER BY structure_id LIMIT 1"""
    [(structure, value)] = numbers.frame(sql).rows()
    page = show(browser, site, f"structure?id={structure}")
    total = browser.execute_script("return document.querySelector('[data-total]').dataset.total")
    assert float(total) == pytest.approx(value, abs=1e-9)
    assert len(texts(page, ".scroll[aria-label='Pairs'] tbody tr")) == 3


def test_a_structure_without_a_model_says_so_and_nothing_else(browser, tmp_path):
    with open_database(tmp_path / "bare.duckdb", create=True) as db:
        toy_database.fill(db, n=3)
    write_site(tmp_path / "bare.duckdb", tmp_path / "public")
    with served(tmp_path / "public") as address:
        page = show(browser, address, "structure")
        written = "return [...arguments[0].childNodes].filter(n => n.nodeType === 3).map(n => n.data)"
        assert browser.execute_script(written, page) == []
        assert any("No active model" in text for text in texts(page, "p"))


def test_an_empty_database_is_said_to_be_empty(browser, tmp_path):
    with open_database(tmp_path / "empty.duckdb", create=True):
        pass
    write_site(tmp_path / "empty.duckdb", tmp_path / "public")
    with served(tmp_path / "public") as address:
        tables = texts(show(browser, address, "overview"), "tbody tr")
        said = {name: texts(show(browser, address, name), "p code") for name in PAGES[1:-1]}
    assert set(tables) == {"none"}
    assert said == {
        "kernel": ["defectdb learn --all-pairs"],
        "model": ["defectdb learn --model"],
        "structure": ["defectdb ingest"],
        "screening": ["defectdb ingest"],
    }


def test_a_long_text_takes_several_lines_and_leaves_the_other_columns_in_sight(browser, site):
    page = show(browser, site, "sql?q=SELECT repeat('Vac_S+', 60) AS long, 1.5 AS number")
    widths = "const t = arguments[0].querySelector('.scroll'); return [t.scrollWidth, t.clientWidth]"
    needed, there = browser.execute_script(widths, page)
    assert needed <= there


def test_the_model_page_gives_the_error_that_the_database_gives(browser, site, numbers):
    page = show(browser, site, "model?material=MoS2&target=formation_energy_per_site")
    sql = "SELECT 1000 * avg(abs(error)) FROM prediction_errors WHERE target = 'formation_energy_per_site'"
    assert float(texts(page, "[data-value='mae']")[0]) == pytest.approx(numbers.value(sql), abs=0.005)


def test_screening_filters_by_composition(browser, site, numbers):
    page = show(browser, site, "screening?material=MoS2&holds=w_mo&most=2")
    sql = "SELECT count(*) FROM structures WHERE n_defects <= 2 AND contains(defect_labels, 'W_Mo')"
    assert texts(page, "[data-value='chosen']") == [str(numbers.value(sql))]


def test_a_wrong_query_is_answered_by_duckdbs_message(browser, site):
    page = show(browser, site, "sql?q=SELECT nothing FROM nowhere")
    assert "nowhere" in texts(page, ".error")[0]


def test_figures_follow_the_keyboard(browser, site):
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    page = show(browser, site, f"kernel?material=MoS2&label={LABEL}")
    slider = page.find_element(By.CSS_SELECTOR, "input[type=range]")
    slider.send_keys(Keys.HOME)
    assert re.match(r"\d+ tokens", texts(page, "output")[0])
    body = browser.find_element(By.TAG_NAME, "body")
    body.send_keys(Keys.TAB)
    assert browser.switch_to.active_element.tag_name in ("a", "button", "select", "input")

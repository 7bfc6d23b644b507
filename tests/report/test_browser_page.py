"""The run browser's program, run in a real browser without a window, where there is one.

A probe beside the program types and clicks, then leaves what it saw in an element of the page.
"""

import base64
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from mjx_s2r.report.browser.page import RunsPage
from tests.report.test_browser import Ppo, Settings, train

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
BROWSER = next(filter(None, map(shutil.which, BROWSERS)), "")
ODD = "x<b>&'"  # a folder's name that HTML would read otherwise

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not BROWSER, reason=f"none of {', '.join(BROWSERS)} is installed"),
]
PROBE = """
const all = (what) => [...document.querySelectorAll(what)];
const texts = (what) => all(what).map((e) => e.textContent);
const out = {};
try { %s } catch (error) { out.error = String(error); }
document.body.append(Object.assign(document.createElement("pre"), { id: "probe",
  textContent: "PROBE" + btoa(unescape(encodeURIComponent(JSON.stringify(out)))) + "PROBE" }));
"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three runs: two that differ in the seed and one that learns faster and was interrupted."""
    folder = tmp_path_factory.mktemp("runs")
    for seed in (0, 1):
        train(folder / f"seed_{seed}", Settings(seed=seed))
    train(folder / ODD, Settings(ppo=Ppo(3e-3)), 2)
    return folder


def look(folder: Path, address: str, probe: str) -> dict[str, Any]:
    """Opens a page over a folder at an address and returns what a probe leaves in ``out``.

    Fails where the browser's console says anything of an error.
    """
    page = RunsPage([folder], folder / "browse.html")
    page.write()
    text = page.out.read_text()
    page.out.write_text(text.replace("</body>", f"<script>{PROBE % probe}</script></body>"))
    done = subprocess.run(
        [
            *(BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr"),
            *("--v=0", "--virtual-time-budget=2000", "--window-size=1200,900", "--dump-dom"),
            f"--user-data-dir={folder / 'profile'}",
            page.out.as_uri() + address,
        ],
        capture_output=True,
        text=True,
        timeout=180,
        check=True,
    )
    said = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    assert not said, said
    found = re.search(r">PROBE([\w+/=]*)PROBE<", done.stdout)
    assert found, done.stdout[-2000:]
    return dict(json.loads(base64.b64decode(found[1])))


def test_an_address_shows_what_it_names(page: Path) -> None:
    seen = look(
        page,
        "#runs=seed_0,x%3Cb%3E%26'&metric=success&sort=name&status=finished",
        """
        out.rows = texts("#runs-table tbody th");
        out.chosen = texts("#chosen .legend strong");
        out.charts = all(".charts svg").map((e) => e.getAttribute("aria-label"));
        const cells = (row) => [...row.children].map((cell) => cell.textContent);
        out.settings = all("#settings tbody tr").map(cells);
        out.wide = document.documentElement.scrollWidth <= innerWidth;
        """,
    )
    assert seen["rows"] == ["seed_0", "seed_1"]  # the interrupted one is filtered out
    assert seen["chosen"] == ["seed_0", ODD]
    assert seen["charts"] == [
        f"success while training over iterations: seed_0 ends at 50; {ODD} ends at 25"
    ]
    assert seen["settings"] == [["ppo.learning_rate", "0.001", "0.003"]]
    assert seen["wide"]


def test_clicks_and_keys_change_view_and_address(page: Path) -> None:
    seen = look(
        page,
        "#runs=",
        """
        out.none = texts("#chosen .none").length;
        const box = (name) => all("[data-run]").find((e) => e.dataset.run === name);
        box("seed_0").click();
        box("seed_1").click();
        out.focus = document.activeElement.dataset.run;
        all("[data-metric]").find((e) => e.dataset.metric === "success").focus();
        const svg = document.querySelector(".charts svg");
        svg.dispatchEvent(new KeyboardEvent("keydown", { key: "Home" }));
        out.reading = texts(".reading:not([hidden]) div b");
        all("#curves label").find((e) => e.textContent === "mean over seeds").click();
        out.mean = document.querySelector(".charts svg").getAttribute("aria-label");
        document.querySelector('[data-sort="success"]').click();
        out.sorted = texts("#runs-table tbody th").slice(0, 2);
        const search = document.querySelector("input[type=search]");
        search.value = "learning_rate=0.003";
        search.dispatchEvent(new Event("input"));
        out.found = texts("#runs-table tbody th");
        out.address = location.hash;
        """,
    )
    assert "error" not in seen, seen
    assert seen["none"] == 1
    assert seen["focus"] == "seed_1"
    assert seen["reading"] == ["12.5 %", "12.5 %"]  # success 1/8 at the first line of both
    assert seen["mean"].endswith("seed_0 and 1 more (mean) ends at 50")
    assert seen["sorted"] == ["seed_0", "seed_1"]
    assert seen["found"] == [ODD]
    assert set(seen["address"][1:].split("&")) == {
        *("runs=seed_0,seed_1", "mean=1", "sort=-success", "q=learning_rate%3D0.003"),
    }

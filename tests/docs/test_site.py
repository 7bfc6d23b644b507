"""The site: what is made for it from the pages, and that nothing of it comes from elsewhere."""

import importlib
import json
import re
import tomllib
from pathlib import Path

import pytest

from docs.site.build import (
    DOCS,
    SiteError,
    Stage,
    code_page,
    loaded_from_elsewhere,
    notebook_page,
    prose_links,
)

API = re.findall(
    r"^::: ([\w.]+)$", "\n".join(page.read_text() for page in DOCS.glob("api/*.md")), re.M
)


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Stage:
    """What a generator would read."""
    stage = Stage(tmp_path_factory.mktemp("stage"))
    stage.fill()
    return stage


def test_every_link_of_the_site_stays_in_it(stage: Stage) -> None:
    pages = sorted(stage.docs.rglob("*.md"))
    assert len(pages) > 60
    wrong = [
        f"{page.relative_to(stage.docs)}: {target}"
        for page in pages
        for _, _, target, _ in prose_links(page.read_text())
        if "://" not in target
        and not (page.parent / target).resolve().is_relative_to(stage.docs.resolve())
    ]
    missing = [
        f"{page.relative_to(stage.docs)}: {target}"
        for page in pages
        for _, _, target, _ in prose_links(page.read_text())
        if "://" not in target and not (page.parent / target).exists()
    ]
    assert not wrong and not missing


def test_files_of_the_repository_become_pages_or_come_along(stage: Stage) -> None:
    code = (stage.docs / "repository/mjx_s2r/contract.py.md").read_text()
    assert "# mjx_s2r/contract.py\n\n```python\n" in code and "class PolicyContract" in code
    assert json.loads((stage.docs / "repository/benchmarks/results/student.json").read_text())
    folder = (stage.docs / "repository/launch.md").read_text()
    assert "[slurm.sh](launch/slurm.sh.md)" in folder
    assert "(own_task/pendulum.py.md)" in (stage.docs / "own_task.md").read_text()


def test_a_link_that_leads_nowhere_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("docs.site.build.ROOT", tmp_path)
    monkeypatch.setattr("docs.site.build.DOCS", tmp_path)
    page = tmp_path / "page.md"
    page.write_text("`[no](link)`\n\n```\n[no](link.md)\n```\n\nSee [that](gone.md#part).\n")
    with pytest.raises(SiteError, match=r"page.md links to gone.md, which is not there"):
        Stage(tmp_path / "stage").rewritten(page)


def test_the_navigation_has_every_page_once(stage: Stage) -> None:
    nav = json.dumps(tomllib.loads((DOCS / "site" / "zensical.toml").read_text())["project"]["nav"])
    listed = re.findall(r'"([\w/]+\.md)"', nav)
    pages = [str(p.relative_to(stage.docs)) for p in stage.docs.rglob("*.md")]
    made = ("repository/", "own_task/", "other_environments/")
    assert sorted(listed) == sorted(p for p in pages if not p.startswith(made))


@pytest.mark.parametrize("name", API)
def test_what_the_reference_names_exists(name: str) -> None:
    try:
        found = importlib.import_module(name)
    except ModuleNotFoundError:
        module, _, attribute = name.rpartition(".")
        found = getattr(importlib.import_module(module), attribute)
    assert found.__doc__


def test_the_reference_has_every_name_of_the_door() -> None:
    import mjx_s2r

    assert set(mjx_s2r.__all__) <= {name.rpartition(".")[2] for name in API}


def test_a_fence_is_longer_than_those_inside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("docs.site.build.ROOT", tmp_path)
    path = tmp_path / "a.py"
    path.write_text('"""Text with\n```\ncode\n```\n"""\n')
    page = code_page(path)
    assert page.count("````") == 2 and "````python\n" in page


def test_a_notebook_is_a_page_of_its_cells() -> None:
    cells = [
        {"cell_type": "markdown", "source": ["# Title\n", "text"]},
        {"cell_type": "code", "source": "print(1)", "outputs": []},
    ]
    assert notebook_page({"cells": cells}) == "# Title\ntext\n\n```python\nprint(1)\n```\n\n"


@pytest.mark.parametrize(
    ("html", "counts"),
    [
        ('<script src="https://a.b/c.js"></script>', True),
        ('<link rel="stylesheet" href="//a.b/c.css">', True),
        ('<img alt="x" src=https://a.b/c.png>', True),
        ("<style>@import 'https://a.b/c.css'; p { background: url(https://a.b/c) }</style>", True),
        ('<a href="https://a.b/c">there</a>', False),
        ('<link rel="canonical" href="https://a.b/c">', False),
        ('<script src="assets/c.js"></script>', False),
    ],
)
def test_what_a_page_would_load_is_found(tmp_path: Path, html: str, counts: bool) -> None:
    (tmp_path / "page.html").write_text(html)
    assert bool(loaded_from_elsewhere(tmp_path)) == counts

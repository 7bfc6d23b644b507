"""The documentation: its links resolve, its commands can be typed, its programs run."""

import importlib
import re
import shlex
import subprocess
import time
import tomllib
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any, get_type_hints

import pytest
import tyro

from benchmarks.cli import CASES
from benchmarks.cli import Config as BenchmarkConfig
from benchmarks.rows import Settings as BenchmarkSettings
from mjx_s2r.api.door import Student
from mjx_s2r.envs import registry
from mjx_s2r.robot.cli.main import VERBS as ROBOT_VERBS
from mjx_s2r.robot.cli.parser import Parser
from train import study
from train.demo import STARTED, DemoConfig
from train.help_page import show_help
from train.verbs import VERBS

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.glob("*.md")), *sorted(DOCS.glob("api/*.md"))]
EXTRAS = "optional-dependencies"
INSTALLS = re.compile(r"pip install (?:-e )?(['\"]?)(?:\.|mjx_s2r)\[([a-z_,]+)\]")
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.M | re.S)
# Sizes in the programs of docs/python.md, and what they are here.
SIZES = {"num_envs=512, num_steps=16": "num_envs=16, num_steps=4", "range(60)": "range(2)"}


def blocks(page: Path, *languages: str) -> list[str]:
    """Returns the code blocks of a page in one of some languages."""
    return [code for language, code in BLOCK.findall(page.read_text()) if language in languages]


def commands(page: Path, program: str) -> list[list[str]]:
    """Returns the command lines of a page that start ``program``, without it, in words."""
    text = "\n".join(blocks(page, "", "sh")).replace("\\\n", " ")
    lines = re.findall(rf"^python -m {program} (.+)$", text, re.M)
    return [shlex.split(line, comments=True) for line in lines]


def config_of(verb: str) -> type:
    """Returns the class of a verb's settings."""
    found = getattr(importlib.import_module(f"train.{verb}"), f"{verb.capitalize()}Config")
    assert isinstance(found, type)
    return found


def flags(config: Any, prefix: str = "") -> set[str]:
    """Returns the options that a class of settings has on the command line."""
    found, hints = set(), get_type_hints(config)
    extras = get_type_hints(config, include_extras=True)
    for name in (f.name for f in fields(config)):
        option = f"{prefix}{name.replace('_', '-')}"
        found.add(f"--{option}")
        if is_dataclass(hints[name]):
            told = getattr(extras[name], "__metadata__", ())
            unnamed = any(getattr(x, "name", None) == "" for x in told)
            found |= flags(hints[name], prefix if unnamed else f"{option}.")
    return found


def anchors(page: Path) -> set[str]:
    """Returns the anchors of a page's headings, as a forge and the site make them."""
    titles = re.findall(r"^#+ (.+)$", BLOCK.sub("", page.read_text()), re.M)
    plain = (re.sub(r"[^\w\s-]", "", title).strip().lower() for title in titles)
    return {re.sub(r"[-\s]+", "-", title) for title in plain}


def leads_nowhere(page: Path, link: str) -> bool:
    """Returns whether the file or the heading that a link names is missing."""
    target, _, anchor = link.partition("#")
    path = page.parent / target if target else page
    return not path.exists() or bool(anchor and anchor not in anchors(path))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    text = BLOCK.sub("", page.read_text())
    links = [link for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link]
    assert [link for link in links if leads_nowhere(page, link)] == []


def test_the_index_lists_every_page() -> None:
    text = (DOCS / "index.md").read_text()
    pages = {str(page.relative_to(DOCS)) for page in PAGES[1:]} - {"index.md"}
    pages |= {page.name for page in DOCS.glob("*.ipynb")}
    assert sorted(re.findall(r"^\| \[[^]]+\]\(([\w./]+)\)", text, re.M)) == sorted(pages)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_can_be_typed(page: Path) -> None:
    for verb, *words in commands(page, "train"):
        assert verb in VERBS, f"{page.name}: python -m train {verb}"
        words = words[: words.index(">")] if ">" in words else words
        if "--help" in words:
            at = words.index("--help")
            assert show_help(verb, words[:at], "".join(words[at + 1 : at + 2]))
        elif verb == "study":
            if words:
                tyro.cli(study.config_of(words[0]), args=words[1:], prog=f"{page.name}: {words[0]}")
        else:
            tyro.cli(config_of(verb), args=words, prog=f"{page.name}: {verb}")
    for words in commands(page, "benchmarks"):
        assert {word for word in words if not word.startswith("-")} & set(CASES) or "--" in words[0]


@pytest.mark.parametrize("target", ["demo", "reach"])
def test_what_make_types_can_be_typed(target: str) -> None:
    shown = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, text=True)
    ((began, words),) = re.findall(rf"{STARTED}=(\d+) .*-m train demo(.*)", shown.stdout)
    tyro.cli(DemoConfig, args=shlex.split(words))
    assert 0 <= time.time() - int(began) < 60  # installing counts


def test_options_in_the_text_exist() -> None:
    known = set().union(*(flags(config_of(verb)) for verb in VERBS if verb != "study"))
    known |= set().union(*(flags(study.config_of(name)) for name in (*study.NAMES, *study.OWN)))
    known |= flags(BenchmarkConfig) | flags(BenchmarkSettings) | {"--help", "--list"}
    for verb in ROBOT_VERBS:
        parser = Parser(verb, ROBOT_VERBS[verb])
        importlib.import_module(f"mjx_s2r.robot.cli.{verb}").VERB.add(parser)
        known |= set(parser._option_string_actions)
    wrong = [
        f"{page.name}: {option}"
        for page in PAGES
        for code in re.findall(r"`([^`\n]*(?:\n[^`\n]+)?)`", BLOCK.sub("", page.read_text()))
        for option in re.findall(r"(?<![\w-])--[a-z][\w.-]*", code)
        if not {option, re.sub(r"(--|\.)no-(?=[\w-]+$)", r"\1", option)} & known
    ]
    assert not wrong


def test_verbs_in_the_text_exist() -> None:
    for page in PAGES:
        verbs = re.findall(r"python\s-m\strain\s(\w+)", page.read_text())
        assert set(verbs) <= set(VERBS), page.name


def test_the_readme_shows_the_program_of_the_python_page() -> None:
    assert blocks(ROOT / "README.md", "python") == blocks(ROOT / "docs/python.md", "python")[:1]


@pytest.mark.parametrize("page", ["own_task", "other_environments"])
def test_excerpts_are_those_of_the_example(page: str) -> None:
    example = "".join(f.read_text() for f in (ROOT / "docs" / page).glob("*.py"))
    lines = "".join(blocks(ROOT / "docs" / f"{page}.md", "python")).splitlines()
    assert lines and [line for line in lines if line not in example] == []


def test_what_a_shell_would_expand_is_quoted() -> None:
    """A shell as zsh takes [ and * for patterns, and refuses one that fits no file."""
    known = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][EXTRAS])
    code = [f for f in (ROOT / "mjx_s2r").rglob("*.py") if "pip install" in f.read_text()]
    found = 0
    for file in (*PAGES, *DOCS.glob("*.ipynb"), *code):
        text = file.read_text()
        for quote, names in INSTALLS.findall(text):
            assert quote and set(names.split(",")) <= known, f"{file.name}: [{names}]"
            found += 1
        assert not re.search(r"--(mix|rows) [^'\"`\s]*[*~]", text), file.name
    assert found > 20


@pytest.mark.slow
def test_the_six_lines_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = registry.task_spec("reach")
    small = {"num_envs": 16, "num_steps": 4, "num_minibatches": 2, "num_epochs": 1}
    tiny = replace(
        spec,
        ppo=replace(spec.ppo, **small),
        iterations=1,
        distill=replace(spec.distill, **small, iterations=1),
    )
    monkeypatch.setitem(registry._registered, "reach", tiny)
    monkeypatch.setattr(
        Student.evaluate, "__kwdefaults__", {"reality": None, "count": 1, "episodes": 1}
    )
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(blocks(ROOT / "docs/python.md", "python")[0], names)
    assert Path("policy.onnx").stat().st_size > 10_000
    assert names["student"].trained.trainer.config.num_envs == 16
    assert Path("runs/teacher/checkpoints/1").is_dir()


@pytest.mark.slow
def test_the_other_programs_of_the_python_page_run(capsys: pytest.CaptureFixture[str]) -> None:
    code = "\n".join(blocks(ROOT / "docs/python.md", "python")[1:])
    for large, little in SIZES.items():
        assert large in code
        code = code.replace(large, little)
    names: dict[str, Any] = {}
    exec(code, names)
    assert int(names["state"].iteration) == 2
    assert "pole_mass: " in capsys.readouterr().out

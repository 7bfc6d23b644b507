"""Help, completion and near names of the command line, as a newcomer meets them."""

import importlib
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import tyro

from mjx_s2r.params import ParamError
from train import completion, help_page, study
from train.__main__ import main
from train.help_page import read_boxes, show_help, verb_list, verb_options
from train.verbs import GROUPS, VERBS

ROOT = Path(__file__).parents[2]
MOST_LINES = 85  # of a verb's help


def test_the_list_shows_every_verb_once() -> None:
    page = verb_list()
    shown = re.findall(r"^  (\w+) +\S", page, re.M)
    assert shown == list(VERBS) and all(f"{group}:" in page for group in GROUPS)
    assert {path.stem for path in (ROOT / "train").glob("*.py")} >= set(VERBS)


def test_it_is_there_before_anything_heavy_is_imported() -> None:
    code = (
        "import sys; sys.argv = ['train', '--help']; from train.__main__ import main; main();"
        "print(*(n in sys.modules for n in ('jax', 'mujoco', 'tyro')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.split()[-3:] == ["False"] * 3


@pytest.mark.parametrize("verb", VERBS)
def test_help_of_a_verb_is_short_and_ends_with_lines_to_copy(verb: str) -> None:
    page = show_help(verb, (), "")
    assert page.startswith(f"usage: python -m train {verb}")
    lines = page.splitlines()
    assert len(lines) < MOST_LINES and max(map(len, lines)) < 105
    assert "None|" not in page and "╭" not in page and "(default" not in page
    _, _, examples = page.partition("examples:\n")
    assert len(examples.splitlines()) == len(VERBS[verb].examples) > 0
    module = importlib.import_module(f"train.{verb}")
    for line in examples.splitlines():
        words = shlex.split(line)[4:]
        words = words[: words.index(">")] if ">" in words else words
        if verb == "study":  # each has settings of its own, and none is a list
            if not words:
                continue
            config, words = study.config_of(words[0]), words[1:]
        else:
            config = getattr(module, f"{verb.capitalize()}Config")
        assert isinstance(tyro.cli(config, args=words, prog=line), config)


def test_a_group_is_shown_when_it_is_asked_for() -> None:
    own, group = show_help("teacher", (), ""), show_help("teacher", (), "ppo")
    assert "--ppo.*" in own and "--ppo.num-envs" not in own
    assert "--ppo.num-envs INT            Number of worlds, B. [512]" in group
    assert "--adr." not in group and "--adr.window" in show_help("teacher", (), "all")
    with pytest.raises(ParamError, match="'pp'; did you mean 'ppo'"):
        show_help("teacher", (), "pp")


def test_it_shows_what_fits_the_task_that_is_named() -> None:
    assert "[1024]" in show_help("teacher", ("--task", "lift"), "ppo")


BOXES = """
╭─ positional arguments ─────────────────────╮
│ PATH                                       │
│       The file. (required)                 │
╰────────────────────────────────────────────╯
╭─ options ──────────────────────────────────╮
│ -h, --help                                 │
│       show this help message and exit      │
│ --kind {a,b}                               │
│       Which of them, in a text of two      │
│       lines. (default: a)                  │
│ --core {None}|INT  Its text is beside it.  │
│                    (default: None)         │
╰────────────────────────────────────────────╯
╭─ fit options ──────────────────────────────╮
│ Settings of the fit.                       │
│ ────────────────────────────────────────── │
│ --fit.fast, --fit.no-fast                  │
│       Hurry. (default: True)               │
╰────────────────────────────────────────────╯
"""


def test_tyros_boxes_are_read() -> None:
    own, fit = read_boxes(BOXES)
    assert [option.call for option in own.options] == ["PATH", "--kind {a,b}", "--core {None}|INT"]
    assert own.options[1].text == "Which of them, in a text of two lines."
    assert own.options[1].choices == ("a", "b") and own.options[1].default == "a"
    assert own.options[2].text == "Its text is beside it." and own.options[2].choices == ()
    assert fit.name == "fit" and fit.about == "Settings of the fit."
    assert help_page._shown(fit.options[0]) == ("--fit.[no-]fast", "Hurry. [on]")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("techer",), "'techer'; did you mean 'teacher'"),
        (("fly", "raech"), "'raech'; did you mean 'reach'"),
        (("fly", "--help", "ppo"), "unknown group of options of fly 'ppo'"),
        (("teacher", "--task", "cartpol"), "'cartpol'; did you mean 'cartpole'"),
        (
            ("teacher", "--task", "cartpole", "--curriculum", "ard"),
            "'ard'; did you mean 'hard', 'adr'",
        ),
    ],
)
def test_a_wrong_name_is_answered_by_the_near_ones(
    words: tuple[str, ...],
    says: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", ["train", *words])
    assert main() == 2
    told = capsys.readouterr().err
    assert says in told and told.startswith("error: ") and len(told.splitlines()) == 1


def test_a_wrong_option_is_answered_by_the_near_ones(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["train", "fly", "--episods", "3"])
    with pytest.raises(SystemExit):
        main()
    assert "--episodes INT" in capsys.readouterr().err


def test_options_have_names_and_choices() -> None:
    found = {name: option for option in verb_options("fly") for name in option.names}
    assert found["--robots"].choices == ("held_out", "rehearsal")
    assert {"--no-browser", "--reality"} <= set(found)


def complete(script: str, function: str, *words: str) -> list[str]:
    """Returns what bash proposes for the last of the words."""
    typed = " ".join(shlex.quote(word) for word in words)
    code = f"{script}\nCOMP_WORDS=({typed}); COMP_CWORD={len(words) - 1}; {function}\n"
    done = subprocess.run(
        ["bash", "-c", f'{code}printf "%s\\n" "${{COMPREPLY[@]}}"'],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.split()


def test_bash_completes_verbs_options_and_values(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    known = {name: VERBS[name] for name in ("teacher", "fly", "evaluate")}
    monkeypatch.setattr(completion, "VERBS", known)
    completion.main(("bash",))
    script = capsys.readouterr().out
    train = ("python", "-m", "train")
    for words, proposed in (
        ((*train, "te"), ["teacher"]),
        ((*train, "fly", "lif"), ["lift"]),
        ((*train, "teacher", "--curr"), ["--curriculum"]),
        ((*train, "teacher", "--curriculum", "max"), ["maxent"]),
        ((*train, "teacher", "--task", "cart"), ["cartpole"]),
        ((*train, "evaluate", "--robots", ""), ["held_out", "rehearsal"]),
        (("python", "program.py", "te"), []),
    ):
        assert complete(script, "_mjx_s2r_python", *words) == proposed, words
    assert "--driver" in complete(script, "_mjx_s2r_robot", "mjx-s2r-robot", "run", "--d")
    assert complete(script, "_mjx_s2r_robot", "mjx-s2r-robot", "insp") == ["inspect"]

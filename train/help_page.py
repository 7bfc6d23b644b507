"""Help that is short: a verb's own options, its groups of others by name, and lines to copy.

tyro knows the options, their types and their defaults, and prints all of them at length, in boxes;
for a teacher that is three hundred lines. Here its boxes are read, and printed group by group.
"""

import contextlib
import importlib
import inspect
import io
import os
import re
import textwrap
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from mjx_s2r.params import unknown
from train.verbs import GROUPS, VERBS

PROGRAM = "python -m train"
ALL = "all"
WIDTH, COLUMN, READ_AT = 96, 32, 120  # columns: of the help, where texts begin, of tyro's boxes
POSITIONAL, OWN, REQUIRED = "positional arguments", "options", " (required)"
_TITLE = re.compile(r"^╭─ (.+?) ─*╮$")
_DEFAULT = re.compile(r"\s*\(default: ?(.*)\)$", re.S)
_UNSET = ("", "''", "None", "False")  # defaults that say nothing
_PLAIN = (  # tyro's words for what may follow an option, and shorter ones
    (re.compile(r"\{None\}\|"), ""),
    (re.compile(r"\[(\S+) \[\1 \.\.\.\]\]"), r"\1 ..."),
    (re.compile(r"^(--\S+), --(\S*\.)?no-\S+$"), r"\1"),
    (re.compile(r"\{([A-Z ]+)\}"), r"\1"),
)


@dataclass(frozen=True)
class HelpOption:
    """An option as it is written on the command line, what it does, and its default."""

    call: str
    text: str
    default: str

    @property
    def names(self) -> tuple[str, ...]:
        """The words that name it; none of a positional one."""
        return tuple(re.findall(r"(?<!\S)--?[a-zA-Z][\w.-]*", self.call))

    @property
    def choices(self) -> tuple[str, ...]:
        """The values that it is confined to."""
        found = re.search(r"\{([^} ]*)\}", self.call)
        return tuple(x for x in found[1].split(",") if x != "None") if found else ()


@dataclass(frozen=True)
class HelpGroup:
    """Options that belong together.

    Attributes:
        name: "" for those of the verb itself, else the first part of their names.
        about: what they are, a sentence.
        options: themselves.
    """

    name: str
    about: str
    options: tuple[HelpOption, ...]


def verb_list() -> str:
    """Returns the help of the program."""
    lines = [f"usage: {PROGRAM} VERB [options]", ""]
    lines += ["From a MuJoCo robot to a policy that drives it, and back from its logs."]
    for group, verbs in GROUPS.items():
        lines += ["", f"{group}:", *(f"  {name:<10} {v.what}" for name, v in verbs.items())]
    lines += ["", f"{PROGRAM} VERB --help shows the options of a verb, with examples."]
    return "\n".join(lines)


def show_help(verb: str, words: Sequence[str], topic: str) -> str:
    """Returns the help of a verb.

    Args:
        verb: the verb.
        words: what else the command line says: a task's defaults are shown where it names one.
        topic: "" for the verb's own options; else the name of a group, or "all".

    Raises:
        ParamError: a group that the verb does not have; lists the near ones.
    """
    module = importlib.import_module(f"train.{verb}")
    groups = read_boxes(captured(module.main, words))
    nested = [g for g in groups if g.name]
    if topic not in ("", ALL, *(g.name for g in nested)):
        raise unknown(f"group of options of {verb}", topic, [*(g.name for g in nested), ALL])
    lines = [f"usage: {PROGRAM} {verb}{_operands(groups)} [options]", ""]
    if not topic:
        lines += [_about(VERBS[verb].what, inspect.getdoc(module) or ""), ""]
    for group in groups:
        if topic in (ALL, group.name):
            lines += _listed(group)
    if not topic and nested:
        lines += [f"more options (--help GROUP shows them, --help {ALL} every one):"]
        for group in nested:
            lines += _entry(f"--{group.name}.*", f"{group.about} ({len(group.options)})")
        lines += [""]
    if topic != ALL and VERBS[verb].examples and not topic:
        lines += ["examples:", *(f"  {PROGRAM} {verb} {x}".rstrip() for x in VERBS[verb].examples)]
    return "\n".join(lines).rstrip()


def verb_options(verb: str) -> tuple[HelpOption, ...]:
    """Returns the options of a verb, those of its groups among them."""
    module = importlib.import_module(f"train.{verb}")
    return tuple(o for group in read_boxes(captured(module.main, ())) for o in group.options)


def captured(main: Callable[[Sequence[str]], object], words: Sequence[str]) -> str:
    """Returns what a verb's ``main`` prints when it is asked for help."""
    page = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")  # boxes depend on the encoding
    before = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = str(READ_AT)  # one column of boxes
    try:
        with contextlib.redirect_stdout(page), contextlib.suppress(SystemExit):
            main([*words, "--help"])
    finally:
        os.environ.pop("COLUMNS")
        if before is not None:
            os.environ["COLUMNS"] = before
    page.seek(0)
    return page.read()


def read_boxes(text: str) -> tuple[HelpGroup, ...]:
    """Returns the groups of options in tyro's help, a verb's own first."""
    about: dict[str, list[str]] = {"": []}
    options: dict[str, list[HelpOption]] = {"": []}
    for title, lines in _boxes(text):
        if title == "subcommands":  # of tyro's own, for a setting of several types
            continue
        whole = "" if title == POSITIONAL else title.removesuffix(OWN).strip()
        name, _, inner = whole.partition(".")
        about.setdefault(name, []).append(inner or _prose(lines))
        found = [option for option in _options(lines) if "--help" not in option.names]
        options.setdefault(name, []).extend(found)
    return tuple(HelpGroup(n, _joined(about[n]), tuple(x)) for n, x in options.items() if x)


def _joined(told: Sequence[str]) -> str:
    """Returns what a group is: its sentence, or the names of the groups inside it."""
    sentences = [text for text in told if text.endswith(".")]
    return sentences[0] if sentences else f"Settings of {', '.join(filter(None, told))}."


def _boxes(text: str) -> Iterator[tuple[str, list[str]]]:
    """Yields title and lines of each box."""
    title, lines = "", list[str]()
    for line in text.splitlines():
        start = _TITLE.match(line.strip())
        if start:
            title, lines = start[1], []
        elif line.startswith("╰") and title:
            yield title, lines
            title = ""
        elif title:
            lines.append(line.strip().removeprefix("│ ").removesuffix("│").rstrip())


def _options(lines: Sequence[str]) -> Iterator[HelpOption]:
    """Yields the options in the lines of a box: a line that starts one, indented text below it."""
    after = next((i + 1 for i, line in enumerate(lines) if set(line) == {"─"}), 0)
    call, words = "", []
    for line in [*lines[after:], "end"]:
        if line.startswith(" "):
            words.append(line.strip())
            continue
        if call:
            yield _option(call, " ".join(words))
        call, words = line, []


def _option(call: str, text: str) -> HelpOption:
    """Returns an option from its line and its text, which ends with the default."""
    name, _, beside = call.partition("  ")  # a short one has the begin of its text beside it
    text = f"{beside.strip()} {text}".strip()
    default = _DEFAULT.search(text)
    plain = (text[: default.start()] if default else text).replace("`", "")
    return HelpOption(name, plain, default[1] if default else "")


def _shown(option: HelpOption) -> tuple[str, str]:
    """Returns how an option is shown, and its text with the default, where that says something."""
    call, text = option.call, _capital(option.text)
    if not option.names:
        text = text.removesuffix(REQUIRED)  # the usage says it
    if option.default == "True" and len(option.names) > 1:
        return re.sub(r"^--([\w-]+\.)*", r"\g<0>[no-]", option.names[0]), f"{text} [on]"
    for pattern, plain in _PLAIN:
        call = pattern.sub(plain, call)
    return call, text if option.default in _UNSET else f"{text} [{option.default}]"


def _capital(text: str) -> str:
    """Returns a text that begins with a capital letter."""
    return text[:1].upper() + text[1:]


def _prose(lines: Sequence[str]) -> str:
    """Returns the text above the rule of a box; none without a rule."""
    rule = next((i for i, line in enumerate(lines) if line and set(line) == {"─"}), 0)
    return " ".join(line.strip() for line in lines[:rule])


def _about(what: str, docstring: str) -> str:
    """Returns what a verb does, and its docstring below the first line, for a screen."""
    paragraphs = [f"{_capital(what)}.", *docstring.partition("\n")[2].strip().split("\n\n")]
    plain = (re.sub(r"\s+", " ", p.replace("`", "")) for p in paragraphs if p.strip())
    return "\n\n".join(textwrap.fill(p, WIDTH) for p in plain)


def _operands(groups: Sequence[HelpGroup]) -> str:
    """Returns the words of a command line that are no options."""
    own = [o for g in groups if not g.name for o in g.options if not o.names]
    needed = {o.call: o.text.endswith(REQUIRED) for o in own}
    return "".join(f" {x}" if must else f" [{x.strip('[]')}]" for x, must in needed.items())


def _listed(group: HelpGroup) -> list[str]:
    """Returns the lines of a group."""
    lines = [f"--{group.name}: {group.about}" if group.name else "options:"]
    for option in group.options:
        lines += _entry(*_shown(option))
    return [*lines, ""]


def _entry(call: str, text: str) -> list[str]:
    """Returns the lines of an option: its call, and its text in a column beside or below it."""
    space = " " * COLUMN
    lines = textwrap.wrap(text, WIDTH, initial_indent=space, subsequent_indent=space)
    if len(call) + 4 <= COLUMN and lines:
        return [f"  {call}".ljust(COLUMN) + lines[0].strip(), *lines[1:]]
    return [f"  {call}", *lines]

"""python -m train completion bash: a script that completes these commands in a shell.

Verbs, options and what an option may be are completed, of python -m train and of mjx-s2r-robot. The
script holds all of them, so write it to a file once, and again after an update:

python -m train completion bash > ~/.mjx_s2r_completion.sh, and in ~/.bashrc: source
~/.mjx_s2r_completion.sh
"""

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import tyro

from mjx_s2r.api.gallery import gallery
from mjx_s2r.robot.cli.main import VERBS as ROBOT_VERBS
from mjx_s2r.robot.cli.parser import PROGRAM, Parser
from mjx_s2r.runtime import devices
from train.help_page import verb_options
from train.verbs import VERBS

_ZSH = "autoload -U +X compinit && compinit\nautoload -U +X bashcompinit && bashcompinit\n"
_FUNCTION = """\
{name}() {{
  local cur="${{COMP_WORDS[COMP_CWORD]}}" prev="${{COMP_WORDS[COMP_CWORD-1]}}"
  local verb="${{COMP_WORDS[{first}]}}" words=""
  if [ "$COMP_CWORD" -eq {first} ]; then
    COMPREPLY=($(compgen -W "{verbs}" -- "$cur"))
    return
  fi
  case "$verb $prev" in
{values}
  esac
  if [ -z "$words" ] && [ "${{cur:0:1}}" = "-" ]; then
    case "$verb" in
{options}
    esac
  fi
  COMPREPLY=($(compgen -W "$words" -- "$cur"))
}}
"""
_BOUND = """\
_mjx_s2r_python() {
  if [ "${COMP_WORDS[1]}" = "-m" ] && [ "${COMP_WORDS[2]}" = "train" ] && [ "$COMP_CWORD" -ge 3 ]
  then
    _mjx_s2r_train
  fi
}
complete -o default -o bashdefault -F _mjx_s2r_python python python3
complete -o default -o bashdefault -F _mjx_s2r_robot mjx-s2r-robot
"""


@dataclass(frozen=True)
class CompletionConfig:
    """Settings of the script."""

    shell: Annotated[Literal["bash", "zsh"], tyro.conf.Positional] = "bash"
    """The shell that it is for."""


@dataclass(frozen=True)
class Completed:
    """What can follow a verb: options, and the values of those that are confined to some."""

    options: tuple[str, ...]
    values: Mapping[str, tuple[str, ...]]


def main(argv: Sequence[str]) -> None:
    """Prints the script."""
    config = tyro.cli(CompletionConfig, args=list(argv))
    devices.configure()
    devices.import_mjx_quietly()
    train = {verb: _completed(verb) for verb in VERBS}
    robot = {verb: _robot(verb) for verb in ROBOT_VERBS}
    print(_ZSH if config.shell == "zsh" else "", end="")
    print(_function("_mjx_s2r_train", 3, train))
    print(_function("_mjx_s2r_robot", 1, robot))
    print(_BOUND, end="")


def _completed(verb: str) -> Completed:
    """Returns what can follow a verb of this program."""
    from mjx_s2r.curriculum.registry import CURRICULA
    from mjx_s2r.envs.registry import task_names

    named = {"task": task_names(), "curriculum": tuple(CURRICULA)}
    options: list[str] = ["--help"]
    values: dict[str, tuple[str, ...]] = {}
    for option in verb_options(verb):
        options += [name for name in option.names if name.startswith("--")]
        for name in option.names:
            known = option.choices or named.get(name.rpartition(".")[2].removeprefix("--"), ())
            if known:
                values[name] = known
        if option.choices and not option.names:
            values[verb] = option.choices
    if verb == "fly":
        values[verb] = tuple(gallery())
    return Completed(tuple(options), values)


def _robot(verb: str) -> Completed:
    """Returns what can follow a verb of the robot's program."""
    parser = Parser(f"{PROGRAM} {verb}", ROBOT_VERBS[verb])
    importlib.import_module(f"mjx_s2r.robot.cli.{verb}").VERB.add(parser)
    actions = parser._actions
    options = tuple(o for a in actions for o in a.option_strings if o.startswith("--"))
    values = {o: tuple(map(str, a.choices)) for a in actions for o in a.option_strings if a.choices}
    return Completed(options, values)


def _function(name: str, first: int, verbs: Mapping[str, Completed]) -> str:
    """Returns the function that completes a program whose verb is word number ``first``."""
    values = [
        f'    "{verb} {option}") words="{" ".join(known)}" ;;'
        for verb, told in verbs.items()
        for option, known in told.values.items()
    ]
    options = [f'      {verb}) words="{" ".join(told.options)}" ;;' for verb, told in verbs.items()]
    return _FUNCTION.format(
        name=name,
        first=first,
        verbs=" ".join(verbs),
        values="\n".join(values),
        options="\n".join(options),
    )

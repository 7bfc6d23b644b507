"""Limits of the guard from a file: TOML with the names of `SafetyConfig`."""

import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args, get_type_hints

from mjx_s2r.contract import ContractError
from mjx_s2r.params import unknown
from mjx_s2r.robot.safety import SafetyConfig

STAGED = "speed_fraction"  # comes from the stage alone


def read_limits(path: Path | None) -> SafetyConfig:
    """Returns the guard's limits, those that a file does not name at their defaults.

    Raises:
        ContractError: no file, no TOML, or a value of another type; ParamError: an unknown name,
            with the near ones, or a value out of its range.
    """
    usual = SafetyConfig()
    if path is None:
        return usual
    try:
        body = tomllib.loads(path.read_text())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ContractError(
            f"{path} holds no limits ({error}); write TOML, e.g. floor = 0.02"
        ) from error
    kinds = get_type_hints(SafetyConfig)
    known = [name for name in kinds if name != STAGED]
    values = {}
    for name, value in body.items():
        if name == STAGED:
            raise ContractError(f"{path}: {STAGED} comes from the stage; use --stage")
        if name not in known:
            raise unknown(f"limit in {path}", name, known)
        values[name] = _fitting(f"{path}: {name}", value, kinds[name], getattr(usual, name))
    return replace(usual, **values)


def _fitting(where: str, value: Any, kind: Any, usual: Any) -> Any:
    """Returns a value as a setting's type; a whole number may stand where any number may.

    Args:
        where: file and name.
        value: of the file.
        kind: type of the setting.
        usual: its default.

    Raises:
        ContractError: another type.
    """
    if isinstance(usual, tuple):
        element = get_args(kind)[0]
        is_word = element is str
        what = (
            'a list of names in quotes, e.g. ["joint_pos"]'
            if is_word
            else ("a list of numbers, e.g. [0.5, 0.5], with one per joint or corner")
        )
        fits = isinstance(value, list) and all(_fits(x, element) for x in value)
        found = tuple(map(element, value)) if fits else None
    else:
        element = type(usual)
        what = {
            str: f"a word in quotes, e.g. {usual!r}",
            int: "a whole number, e.g. 2",
            float: "a number, e.g. 0.5",
        }[element]
        found = element(value) if _fits(value, element) else None
    if found is None:
        raise ContractError(f"{where} = {value!r} must be {what}")
    return found


def _fits(value: Any, kind: type) -> bool:
    """Returns whether a value of TOML is one of a type."""
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    return type(value) is kind

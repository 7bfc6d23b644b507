"""Limits of the guard from a file: TOML with the names of `SafetyConfig`."""

import tomllib
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

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
    known = [f.name for f in fields(SafetyConfig) if f.name != STAGED]
    values = {}
    for name, value in body.items():
        if name == STAGED:
            raise ContractError(f"{path}: {STAGED} comes from the stage; use --stage")
        if name not in known:
            raise unknown(f"limit in {path}", name, known)
        values[name] = _fitting(f"{path}: {name}", value, getattr(usual, name))
    return replace(usual, **values)


def _fitting(where: str, value: Any, usual: Any) -> Any:
    """Returns a value as the default's type.

    Raises:
        ContractError: another type.
    """
    kind = "a number, e.g. 0.5"
    if isinstance(usual, tuple):
        kind = "a list, e.g. [0.5, 0.5], with one value per joint or corner"
        if isinstance(value, list) and all(type(x) is type(value[0]) for x in value):
            return tuple(value)
    elif isinstance(usual, str):
        kind = f"a word in quotes, e.g. {usual!r}"
        if isinstance(value, str):
            return value
    elif isinstance(value, int | float) and not isinstance(value, bool):
        return type(usual)(value)
    raise ContractError(f"{where} = {value!r} must be {kind}")

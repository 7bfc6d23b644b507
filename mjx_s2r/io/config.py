"""Settings: frozen dataclasses to and from plain values, as JSON holds them.

A setting may be bool, int, float, str, a path, a Literal, a tuple, another dataclass, or a union of
such with None; msgspec builds and checks them. Every error names the setting by its dotted path.
Numbers must be finite. The command line itself is not here: programs hand their dataclass to tyro.
"""

import dataclasses
import math
import re
import typing
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any, TypeVar

import msgspec

from mjx_s2r.params import unknown

T = TypeVar("T")


class ConfigError(ValueError):
    """A setting that cannot be used; the message names it by its dotted path."""


def to_dict(config: Any, where: str = "") -> Any:
    """Returns a dataclass as plain dicts, lists and scalars.

    Raises:
        ConfigError: NaN, infinity, or a value that JSON cannot hold; named by its path.
    """
    if dataclasses.is_dataclass(config) and not isinstance(config, type):
        config = {f.name: getattr(config, f.name) for f in dataclasses.fields(config)}
    if isinstance(config, PurePath):
        return str(config)
    if isinstance(config, Mapping):
        return {str(key): to_dict(value, _join(where, str(key))) for key, value in config.items()}
    if isinstance(config, list | tuple):
        return [to_dict(value, f"{where}[{i}]") for i, value in enumerate(config)]
    if isinstance(config, float) and not math.isfinite(config):
        raise ConfigError(f"{where}: {config} is not a finite number")
    if config is None or isinstance(config, bool | int | float | str):
        return config
    raise ConfigError(f"{where}: {type(config).__name__} cannot be written as JSON")


def from_dict(kind: type[T], body: Any) -> T:
    """Returns dataclass ``kind`` from plain dicts, lists and scalars; the reverse of `to_dict`.

    A key that is left out takes the default of its field.

    Raises:
        ConfigError: unknown or missing key, wrong type, NaN or infinity; named by its path.
    """
    try:
        config = msgspec.convert(body, kind, dec_hook=_read_path)
    except msgspec.ValidationError as error:
        raise ConfigError(_explain(error, kind, body)) from error
    _refuse_unknown(body, to_dict(config), "", kind.__name__)
    return config


def over(config: T, body: Any) -> T:
    """Returns ``config`` with the settings that ``body``, plain dicts in its shape, names.

    Raises:
        ConfigError: what `from_dict` raises.
    """
    return from_dict(type(config), _merged(to_dict(config), body))


def differences(old: Any, new: Any, where: str = "") -> dict[str, tuple[Any, Any]]:
    """Returns dotted path -> (old, new) of every setting that differs between two `to_dict`s."""
    if not (isinstance(old, Mapping) and isinstance(new, Mapping)):
        return {} if old == new else {where: (old, new)}
    out: dict[str, tuple[Any, Any]] = {}
    for name in dict.fromkeys([*old, *new]):
        out |= differences(old.get(name), new.get(name), _join(where, name))
    return out


def told_differences(found: Mapping[str, tuple[Any, Any]]) -> str:
    """Returns the `differences` of settings as words for people."""
    return "; ".join(f"{name} {was!r}, now {asked!r}" for name, (was, asked) in found.items())


def _merged(old: Any, new: Any) -> Any:
    """Returns ``old`` with what ``new`` names put in its place, dict by dict."""
    if not (isinstance(old, dict) and isinstance(new, Mapping)):
        return new
    return old | {name: _merged(old.get(name), value) for name, value in new.items()}


def _read_path(kind: type, value: Any) -> Any:
    """Returns a path from a string; msgspec asks for types that JSON does not have."""
    if kind is Path and isinstance(value, str):
        return Path(value)
    raise ValueError(f"expected {kind.__name__}, got {value!r}")


def _explain(error: msgspec.ValidationError, kind: Any, body: Any) -> str:
    """Returns what is wrong, after the dotted path that msgspec writes as "... - at `$.a.b[1]`"."""
    text, _, path = str(error).partition(" - at `$")
    path = path.rstrip("`").partition("[...]")[0]  # it does not say which key of a dict
    hint, value = kind, body
    for name, index in re.findall(r"\.(\w+)|\[(\d+)\]", path):
        value = value[name] if name else value[int(index)]
        hint = _field_type(hint, name) if name else hint
    if error.__cause__ is None:  # else the words are those of a check of our own
        choices = ", ".join(map(repr, _choices(hint)))
        text = f"must be one of {choices}" if text.startswith("Invalid enum") else text
        text = f"{text}: {value!r:.80}"
    return f"{path.lstrip('.') or kind.__name__}: {text}"


def _field_type(kind: Any, name: str) -> Any:
    """Returns the type of a field of ``kind``, a dataclass or a union with one."""
    options = filter(dataclasses.is_dataclass, (kind, *typing.get_args(kind)))
    return next((typing.get_type_hints(k)[name] for k in options), None)


def _choices(kind: Any) -> tuple[Any, ...]:
    """Returns the values of a Literal, also of one in a tuple or a union."""
    if typing.get_origin(kind) is typing.Literal:
        return typing.get_args(kind)
    return tuple(value for part in typing.get_args(kind) for value in _choices(part))


def _refuse_unknown(body: Any, known: Any, where: str, label: str) -> None:
    """Refuses keys that ``known``, the same settings in full, has not; msgspec passes them over.

    Raises:
        ConfigError: names the first, and near names.
    """
    if isinstance(body, list | tuple):
        for index, pair in enumerate(zip(body, known, strict=True)):
            _refuse_unknown(*pair, f"{where}[{index}]", label)
    if not isinstance(body, Mapping):
        return
    for name, value in body.items():
        if name not in known:
            raise ConfigError(str(unknown(f"setting of {where or label}:", name, list(known))))
        _refuse_unknown(value, known[name], _join(where, name), label)


def _join(where: str, name: str) -> str:
    """Returns a dotted path."""
    return f"{where}.{name}" if where else name

"""Settings: frozen dataclasses to and from JSON, and dotted overrides.

A setting may be bool, int, float, str, None, an Enum, a Literal, a tuple, a dict with string keys,
another dataclass, or a union of those. Every error names the setting by its dotted path. Numbers
must be finite. The command line itself is not here: programs hand their dataclass to tyro.
"""

import dataclasses
import enum
import json
import math
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any, Literal, TypeVar

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
        return {
            f.name: to_dict(getattr(config, f.name), _join(where, f.name))
            for f in dataclasses.fields(config)
        }
    if isinstance(config, enum.Enum):
        return config.name
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


def from_dict(kind: type[T], body: Any, where: str = "") -> T:
    """Returns dataclass ``kind`` from plain dicts, lists and scalars; the reverse of `to_dict`.

    A key that is left out takes the default of its field.

    Raises:
        ConfigError: unknown or missing key, wrong type, NaN or infinity; named by its path.
    """
    label = where or kind.__name__
    if not isinstance(body, Mapping):
        raise ConfigError(f"{label}: expected settings of {kind.__name__}, got {body!r}")
    fields = {f.name: f for f in dataclasses.fields(typing.cast(Any, kind)) if f.init}
    hints = typing.get_type_hints(kind)
    values = {}
    for name, value in body.items():
        if name not in fields:
            raise ConfigError(str(unknown(f"setting of {label}:", name, list(fields))))
        values[name] = _read(hints[name], value, _join(where, name))
    for name, field in fields.items():
        bare = field.default is field.default_factory is dataclasses.MISSING
        if name not in values and bare:
            raise ConfigError(f"{_join(where, name)}: missing and without a default")
    try:
        return kind(**values)
    except ConfigError:
        raise
    except ValueError as error:
        raise ConfigError(f"{label}: {error}") from error


def to_json(config: Any) -> str:
    """Returns a dataclass as JSON text; raises what `to_dict` raises."""
    return json.dumps(to_dict(config), indent=2, allow_nan=False) + "\n"


def from_json(kind: type[T], text: str) -> T:
    """Reads dataclass ``kind`` from JSON text.

    Raises:
        ConfigError: not JSON, or what `from_dict` raises.
    """
    try:
        body = json.loads(text)
    except ValueError as error:
        raise ConfigError(f"{kind.__name__} is not readable JSON: {error}") from error
    return from_dict(kind, body)


def over(config: T, body: Any) -> T:
    """Returns ``config`` with the settings that ``body``, plain dicts in its shape, names.

    Raises:
        ConfigError: what `from_dict` raises.
    """
    return from_dict(type(config), _merged(to_dict(config), body))


def override(config: T, assignments: Sequence[str]) -> T:
    """Returns ``config`` with settings replaced, each written "dotted.name=value".

    Raises:
        ConfigError: no "=", an unknown name, or a value of the wrong type.
    """
    body = to_dict(config)
    for text in assignments:
        path, equals, value = text.partition("=")
        if not equals:
            raise ConfigError(f"{text!r}: write an override as name=value, e.g. ppo.seed=3")
        hint, parent, name = _find(type(config), body, path.strip())
        parent[name] = _parse(hint, value.strip(), path.strip())
    return from_dict(type(config), body)


def differences(old: Any, new: Any, where: str = "") -> dict[str, tuple[Any, Any]]:
    """Returns dotted path -> (old, new) of every setting that differs between two `to_dict`s."""
    if not (isinstance(old, Mapping) and isinstance(new, Mapping)):
        return {} if old == new else {where: (old, new)}
    out: dict[str, tuple[Any, Any]] = {}
    for name in dict.fromkeys([*old, *new]):
        out |= differences(old.get(name), new.get(name), _join(where, name))
    return out


def _merged(old: Any, new: Any) -> Any:
    """Returns ``old`` with what ``new`` names put in its place, dict by dict."""
    if not (isinstance(old, dict) and isinstance(new, Mapping)):
        return new
    return old | {name: _merged(old.get(name), value) for name, value in new.items()}


def _find(kind: Any, body: Any, path: str) -> tuple[Any, dict[str, Any], str]:
    """Returns type, parent dict and last name of the setting at a dotted ``path``."""
    *parents, name = path.split(".")
    for i, part in enumerate(parents):
        kind, body = _child(kind, part, ".".join(parents[:i])), body[part]
        if not isinstance(body, dict):
            raise ConfigError(f"{path}: {'.'.join(parents[: i + 1])} holds {body!r}, not settings")
    return _child(kind, name, ".".join(parents)), body, name


def _child(kind: Any, name: str, where: str) -> Any:
    """Returns the type of the setting ``name`` within ``kind``."""
    options = [k for k in _members(kind) if dataclasses.is_dataclass(k)]
    hints: dict[str, Any] = {}
    for option in options:
        hints |= typing.get_type_hints(option)
    if name not in hints:
        label = where or getattr(kind, "__name__", str(kind))
        raise ConfigError(str(unknown(f"setting of {label}:", name, list(hints))))
    return hints[name]


def _parse(kind: Any, text: str, where: str) -> Any:
    """Returns the plain value that ``text`` stands for in a setting of type ``kind``."""
    try:
        literal = json.loads(text)
    except ValueError:
        literal = {"None": None, "True": True, "False": False}.get(text, text)
    if literal is None and types.NoneType in _members(kind):
        return None
    for value in (text, literal):
        try:
            return to_dict(_read(kind, value, where), where)
        except ConfigError as error:
            last = error
    raise last


def _members(kind: Any) -> tuple[Any, ...]:
    """Returns the alternatives of a union, or the type alone."""
    union = typing.get_origin(kind) in (typing.Union, types.UnionType)
    return typing.get_args(kind) if union else (kind,)


def _read(kind: Any, value: Any, where: str) -> Any:
    """Returns ``value`` as type ``kind``, or raises naming ``where``."""
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if len(_members(kind)) > 1:
        return _read_union(_members(kind), value, where)
    if origin is Literal:
        if not any(type(value) is type(arg) and value == arg for arg in args):
            raise ConfigError(f"{where}: {value!r} must be one of {', '.join(map(repr, args))}")
        return value
    if origin is tuple:
        return _read_tuple(args, value, where)
    if origin in (dict, Mapping) and isinstance(value, Mapping):
        return {key: _read(args[1], item, _join(where, key)) for key, item in value.items()}
    if dataclasses.is_dataclass(kind):
        return from_dict(typing.cast(type, kind), value, where)
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        if value not in kind.__members__:
            raise ConfigError(f"{where}: {value!r} must be one of {', '.join(kind.__members__)}")
        return kind[value]
    return _read_scalar(kind, value, where)


def _read_scalar(kind: Any, value: Any, where: str) -> Any:
    """Returns a bool, int, float, str, path or None, checked."""
    if kind is float and isinstance(value, int | float) and not isinstance(value, bool):
        if not math.isfinite(value):
            raise ConfigError(f"{where}: {value} is not a finite number")
        return float(value)
    if isinstance(kind, type) and issubclass(kind, PurePath) and isinstance(value, str):
        return kind(value)
    if kind in (bool, int, str, types.NoneType) and type(value) is kind:
        return value
    name = getattr(kind, "__name__", str(kind))
    raise ConfigError(f"{where}: expected {name}, got {value!r}")


def _read_tuple(args: tuple[Any, ...], value: Any, where: str) -> tuple[Any, ...]:
    """Returns a tuple of fixed or of any length from a list."""
    if not isinstance(value, list | tuple):
        raise ConfigError(f"{where}: expected a list, got {value!r}")
    kinds = [args[0]] * len(value) if args[-1:] == (...,) else list(args)
    if len(kinds) != len(value):
        raise ConfigError(f"{where}: expected {len(kinds)} values, got {len(value)}: {value!r}")
    return tuple(
        _read(kind, v, f"{where}[{i}]")
        for i, (kind, v) in enumerate(zip(kinds, value, strict=True))
    )


def _read_union(kinds: tuple[Any, ...], value: Any, where: str) -> Any:
    """Returns ``value`` as the first alternative that takes it."""
    errors = []
    for kind in kinds:
        try:
            return _read(kind, value, where)
        except ConfigError as error:
            errors.append(str(error))
    raise ConfigError("; or ".join(dict.fromkeys(e for e in errors if "NoneType" not in e)))


def _join(where: str, name: str) -> str:
    """Returns a dotted path."""
    return f"{where}.{name}" if where else name

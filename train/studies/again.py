"""What to type to get the same study again: every setting that is not as it is by default."""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, get_args, get_type_hints

from mjx_s2r.io.config import differences, to_dict

PLACES = ("run", "result")  # where a study lies; the same again may lie elsewhere


def study_command(name: str, config: Any, always: Sequence[str] = ()) -> str:
    """Returns the command line of a study.

    Args:
        name: of the study, as on the command line.
        config: its settings, a dataclass whose fields all have defaults.
        always: fields that are named although they are as by default.
    """
    base, now = (
        {name: value for name, value in to_dict(one).items() if name not in PLACES}
        for one in (type(config)(), config)
    )
    changed = {n: value for n, (_, value) in differences(base, now).items()}
    named = {n: now[n] for n in always} | changed
    words: list[str] = []
    parts: list[str] = []
    for option, value in named.items():
        if isinstance(value, Mapping):  # settings that are absent by default; tyro takes them last
            kind = _kind_of(config, option)
            parts.append(f"{option}:{kind.__name__.removesuffix('Config').lower()}-config")
            own = differences(to_dict(kind()), value, option)
            parts += [word for n, (_, x) in own.items() for word in _words(n, x)]
        else:
            words += _words(option, value)
    return shlex.join(["python", "-m", "train", "study", name, *words, *parts])


def _kind_of(config: Any, option: str) -> type[Any]:
    """Returns the class of settings that may be absent."""
    kinds = get_args(get_type_hints(type(config))[option])
    found: type[Any] = next(kind for kind in kinds if kind is not type(None))
    return found


def _words(option: str, value: Any) -> Iterator[str]:
    """Yields the words of one option: its dotted name and its values."""
    path, _, last = option.replace("_", "-").rpartition(".")
    last = f"no-{last}" if value is False else last
    yield f"--{path}.{last}" if path else f"--{last}"
    if not isinstance(value, bool):
        yield from map(str, value if isinstance(value, list) else (value,))

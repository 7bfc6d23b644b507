"""Drivers by name: from "bench", "udp://host:port" or "module:factory" to a `Driver`.

A name leads to a factory, which gets one `DriverOrder`. Factories live where their libraries are
and are imported when they are asked for, so that this room needs none of them: the stand-in's needs
the training install, a robot's own whatever its maker ships.
"""

import difflib
import importlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from mjx_s2r.contract import ContractError, PolicyContract
from mjx_s2r.robot.clock import Clock
from mjx_s2r.robot.driver import Driver

NEEDED = ("describe", "connect", "read", "write", "stop", "close")
KNOWN = {  # name -> factory, what to install, what follows the name
    "bench": ("mjx_s2r.robot.drivers.bench:bench_factory", "mjx_s2r[robot]", ""),
    "stand-in": ("mjx_s2r.api.stand_in:stand_in_factory", "mjx_s2r[train]", ""),
    "udp": ("mjx_s2r.robot.drivers.udp:udp_factory", "mjx_s2r[robot]", "//HOST:PORT"),
    "lerobot": ("mjx_s2r.robot.drivers.lerobot:lerobot_factory", "lerobot", "MODULE.FUNCTION"),
    "replay": ("mjx_s2r.robot.drivers.replay:replay_factory", "mjx_s2r[robot]", "FLIGHT_LOG"),
    "ros2": ("mjx_s2r.robot.drivers.ros2:ros2_factory", "mjx_s2r[robot]", ""),
}


@dataclass(frozen=True)
class DriverOrder:
    """What a factory makes a driver from.

    Attributes:
        contract: the policy that will drive the robot.
        clock: the time that the driver's stamps are in.
        address: what follows the name and its colon: "//host:port" of "udp://host:port".
        options: settings by name, as a command line gives them.
    """

    contract: PolicyContract
    clock: Clock
    address: str = ""
    options: Mapping[str, str] = field(default_factory=dict)

    def texts(self, **defaults: str) -> dict[str, str]:
        """Returns the options as they are given, those not given at their defaults.

        Raises:
            ContractError: an option that is not among the defaults.
        """
        for name in self.options:
            if name not in defaults:
                raise _unknown("driver option", name, list(defaults))
        return defaults | dict(self.options)

    def numbers(self, **defaults: float) -> dict[str, float]:
        """Returns the options as numbers, those not given at their defaults.

        Raises:
            ContractError: an option that is not among the defaults, or no number.
        """
        for name, text in self.options.items():
            if name not in defaults:
                raise _unknown("driver option", name, list(defaults))
            try:
                float(text)
            except (TypeError, ValueError) as error:
                raise ContractError(
                    f"driver option {name}={text!r} must be a number, e.g. {defaults[name]:g}"
                ) from error
        return {name: float(self.options.get(name, x)) for name, x in defaults.items()}


DriverFactory = Callable[[DriverOrder], Driver]


def open_driver(
    name: str, contract: PolicyContract, clock: Clock, options: Mapping[str, str] | None = None
) -> Driver:
    """Builds the driver of a name; it is not connected yet.

    Args:
        name: "bench", "stand-in", "ros2", "udp://HOST:PORT", "lerobot:MODULE.FUNCTION",
            "replay:FLIGHT_LOG", or "module:factory" with a function of one `DriverOrder`, or a
            class that takes nothing.
        contract: the policy that will drive it.
        clock: the time that its stamps are in.
        options: the factory's settings, by name.

    Raises:
        ContractError: an unknown name, with near ones; a factory that is missing or that makes no
            driver; what the factory itself refuses.
    """
    factory, address = _factory(name)
    order = DriverOrder(contract, clock, address, dict(options or {}))
    driver = factory(order) if _takes_order(factory) else factory()
    missing = [part for part in NEEDED if not callable(getattr(driver, part, None))]
    if missing:
        raise ContractError(
            f"driver {name!r} made a {type(driver).__name__} without {', '.join(missing)}; a "
            f"driver has the methods {', '.join(NEEDED)}"
        )
    return driver


def _factory(name: str) -> tuple[Callable[..., Any], str]:
    """Returns the factory of a name, and what follows the name."""
    head, colon, address = name.partition(":")
    if head in KNOWN:
        place, install, form = KNOWN[head]
        if bool(form) != bool(address):
            raise ContractError(f"driver {name!r} must read {head}{':' if form else ''}{form}")
        return _find(place, f"; the driver {head!r} needs: pip install '{install}'"), address
    if colon and all(part.isidentifier() for part in f"{head}.{address}".split(".")):
        return _find(name, ""), ""
    raise _unknown("driver", head, [*KNOWN, "module:factory"])


def _find(place: str, remedy: str) -> Callable[..., Any]:
    """Returns the callable at "module:name"."""
    module, _, name = place.partition(":")
    try:
        found = importlib.import_module(module)
    except ImportError as error:
        raise ContractError(f"cannot import {module!r}: {error}{remedy}") from error
    factory = getattr(found, name, None)
    if not callable(factory):
        near = [x for x in vars(found) if not x.startswith("_") and callable(vars(found)[x])]
        raise _unknown(f"factory in {module!r}", name, near)
    return factory


def _takes_order(factory: Callable[..., Any]) -> bool:
    """Returns whether a factory wants a `DriverOrder`; a plain class takes nothing."""
    try:
        parameters = inspect.signature(factory).parameters.values()
    except (TypeError, ValueError):  # written in C
        return False
    return any(
        p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
        for p in parameters
    )


def _unknown(kind: str, name: str, known: list[str]) -> ContractError:
    """Returns the error for a name that is not known, with near ones."""
    near = difflib.get_close_matches(name.casefold(), known, n=3, cutoff=0.4)
    hint = f"did you mean {', '.join(map(repr, near))}?" if near else f"known: {', '.join(known)}"
    return ContractError(f"unknown {kind} {name!r}; {hint}")

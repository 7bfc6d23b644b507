"""Drivers by name: from "bench", "udp://host:port" or "module:factory" to a `Driver`.

A name leads to a factory, which gets one `DriverOrder`. Factories live where their libraries are
and are imported when they are asked for, so that this room needs none of them: the stand-in's needs
the training install, a robot's own whatever its maker ships.
"""

import contextlib
import difflib
import importlib
import inspect
import io
import os
import sys
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from mjx_s2r.contract import ActionSpec, ContractError, PolicyContract
from mjx_s2r.robot.clock import Clock
from mjx_s2r.robot.driver import Driver

NEEDED = ("describe", "connect", "read", "write", "stop", "close")
KNOWN = {  # name -> factory, what to install, what follows the name
    "bench": ("mjx_s2r.robot.drivers.bench:bench_factory", "mjx_s2r[robot]", ""),
    "stand-in": ("mjx_s2r.api.stand_in:stand_in_factory", "mjx_s2r[train]", ""),
    "udp": ("mjx_s2r.robot.drivers.udp:udp_factory", "mjx_s2r[robot]", "//HOST:PORT"),
    "replay": ("mjx_s2r.robot.drivers.factories:replay_factory", "mjx_s2r[robot]", "LOG"),
    "lerobot": ("mjx_s2r.robot.drivers.factories:lerobot_factory", "lerobot", "module:function"),
    "ros2": ("mjx_s2r.robot.drivers.factories:ros2_factory", "mjx_s2r[robot]", ""),
}
# What a driver is made from before there is a policy for the robot.
UNKNOWN = PolicyContract(
    "collect",
    50.0,
    (),
    ActionSpec(("?",), "position", "rad", (1.0,), (0.0,), (-1.0,), (1.0,), (1.0,), (1.0,)),
)


@dataclass(frozen=True)
class DriverOrder:
    """What a factory makes a driver from.

    Attributes:
        contract: the policy that will drive the robot; `UNKNOWN` where there is none yet.
        clock: the time that the driver's stamps are in.
        address: what follows the name and its colon: "//host:port" of "udp://host:port".
        options: settings by name, as a command line gives them.
    """

    contract: PolicyContract
    clock: Clock
    address: str = ""
    options: Mapping[str, str] = field(default_factory=dict)

    @property
    def policy(self) -> PolicyContract | None:
        """The contract of the policy that will drive the robot; None where there is none yet."""
        return None if self.contract == UNKNOWN else self.contract

    def words(self, *known: str) -> dict[str, str]:
        """Returns the options of some names as they were given, "" where they were not.

        Raises:
            ContractError: none is known, and one was given.
        """
        for name in self.options if not known else ():
            raise ContractError(f"unknown driver option {name!r}; this driver has none")
        return {name: str(self.options.get(name, "")) for name in known}

    def numbers(self, *words: str, **defaults: float) -> dict[str, float]:
        """Returns the options as numbers, those not given at their defaults.

        Args:
            *words: options that are no numbers, and left out.
            **defaults: every other option.

        Raises:
            ContractError: an option that is none of these, or no number.
        """
        for name, text in self.options.items():
            if name in words:
                continue
            if name not in defaults:
                raise _unknown("driver option", name, [*words, *defaults])
            try:
                float(text)
            except (TypeError, ValueError) as error:
                raise ContractError(
                    f"driver option {name}={text!r} must be a number, e.g. {defaults[name]:g}"
                ) from error
        return {name: float(self.options.get(name, x)) for name, x in defaults.items()}


def open_driver(
    name: str, contract: PolicyContract, clock: Clock, options: Mapping[str, str] | None = None
) -> Driver:
    """Builds the driver of a name; it is not connected yet.

    Args:
        name: one of `KNOWN` with what follows it, e.g. "bench" or "udp://HOST:PORT"; or
            "module:factory" with a function of one `DriverOrder`, or a class that takes nothing.
        contract: the policy that will drive it.
        clock: the time that its stamps are in.
        options: the factory's settings, by name.

    Raises:
        ContractError: an unknown name, with near ones; a factory that is missing or that makes no
            driver; what the factory itself refuses or fails at.
    """
    factory, address = _factory(name)
    order = DriverOrder(contract, clock, address, dict(options or {}))
    try:
        driver = factory(order) if _takes_order(factory) else factory()
    except ContractError:
        raise
    except Exception as error:  # of somebody else's code, before anything has moved
        place = traceback.extract_tb(error.__traceback__)[-1]
        raise ContractError(
            f"driver {name!r} cannot be made: {type(error).__name__}: {error} ({place.filename}:"
            f"{place.lineno}); is the robot connected and switched on?"
        ) from error
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
        return import_callable(
            place, f"; the driver {head!r} needs: pip install '{install}'"
        ), address
    if colon and all(part.isidentifier() for part in f"{head}.{address}".split(".")):
        return import_callable(name), ""
    raise _unknown("driver", head, [*KNOWN, "module:factory"])


def import_callable(place: str, remedy: str = "") -> Callable[..., Any]:
    """Returns the callable at "module:name"; modules of the present folder are found, too.

    Raises:
        ContractError: it is not there; ``remedy`` ends the message.
    """
    module, _, name = place.partition(":")
    if os.getcwd() not in sys.path:  # a console script has its own folder there
        sys.path.insert(0, os.getcwd())
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # what libraries say of each other
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

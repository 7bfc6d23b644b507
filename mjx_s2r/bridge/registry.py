"""Environments of Brax and of MuJoCo Playground by name.

Both libraries come with ``pip install "mjx_s2r[peers]"``.
"""

import importlib
import subprocess
from collections.abc import Mapping
from types import ModuleType
from typing import Any

from mjx_s2r.bridge.wrapper import NO_ROWS, Success, WrappedEnv, from_brax
from mjx_s2r.params import ParamError, ParamSpace, unknown

LIBRARIES = ("brax", "playground")
PACKAGES = {"mujoco_playground": "playground"}


def missing(module: str, error: ModuleNotFoundError) -> ParamError:
    """Returns the error for a library that is not installed; it says how to install it."""
    package = module.partition(".")[0]
    return ParamError(
        f"{PACKAGES.get(package, package)} is needed and cannot be imported ({error}); install it "
        "with pip install 'mjx_s2r[peers]'"
    )


def require(module: str) -> ModuleType:
    """Returns a module of another library.

    Raises:
        ParamError: it is not installed; the message says how to.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise missing(module, error) from error


def make_peer(name: str) -> WrappedEnv:
    """Returns the environment that "brax:ant" or "playground:CartpoleSwingup" names.

    Raises:
        ParamError: an unknown library or environment, or a library that is not installed.
    """
    library, _, rest = name.partition(":")
    if library == "brax":
        return brax(rest)
    if library == "playground":
        return playground(rest)
    raise unknown("library", library, LIBRARIES)


def brax(
    name: str,
    space: ParamSpace = NO_ROWS,
    *,
    episode_length: int = 1000,
    action_repeat: int = 1,
    success: Success | None = None,
    **options: Any,
) -> WrappedEnv:
    """Returns an environment of Brax by name; ``options`` are its own, e.g. backend="mjx".

    Raises:
        ParamError: an unknown name, a row that does not fit, or Brax is not installed.
    """
    envs = require("brax.envs")
    if name not in envs._envs:
        raise unknown("environment of Brax", name, sorted(envs._envs))
    return from_brax(
        envs.get_environment(name, **options),
        space,
        episode_length=episode_length,
        action_repeat=action_repeat,
        success=success,
        name=f"brax:{name}",
    )


def playground(
    name: str,
    space: ParamSpace = NO_ROWS,
    *,
    config_overrides: Mapping[str, Any] | None = None,
    success: Success | None = None,
) -> WrappedEnv:
    """Returns an environment of MuJoCo Playground by name.

    Length of an episode and action repeat are its own (``config_overrides`` may set
    "episode_length" and "action_repeat"). It runs on MJX-JAX unless "impl" says otherwise.

    Raises:
        ParamError: an unknown name, a row that does not fit, models that cannot be downloaded, or
            Playground is not installed.
    """
    registry = require("mujoco_playground").registry
    if name not in registry.ALL_ENVS:
        raise unknown("environment of Playground", name, registry.ALL_ENVS)
    config = registry.get_default_config(name)
    overrides = {"impl": "jax"} if "impl" in config else {}
    overrides |= dict(config_overrides or {})
    try:
        env = registry.load(name, config=config, config_overrides=overrides)
    except (subprocess.SubprocessError, FileNotFoundError) as error:
        raise ParamError(
            f"playground:{name} needs robot models that Playground downloads at first use "
            f"({error}); run it once with a network and git, or choose an environment of its "
            "dm_control_suite"
        ) from error
    return from_brax(
        env,
        space,
        episode_length=int(config.episode_length),
        action_repeat=int(config.get("action_repeat", 1)),
        success=success,
        name=f"playground:{name}",
    )

"""Packages that only some uses of a log need, imported when they are needed."""

import importlib
from types import ModuleType

from mjx_s2r.robot.log.records import LogError


def need(module: str, use: str) -> ModuleType:
    """Returns a module of the extra `logs`.

    Args:
        module: dotted name.
        use: what it is for, in the error.

    Raises:
        LogError: it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise LogError(
            f"{use} needs the package {package!r} ({error}); pip install 'mjx_s2r[logs]'"
        ) from error

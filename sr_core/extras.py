"""One sentence when a part of the project is used without the packages it needs.

The core installs without Prefect, Ray, MLflow and DVC; whoever calls for them names the extra here.
"""

import importlib
from types import ModuleType

from sr_core.errors import SrError


class MissingExtraError(SrError, SystemExit):
    """A package of an optional extra is not installed.

    It is a SystemExit too: `python -m flows.train` meets it while importing, before any of our code could catch it.
    """

    def __init__(self, message: str) -> None:
        SystemExit.__init__(self, message)


def require(module: str, extra: str) -> ModuleType:
    """Imports `module`, a package of the project's extra `extra`.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != module.partition(".")[0]:
            raise  # it is installed, and itself misses something
        raise MissingExtraError(
            f"{error.name} is not installed: pip install -c constraints.txt -e '.[{extra}]'"
        ) from None

"""`prefect deployment run train-edsr` beside `prefect deployment run train-edsr/train-edsr`.

Prefect splits a deployment's name at the slash and refuses one without. Here flow and deployment share a name, so
a bare name can only mean one thing. Prefect loads this module through its start-up hooks (entry point group
`prefect.plugins`, switched on by `[plugins]` in prefect.toml) and therefore only in the project's folder.
"""

import functools
from typing import Any

from prefect.plugins import register_hook


@register_hook
def setup_environment(*, ctx: Any) -> None:
    """Lets Prefect's client read a name without a slash as `name/name`; without the means to, it says so once."""
    try:
        from prefect.client.orchestration import PrefectClient

        _accept_bare_names(PrefectClient)
    except (ImportError, AttributeError) as error:
        ctx.logger_factory("flows.bare_names").warning(
            "bare deployment names do not work with Prefect %s (%s): write train-edsr/train-edsr",
            ctx.prefect_version,
            error,
        )


def _accept_bare_names(client: Any) -> None:
    read = client.read_deployment_by_name
    if hasattr(read, "__wrapped__"):
        return

    @functools.wraps(read)
    async def read_deployment_by_name(self: Any, name: str, *args: Any, **kwargs: Any) -> Any:
        return await read(self, name if "/" in name else f"{name}/{name}", *args, **kwargs)

    client.read_deployment_by_name = read_deployment_by_name

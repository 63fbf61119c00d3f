"""Run a flow to its end in this process."""

from inspect import Signature, signature
from typing import Any, Literal, get_args

from flows.prefect_session import prefect_session
from tidemark.errors import ConfigurationError
from tidemark.settings import Settings

Flow = Literal["ingest", "promote", "check"]
FLOWS = get_args(Flow)


def run_flow(settings: Settings, name: str, **parameters: Any) -> Any:
    """Run one flow of FLOWS to its end in this process; what it returns, or its own error, raised."""
    if name not in FLOWS:
        raise ConfigurationError(f"expected a flow of {', '.join(FLOWS)}, received {name!r}")
    with prefect_session(settings):
        from prefect import tags
        from prefect.exceptions import ParameterTypeError

        from flows import automations, definitions
        from flows.automations import TAG

        automations.ensure(settings)
        flow = getattr(definitions, name)
        _check(name, signature(flow.fn), parameters)
        try:
            with tags(TAG):  # by which the alerts know a run of ours, as by its deployment's
                return flow(**parameters)
        except ParameterTypeError as error:
            raise ConfigurationError(f"flow {name}: expected other parameters, received {error}") from None


def _check(name: str, known: Signature, parameters: dict[str, Any]) -> None:
    """ConfigurationError where the flow needs another parameter, or has none of such a name."""
    try:
        known.bind(**parameters)
    except TypeError as error:
        named = [
            f"{one.name}=.." if one.default is one.empty else f"[{one.name}=..]" for one in known.parameters.values()
        ]
        raise ConfigurationError(
            f"flow {name}: expected `--param NAME=VALUE` of {', '.join(named) or 'no parameter'}, received {error}"
        ) from None

"""Run a flow to its end in this process."""

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
        from prefect.exceptions import ParameterBindError, ParameterTypeError, SignatureMismatchError

        from flows import definitions

        try:
            return getattr(definitions, name)(**parameters)
        except (ParameterBindError, ParameterTypeError, SignatureMismatchError) as error:
            raise ConfigurationError(f"flow {name}: expected other parameters, received {error}") from None

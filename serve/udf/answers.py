"""What UDF's client reads of a refusal: `s` and `errmsg`, whatever the status."""

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute

from serve.problems import Problem, bad_request


class UdfRoute(APIRoute):
    """A route whose problems its client can read."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """FastAPI's."""
        handler = super().get_route_handler()

        async def answered(request: Request) -> Response:
            try:
                return await handler(request)
            except Problem as problem:
                problem.more |= {"s": "error", "errmsg": problem.detail}
                raise
            except RequestValidationError as error:
                first = error.errors()[0]
                name = ".".join(str(part) for part in first["loc"][1:])
                problem = bad_request("not a value", f"{name}: {first['msg']}", repr(first.get("input")))
                problem.more |= {"s": "error", "errmsg": problem.detail}
                raise problem from None

        return answered

"""What UDF's client reads of a refusal: `s` and `errmsg`, whatever the status."""

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute

from serve.problems import Problem, invalid


class UdfRoute(APIRoute):
    """A route whose problems its client can read."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """FastAPI's."""
        handler = super().get_route_handler()

        async def answered(request: Request) -> Response:
            try:
                return await handler(request)
            except Problem as problem:
                raise _told(problem) from None
            except RequestValidationError as error:
                raise _told(invalid(error)) from None

        return answered


def _told(problem: Problem) -> Problem:
    problem.more |= {"s": "error", "errmsg": problem.detail}
    return problem

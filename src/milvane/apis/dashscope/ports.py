"""What this dialect asks of those who do work in the background."""

from typing import Protocol

from fastapi import Request, Response


class AsyncTasks(Protocol):
    """Takes requests to embed that carry `X-DashScope-Async: enable`."""

    async def submit(self, request: Request, content: bytes) -> Response:
        """
        Accept a request as a task, whatever its model; its body is parsed here.

        Args:
            request: As it came to the synchronous path; its state names the request id.

            content: Its body.

        Returns:
            The documented answer with the task's id, status `PENDING`.

        Raises:
            ServiceError: If the body is not such a request.
        """

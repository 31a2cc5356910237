"""What jobs ask of the front doors: how the lines of a job's files are written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

from milvane.domain.errors import ServiceError
from milvane.domain.jobs import Findings, Job, JobKind, JobOrder, NumberedLine, ResultForm
from milvane.serving.embedding import Embedded, EmbedRequest


class LineWork(Protocol):
    """One line of a job, read as what it asks for."""

    def request(self) -> EmbedRequest:
        """
        Say what is to be embedded.

        Raises:
            ServiceError: If the line does not say it rightly.
        """

    def render_result(self, embedded: Embedded) -> bytes:
        """Write the line's result, without a line end."""

    def render_failure(self, error: ServiceError) -> bytes:
        """Write why the line has no result, without a line end."""


class LineFormat(Protocol):
    """How one kind of job writes its lines. Its methods are pure and may be called in threads."""

    max_line_bytes: int
    result_form: ResultForm

    def inspect(self, lines: Iterable[NumberedLine], order: JobOrder, name: str) -> Findings:
        """
        Look at a whole input file before anything is computed.

        Args:
            lines: All of them, blank ones too, to be read once.

            order: What was asked for.

            name: What the file's owner calls it.
        """

    def read(self, line: NumberedLine, job: Job) -> LineWork:
        """Read one line of a file that was found good; never fails."""

    def expiry(self) -> ServiceError:
        """Say that a line was not done in time."""


LineFormats = Mapping[JobKind, LineFormat]

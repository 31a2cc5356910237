"""The lines of an asynchronous task's files: texts in, vectors out. Pure."""

from collections.abc import Iterable

import numpy as np
import orjson

from milvane.apis.dashscope.errors import message_of, row_of
from milvane.domain.catalogue import MODELS
from milvane.domain.errors import DeadlineExceeded, InvalidInput, ServiceError
from milvane.domain.files import FilePurpose
from milvane.domain.jobs import Findings, Job, JobOrder, LineProblem, NumberedLine, ResultForm
from milvane.domain.models import Lane, Model, ModelName
from milvane.serving.embedding import Embedded, EmbedRequest

MAX_LINES = 100_000
MAX_LINE_BYTES = 1024 * 1024
"""Far above what 2,048 tokens take; the model's own limit is told in tokens."""


class TextLines:
    """How tasks on a file of texts write their lines."""

    max_line_bytes = MAX_LINE_BYTES
    result_form = ResultForm(
        output_name="{job_id}.jsonl.gz",
        output_purpose=FilePurpose.TASK_RESULT,
        errors_name=None,
        errors_purpose=FilePurpose.TASK_RESULT,
        is_compressed=True,
        is_kept_empty=True,
    )

    def __init__(self, *, max_lines: int = MAX_LINES) -> None:
        self._max_lines = max_lines

    def inspect(self, lines: Iterable[NumberedLine], order: JobOrder, name: str) -> Findings:
        """Look at a whole input file: its name, its encoding, the number of its lines."""
        problems: list[LineProblem] = []
        total = 0
        if "." in name and not name.lower().endswith(".txt"):
            problems.append(LineProblem("InvalidFile.TypeNotTxt", "File type should be txt"))
        for line in () if problems else lines:
            total += bool(line.content.strip())
            problem = self._problem_of(line, total)
            if problem is not None:
                problems.append(problem)
                break
        if not total and not problems:
            problems.append(LineProblem("InvalidFile.Empty", "The file has no texts."))
        return Findings(total, order.model, tuple(problems))

    def read(self, line: NumberedLine, job: Job) -> "TextLine":
        """Read one line of a file that was found good."""
        return TextLine(line, job)

    def expiry(self) -> ServiceError:
        """Say that a line was not done in time."""
        return DeadlineExceeded("the task expired before this line was reached")

    def _problem_of(self, line: NumberedLine, total: int) -> LineProblem | None:
        if total > self._max_lines:
            message = f"The file has more than {self._max_lines} lines."
            return LineProblem("InvalidFile.TooManyLines", message)
        if len(line.content) > self.max_line_bytes:
            message = f"Line {line.number} has more than {self.max_line_bytes} bytes."
            return LineProblem("InvalidFile.LineTooLong", message, line.number)
        try:
            line.content.decode()
        except UnicodeDecodeError:
            message = f"Line {line.number} is not UTF-8."
            return LineProblem("InvalidFile.NotUtf8", message, line.number)
        return None


class TextLine:
    """One text of a task."""

    def __init__(self, line: NumberedLine, job: Job) -> None:
        self._line = line
        self._job = job

    def request(self) -> EmbedRequest:
        """Say what is to be embedded, behind those who wait."""
        return EmbedRequest(
            model=self._job.model,
            texts=[self._line.content.decode()],
            purpose=self._job.order.purpose,
            lane=Lane.BULK,
        )

    def render_result(self, embedded: Embedded) -> bytes:
        """Write the vector under the number of the text's line."""
        output = {
            "code": 200,
            "message": "Success",
            "embedding": np.ascontiguousarray(embedded.vectors[0]),
            "text_index": self._line.number,
        }
        usage = {"total_tokens": embedded.total_tokens}
        return orjson.dumps({"output": output, "usage": usage}, option=orjson.OPT_SERIALIZE_NUMPY)

    def render_failure(self, error: ServiceError) -> bytes:
        """Write why there is no vector, under the number of the text's line."""
        output = {
            "code": row_of(error).status,
            "message": message_of(_numbered(error, self._line.number), self._model),
            "text_index": self._line.number,
        }
        return orjson.dumps({"output": output, "usage": {"total_tokens": 0}})

    @property
    def _model(self) -> Model | None:
        return MODELS.get(ModelName(self._job.model))


def _numbered(error: ServiceError, number: int) -> ServiceError:
    """Have a message that names input 0 name the line instead: each line is a request."""
    if isinstance(error, InvalidInput) and error.index is not None:
        error.message = error.message.replace(f"input {error.index}", f"line {number}", 1)
        error.index = number
    return error

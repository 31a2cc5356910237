"""The lines of a batch's files: requests in, answers and failures out. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from hashlib import blake2b
from typing import Any
from uuid import UUID

import orjson

from milvane.apis.openai.errors import message_of, row_of
from milvane.apis.openai.token_ids import count_inputs
from milvane.apis.openai.translate import (
    find_offered_model,
    parse_embeddings,
    render_embeddings,
    to_request,
)
from milvane.apis.openai.wire import EmbeddingsBody
from milvane.apis.ports import TokenTexts
from milvane.domain.catalogue import MODELS, weights_of
from milvane.domain.errors import DeadlineExceeded, InvalidInput, ServiceError
from milvane.domain.files import FilePurpose
from milvane.domain.jobs import Findings, Job, JobOrder, LineProblem, NumberedLine, ResultForm
from milvane.domain.models import Lane, ModelName
from milvane.serving.embedding import Embedded, EmbedRequest

MAX_LINES = 50_000
MAX_LINE_BYTES = 6 * 1024 * 1024
MAX_PROBLEMS = 100
"""So many are told; a file of 50,000 bad lines need not name each."""
MAX_CUSTOM_ID_CHARACTERS = 512


class BatchExpired(DeadlineExceeded):
    """A line was not reached before its batch expired."""


@dataclass(frozen=True, slots=True)
class BatchRequest:
    """What a line of the input says, before its body is looked at."""

    custom_id: str
    method: object
    url: object
    body: dict[str, Any]


def parse_line(line: NumberedLine, *, max_line_bytes: int = MAX_LINE_BYTES) -> BatchRequest:
    """
    Read a line of an input file.

    Raises:
        LineRejected: If it is not a request with an id.
    """
    if len(line.content) > max_line_bytes:
        raise LineRejected(
            "line_too_long", f"This line has more than {max_line_bytes} bytes.", parameter=None
        )
    try:
        fields = orjson.loads(line.content)
    except orjson.JSONDecodeError as error:
        raise LineRejected(
            "invalid_json_line", f"This line is not parseable as valid JSON: {error}."
        ) from error
    if not isinstance(fields, dict):
        raise LineRejected("invalid_json_line", "This line is not a JSON object.")
    custom_id = fields.get("custom_id")
    if not isinstance(custom_id, str) or not 1 <= len(custom_id) <= MAX_CUSTOM_ID_CHARACTERS:
        raise LineRejected(
            "missing_required_parameter",
            f"custom_id must be a string of 1 to {MAX_CUSTOM_ID_CHARACTERS} characters.",
            parameter="custom_id",
        )
    body = fields.get("body")
    if not isinstance(body, dict):
        raise LineRejected(
            "missing_required_parameter", "body must be a JSON object.", parameter="body"
        )
    return BatchRequest(custom_id, fields.get("method"), fields.get("url"), body)


class LineRejected(Exception):
    """A line of an input file is wrong, and with it the file."""

    def __init__(self, code: str, message: str, *, parameter: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.parameter = parameter


@dataclass(slots=True)
class _Inspection:
    """What is known of a file after some of its lines."""

    endpoint: str
    max_lines: int
    max_line_bytes: int
    total: int = 0
    model: str = ""
    custom_ids: set[str] = field(default_factory=set)
    problems: list[LineProblem] = field(default_factory=list)

    def take(self, line: NumberedLine) -> None:
        self.total += 1
        try:
            self._check(parse_line(line, max_line_bytes=self.max_line_bytes))
        except LineRejected as wrong:
            self.problems.append(
                LineProblem(wrong.code, wrong.message, line.number, wrong.parameter)
            )

    def _check(self, request: BatchRequest) -> None:
        if request.custom_id in self.custom_ids:
            raise LineRejected(
                "duplicate_custom_id",
                f"The custom_id '{request.custom_id}' for this request is a duplicate of another "
                "request. The custom_id parameter must be unique for each request in a batch.",
                parameter="custom_id",
            )
        self.custom_ids.add(request.custom_id)
        if request.method != "POST":
            raise LineRejected("invalid_method", "method must be 'POST'.", parameter="method")
        if request.url != self.endpoint:
            raise LineRejected(
                "mismatched_url",
                f"The url of this request does not match the batch's endpoint {self.endpoint}.",
                parameter="url",
            )
        self._check_model(request.body.get("model"))

    def _check_model(self, model: object) -> None:
        if not isinstance(model, str) or not model:
            raise LineRejected(
                "missing_required_parameter", "body.model must be a string.", parameter="model"
            )
        if not self.model:
            self.model = model
            if not is_offered(model):
                raise LineRejected(
                    "model_not_found",
                    f"The provided model '{model[:256]}' is not supported by the Batch API.",
                    parameter="model",
                )
        elif model != self.model:
            raise LineRejected(
                "mismatched_model",
                f"The model '{model[:256]}' for this request does not match the rest of the "
                "batch. Each batch must contain requests for a single model.",
                parameter="model",
            )


class BatchLines:
    """How batches write their lines."""

    result_form = ResultForm(
        output_name="{job_id}_output.jsonl",
        output_purpose=FilePurpose.BATCH_OUTPUT,
        errors_name="{job_id}_error.jsonl",
        errors_purpose=FilePurpose.BATCH_ERROR,
        is_compressed=False,
        is_kept_empty=False,
    )

    def __init__(
        self,
        *,
        max_inputs: int,
        vocabulary: TokenTexts | None = None,
        max_lines: int = MAX_LINES,
        max_line_bytes: int = MAX_LINE_BYTES,
    ) -> None:
        """
        Set the limits.

        Args:
            max_inputs: Texts of one line.

            vocabulary: What inputs mean that are token ids; none refuses them.

            max_lines: Lines of one file that are not blank.

            max_line_bytes: Bytes of one line without its end.
        """
        self.max_line_bytes = max_line_bytes
        self._max_lines = max_lines
        self._max_inputs = max_inputs
        self._vocabulary = vocabulary

    def inspect(self, lines: Iterable[NumberedLine], order: JobOrder, name: str) -> Findings:  # noqa: ARG002
        """Look at a whole input file; stops early when there is enough to say against it."""
        seen = _Inspection(order.endpoint, self._max_lines, self.max_line_bytes)
        for line in lines:
            if not line.content.strip():
                continue
            seen.take(line)
            if seen.total > self._max_lines:
                message = f"The file has more than {self._max_lines} requests."
                seen.problems.append(LineProblem("too_many_lines", message))
                break
            if len(seen.problems) >= MAX_PROBLEMS:
                break
        if not seen.total:
            seen.problems.append(LineProblem("empty_file", "The file has no requests."))
        return Findings(seen.total, seen.model, tuple(seen.problems))

    def read(self, line: NumberedLine, job: Job) -> "BatchLine":
        """Read one line of a file that was found good."""
        request = parse_line(line, max_line_bytes=self.max_line_bytes)
        seed = blake2b(f"{job.id}:{line.number}".encode(), digest_size=16).digest()
        return BatchLine(request, UUID(bytes=seed), self._max_inputs, self._vocabulary)

    def expiry(self) -> ServiceError:
        """Say that a line was not done in time."""
        return BatchExpired(
            "This request could not be executed before the completion window expired."
        )


class BatchLine:
    """One request of a batch."""

    def __init__(
        self,
        request: BatchRequest,
        line_id: UUID,
        max_inputs: int,
        vocabulary: TokenTexts | None,
    ) -> None:
        self._request = request
        self._id = line_id
        self._max_inputs = max_inputs
        self._vocabulary = vocabulary

    def request(self) -> EmbedRequest:
        """Say what is to be embedded, behind those who wait."""
        body = self._body
        find_offered_model(body.model, inputs=count_inputs(body.input), are_limits_strict=False)
        return replace(to_request(body, self._vocabulary), lane=Lane.BULK)

    def render_result(self, embedded: Embedded) -> bytes:
        """Write the answer that a request on its own would have had."""
        pieces = render_embeddings(embedded, body=self._body, request_id=str(self._id))
        # The answer is put in as it is: to parse and write it again would double the work.
        return b'%b"response":{"status_code":200,"request_id":%b,"body":%b},"error":null}' % (
            self._opening(),
            orjson.dumps(str(self._id)),
            b"".join(pieces),
        )

    def render_failure(self, error: ServiceError) -> bytes:
        """Write why there is no answer."""
        model = MODELS.get(ModelName(str(self._request.body.get("model"))))
        row, message = row_of(error), message_of(error, model)
        if isinstance(error, BatchExpired):
            told = {"code": "batch_expired", "message": message}
            return self._opening() + orjson.dumps({"response": None, "error": told})[1:]
        parameter = error.parameter if isinstance(error, InvalidInput) else None
        detail = {"message": message, "type": row.type, "param": parameter, "code": row.code}
        response = {
            "status_code": row.status,
            "request_id": str(self._id),
            "body": {"error": detail},
        }
        told = {"code": row.code, "message": message}
        return self._opening() + orjson.dumps({"response": response, "error": told})[1:]

    @cached_property
    def _body(self) -> EmbeddingsBody:
        return parse_embeddings(orjson.dumps(self._request.body), max_inputs=self._max_inputs)

    def _opening(self) -> bytes:
        opening = {"id": f"batch_req_{self._id.hex}", "custom_id": self._request.custom_id}
        return orjson.dumps(opening)[:-1] + b","


def is_offered(name: str) -> bool:
    """Say whether batches of a model can be run here."""
    try:
        return weights_of(find_offered_model(name, inputs=1, are_limits_strict=False)) is not None
    except ServiceError:
        return False

"""Single JSON values as Milvus's types."""

from __future__ import annotations

import base64

import numpy as np
import pytest
from pymilvus.grpc_gen import schema_pb2

from milvane.gateway.rest_v2.values import Unreadable, read_scalar, read_sparse, read_vector_bytes

DataType = schema_pb2.DataType
BITS = {DataType.Int8: 8, DataType.Int16: 16, DataType.Int32: 32, DataType.Int64: 64}


@pytest.mark.parametrize("data_type", BITS, ids=DataType.Name)
def test_integer_fills_its_range_and_no_more(data_type: int) -> None:
    """The bounds are taken, as numbers and as text; one beyond is refused."""
    high = 2 ** (BITS[data_type] - 1)
    for bound in (-high, high - 1):
        assert read_scalar(bound, data_type) == bound
        assert read_scalar(str(bound), data_type) == bound
    for beyond in (-high - 1, high, str(high)):
        with pytest.raises(Unreadable):
            read_scalar(beyond, data_type)


@pytest.mark.parametrize("value", [True, 1.0, "1.0", "", " 1", "1_0", "x", None, [1], "9" * 40])
def test_what_is_no_integer_is_refused(value: object) -> None:
    """Nothing is rounded or guessed."""
    with pytest.raises(Unreadable):
        read_scalar(value, DataType.Int64)


@pytest.mark.parametrize(
    ("value", "expected"), [(True, True), ("false", False), ("T", True), (0, False), ("1", True)]
)
def test_boolean_may_be_written_as_go_reads_it(value: object, expected: object) -> None:
    """As Milvus takes it."""
    assert read_scalar(value, DataType.Bool) is expected


@pytest.mark.parametrize("value", ["yes", 2, None, [], {}])
def test_what_is_no_boolean_is_refused(value: object) -> None:
    """Also what is true for Python."""
    with pytest.raises(Unreadable):
        read_scalar(value, DataType.Bool)


@pytest.mark.parametrize(
    ("value", "data_type", "takes"),
    [
        (3.4028234e38, DataType.Float, True),
        (3.5e38, DataType.Float, False),
        (3.5e38, DataType.Double, True),
        ("1e5", DataType.Double, True),
        ("nan", DataType.Double, False),
        (True, DataType.Double, False),
        (10**400, DataType.Double, False),
    ],
)
def test_float_stays_in_its_range(value: object, data_type: int, takes: bool) -> None:
    """What would become infinite is refused."""
    if takes:
        assert read_scalar(value, data_type) == pytest.approx(float(value))
        return
    with pytest.raises(Unreadable):
        read_scalar(value, data_type)


@pytest.mark.parametrize(("value", "text"), [("a", "a"), (5, "5"), (1.5, "1.5"), (True, "true")])
def test_scalar_becomes_a_text(value: object, text: str) -> None:
    """As Milvus takes it; what has parts is refused."""
    assert read_scalar(value, DataType.VarChar) == text
    with pytest.raises(Unreadable):
        read_scalar([value], DataType.VarChar)


def test_half_precision_comes_from_numbers_or_bytes() -> None:
    """Numbers are rounded to the nearest, bytes taken as they are."""
    numbers = [1.0, -2.5, 0.1, 65504.0]
    packed = np.asarray(numbers, dtype="<f2").tobytes()
    assert read_vector_bytes(numbers, DataType.Float16Vector, 4) == packed
    encoded = base64.b64encode(packed).decode()
    assert read_vector_bytes(encoded, DataType.Float16Vector, 4) == packed


@pytest.mark.parametrize(
    ("number", "bits"),
    [(1.0, 0x3F80), (1.00390625, 0x3F80), (1.01171875, 0x3F82), (-2.0, 0xC000), (0.1, 0x3DCD)],
)
def test_bfloat16_is_rounded_to_the_nearest(number: float, bits: int) -> None:
    """Ties go to the even neighbour."""
    assert read_vector_bytes([number], DataType.BFloat16Vector, 1) == bits.to_bytes(2, "little")


@pytest.mark.parametrize(
    ("value", "data_type", "packed"),
    [
        ([255, 0], DataType.BinaryVector, b"\xff\x00"),
        ([-128, 127] * 8, DataType.Int8Vector, b"\x80\x7f" * 8),
    ],
)
def test_bytes_may_be_written_as_numbers(value: object, data_type: int, packed: bytes) -> None:
    """Of a binary vector each is eight components."""
    assert read_vector_bytes(value, data_type, 16) == packed


@pytest.mark.parametrize("value", [[256, 0], [-1, 0], [0], "AA==", "*", [0.5, 0], None])
def test_binary_vector_that_does_not_fit_is_refused(value: object) -> None:
    """Neither padded nor cut."""
    with pytest.raises(Unreadable):
        read_vector_bytes(value, DataType.BinaryVector, 16)


@pytest.mark.parametrize(
    "value",
    [
        [0.5],
        {"a": 0.5},
        {"-1": 0.5},
        {"4294967295": 0.5},
        {"1": None},
        {"indices": [1], "values": []},
        {"indices": [2, 2], "values": [0.1, 0.2]},
    ],
)
def test_sparse_vector_that_is_none_is_refused(value: object) -> None:
    """Indices are 32-bit numbers, each once."""
    with pytest.raises(Unreadable):
        read_sparse(value)

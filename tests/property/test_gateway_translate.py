"""What holds for all functions, rows and vectors on their way through the gateway."""

from __future__ import annotations

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy
from numpy.typing import NDArray
from pymilvus.grpc_gen import milvus_pb2, schema_pb2

from milvane.gateway.translate.functions import (
    EmbeddingFunction,
    FunctionRecord,
    decode_record,
    encode_record,
)
from milvane.gateway.translate.rows import append_columns
from milvane.gateway.translate.vectors import vector_column

names = st.text(min_size=1, max_size=30).filter(lambda text: text.isprintable())
functions = st.builds(
    EmbeddingFunction,
    position=st.integers(0, 63),
    name=names,
    description=st.text(max_size=50).filter(lambda text: text.isprintable()),
    input_field=names,
    output_field=names,
    params=st.lists(st.tuples(names, names), max_size=4).map(tuple),
    model=names,
    dimension=st.integers(1, 32768),
)
records = st.builds(
    FunctionRecord,
    revision=st.integers(0, 2**63 - 1),
    functions=st.lists(functions, max_size=3).map(tuple),
    description=st.text(max_size=50).filter(lambda text: text.isprintable()),
    field_descriptions=st.dictionaries(names, names, max_size=3).map(lambda d: tuple(d.items())),
)
matrices = st_numpy.arrays(
    np.float32,
    st.tuples(st.integers(1, 5), st.integers(1, 70)),
    elements=st.floats(-1, 1, width=32),
)


@given(records)
def test_record_survives_the_property(record: FunctionRecord) -> None:
    """What is read from the hidden property is what was written to it."""
    assert decode_record(encode_record(record)) == record


@given(matrices, st.integers(0, 400))
@example(np.zeros((1, 1), np.float32), 0)
@example(np.zeros((1, 32), np.float32), 0)  # 128 bytes: the length takes a second byte
def test_appending_equals_adding(vectors: NDArray[np.float32], text_length: int) -> None:
    """Appending a column's bytes gives the message that adding the column gives."""
    request = milvus_pb2.InsertRequest(collection_name="c" * text_length, num_rows=len(vectors))
    request.fields_data.add(field_name="document").scalars.string_data.data.extend(
        ["t" * text_length] * len(vectors)
    )
    field = schema_pb2.FieldSchema(name="dense", fieldID=102)
    column = vector_column(field, vectors)
    appended = append_columns(request.SerializeToString(), [column])
    added = request.fields_data.add(
        type=schema_pb2.DataType.FloatVector, field_name="dense", field_id=102
    )
    added.vectors.dim = vectors.shape[1]
    added.vectors.float_vector.data.extend(vectors.ravel().tolist())
    assert milvus_pb2.InsertRequest.FromString(appended) == request

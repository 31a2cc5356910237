"""Create, insert, search and drop over TLS, and print what was found as JSON."""

import json
import sys
from importlib.metadata import version

from pymilvus import DataType, Function, FunctionType, MilvusClient, MilvusException

uri, authority, *pair = sys.argv[1:]
files = {"server_pem_path": authority}
if pair:
    files = {
        "ca_pem_path": authority,
        "client_pem_path": pair[0],
        "client_key_path": pair[1],
    }
how = {"secure": True, "server_name": "localhost", "timeout": 10, **files}
client = MilvusClient(uri=uri, token="root:Milvus", **how)
name = "over_tls"
schema = MilvusClient.create_schema()
schema.add_field("id", DataType.INT64, is_primary=True)
schema.add_field("document", DataType.VARCHAR, max_length=1000)
schema.add_field("dense", DataType.FLOAT_VECTOR, dim=1024)
schema.add_function(
    Function(
        name="embedding",
        function_type=FunctionType.TEXTEMBEDDING,
        input_field_names=["document"],
        output_field_names=["dense"],
        params={"provider": "aliyun_milvus", "model_name": "text-embedding-v4"},
    )
)
index = client.prepare_index_params()
index.add_index("dense", index_type="AUTOINDEX", metric_type="COSINE")
client.create_collection(name, schema=schema, index_params=index)
client.insert(
    name,
    [{"id": 1, "document": "The cat sleeps."}, {"id": 2, "document": "Stock markets fell."}],
)
found = client.search(name, ["pet"], anns_field="dense", limit=1, consistency_level="Strong")
client.drop_collection(name)
client.close()
try:
    MilvusClient(uri=uri, token="root:wrong", **how)
    refused = ""
except MilvusException as error:
    refused = str(error)
print(json.dumps({"version": version("pymilvus"), "id": found[0][0]["id"], "refused": refused}))

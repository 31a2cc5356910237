"""
Copies collections between Milvus endpoints, and between an endpoint and a folder.

Rows travel as the columns that the Milvus protocol has, vectors included: nothing is embedded
again, whatever type is kept, and embedding functions stay attached. Pure are `collections`,
`columns`, `tables` and `progress`; `endpoints` and `folders` are the places that rows come from
and go to; `copying` is the loop between two of them.
"""

"""
The API of the AI Search Open Platform: text, sparse and multimodal embeddings by service id.

Field names, limits, rates and error codes are those of the public documents. May import `serving`
and `domain`.
"""

"""Classic calls of the dashscope package against an address; prints what came back as JSON."""

import json
import sys

import dashscope

MODEL = "text-embedding-v4"


def summary(answer):
    """Keep what a caller reads, with the length of vectors in place of them."""
    output = answer.output
    if output and "embeddings" in output:
        output = [
            {
                "keys": sorted(item),
                "width": len(item.get("embedding", [])),
                "first": item.get("embedding", [None])[0],
                "terms": item.get("sparse_embedding"),
            }
            for item in output["embeddings"]
        ]
    return {
        "status": int(answer.status_code),
        "code": answer.code,
        "message": answer.message,
        "output": output,
        "usage": answer.usage,
        "has_request_id": bool(answer.request_id),
    }


def main():
    """Make every kind of call."""
    dashscope.base_http_api_url = sys.argv[1] + "/api/v1"
    dashscope.api_key = "any"
    embed, contents = dashscope.TextEmbedding.call, dashscope.MultiModalEmbedding.call
    answers = [
        embed(model=MODEL, input="hello world"),
        embed(model=MODEL, input=["a", "b"], dimension=64, text_type="query"),
        embed(model=MODEL, input=["a b"], output_type="sparse"),
        embed(model=MODEL, input=["a b"], output_type="dense&sparse", instruct="Find"),
        embed(model="text-embedding-v1", input=[str(number) for number in range(25)]),
        embed(model=MODEL, input=["a", ""]),
        embed(model=MODEL, input=[]),
        embed(model="no-such", input="a"),
        embed(model="qwen3-vl-embedding", input="a"),
        contents(model="qwen3-vl-embedding", input=[{"text": "a"}]),
        contents(model=MODEL, input=[{"text": "a"}]),
        dashscope.Models.list(page=1, page_size=3),
    ]
    print(
        json.dumps(
            {"version": dashscope.version.__version__, "answers": list(map(summary, answers))}
        )
    )


if __name__ == "__main__":
    main()

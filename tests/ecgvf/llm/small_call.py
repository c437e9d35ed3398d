from pydantic import BaseModel

from ecgvf.llm.calls import Call


class Answer(BaseModel):
    text: str


def call(**fields: object) -> Call:
    """For ten prompt pairs of church; ``fields`` override its fields."""
    blank = {
        "writer": "gpt",
        "sdk": "openai",
        "model": "m",
        "concept": "church",
        "split": "train",
        "iteration": 0,
        "restarts": 0,
        "base_url": "http://localhost/v1",
        "count": 10,
        "prompt": "Write 10 prompt pairs",
        "template": "object/pairs@2",
        "template_hash": "h",
        "structure": "schema",
        "max_output_tokens": 1000,
        "schema": Answer,
    }
    return Call(**{**blank, **fields})  # type: ignore[arg-type]

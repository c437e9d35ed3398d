"""Count how long COCO-30k takes on 1, 8 and 64 GPUs: bytes and FLOPs of Janus-Pro at the roofs of an H100.

    python -m benchmarks.coco --out docs/coco.json

Nothing is rendered. A batch costs at least what ``ecgvf.janus.roofline`` counts; a real run reaches a share of that
roof, here the share that Janus-nano reached on a CPU (docs/render.json). Shards are assigned whole, so that the last
ones leave GPUs idle.

The last line of standard output is JSON: ``prompts``, ``shards``, ``batch_size``, ``share_of_roof``, ``gpu``, what each
model costs (``count``) and ``met``, which is null: there is no goal.
"""

import math
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.full_size import H100, full_size, share_of_roof, weight_bytes
from benchmarks.result import finish, program
from ear.prompt_images import SHARD
from ecgvf.janus.kv_cache import bytes_per_position
from ecgvf.janus.roofline import batch_cost

PROMPTS = 30_000
GPUS = (1, 8, 64)
PROMPT_TOKENS = 20
"""A caption in the chat template."""


def count(size: str, batch_size: int, share: float) -> dict[str, Any]:
    """What Janus-Pro of ``size`` costs: per batch, and for all prompts on each number of GPUs."""
    model = full_size(size)
    cost = batch_cost(model, batch_size, prompt_length=PROMPT_TOKENS)
    seconds = cost.seconds(H100)
    positions = 2 * batch_size * (PROMPT_TOKENS + model.image_tokens)
    shards = math.ceil(PROMPTS / SHARD)
    shard_seconds = SHARD / batch_size * seconds / share
    return {
        "weights_gb": round(weight_bytes(model) / 1e9, 1),
        "cache_gb": round(positions * bytes_per_position(model.model.config.text_config, model.dtype) / 1e9, 1),
        "batch_tb": round(sum(kernel.calls * kernel.bytes for kernel in cost.kernels) / 1e12, 2),
        "batch_pflop": round(sum(kernel.calls * kernel.flops for kernel in cost.kernels) / 1e15, 2),
        "batch_seconds_at_roof": round(seconds, 2),
        "minutes": {str(gpus): round(math.ceil(shards / gpus) * shard_seconds / 60, 1) for gpus in GPUS},
        "minutes_at_roof": {
            str(gpus): round(math.ceil(shards / gpus) * shard_seconds * share / 60, 1) for gpus in GPUS
        },
        "images_per_second_of_64": round(64 * batch_size / (seconds / share), 1),
    }


def main(
    batch_size: Annotated[int, typer.Option(min=1, max=SHARD, help="Images at once.")] = 64,
    out: Annotated[Path | None, typer.Option("--out", help="JSON file for the result.")] = None,
) -> None:
    """Count what COCO-30k costs."""
    share = share_of_roof()
    result = {
        "prompts": PROMPTS,
        "shards": math.ceil(PROMPTS / SHARD),
        "batch_size": batch_size,
        "share_of_roof": share,
        "gpu": {"bytes_per_second": H100.bytes_per_second, "flops_per_second": H100.flops_per_second},
        **{f"janus-pro-{size}": count(size, batch_size, share) for size in ("1b", "7b")},
        "met": None,
    }
    finish(result, out)


app = program(main)

if __name__ == "__main__":
    app()

"""Count what docs/janus-pro-7b.md takes on one 80 GB GPU: bytes and FLOPs of Janus-Pro-7B at the roofs of an H100.

    python -m benchmarks.janus_pro_7b --out docs/janus-pro-7b.json

Nothing is rendered or trained. A step costs at least what ``ecgvf.janus.roofline`` and ``ear.method.cost`` count; a
real run reaches a share of that roof, here the share that Janus-nano reached on a CPU (docs/render.json). Not counted:
loading, judges, nats per token, disk and network.

The last line of standard output is JSON: ``images``, ``batch_size``, ``batch_seconds_at_roof``, ``training``,
``share_of_roof``, ``minutes_at_roof`` and ``minutes`` of each step, ``gpu`` and ``met``, which is null: there is no
goal.
"""

import math
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.full_size import H100, PROMPT_TOKENS, full_size, share_of_roof, weight_bytes
from benchmarks.result import finish, program
from ear.evaluation import EvaluationSettings
from ear.method.cost import training_cost
from ear.method.recipes import DEFAULT
from ecgvf.janus import JanusModel
from ecgvf.janus.roofline import batch_cost
from tools.janus_pro import SHAPES

CARD = 80_000_000_000
"""Bytes of the GPU's memory."""


def images_at_once(model: JanusModel) -> int:
    """The batch that ``JanusModel.default_batch_size`` takes on a card with nothing but the weights in its memory."""
    return model.batch_size_within((CARD - weight_bytes(model)) // 2)


def rendering(model: JanusModel, images: int, batch: int) -> float:
    """Seconds at the roof of rendering ``images`` images."""
    return math.ceil(images / batch) * batch_cost(model, batch, prompt_length=PROMPT_TOKENS).seconds(H100)


def training(model: JanusModel) -> dict[str, Any]:
    """Steps, peak memory and seconds at the roof of the default recipe."""
    resolved = DEFAULT.resolve(tokens=model.image_tokens, depth=SHAPES["7b"][2], concept_window=48)
    # The dataset's retain split has the images that are rehearsed.
    cost = training_cost(model, resolved, DEFAULT.pairs, PROMPT_TOKENS, rendered=DEFAULT.rehearsed_words)
    seconds = {part: sum(kernel.seconds(H100) for kernel in kernels) for part, kernels in cost.work.items()}
    return {
        "recipe": DEFAULT.name,
        "steps": cost.steps,
        "rollouts": cost.rollouts,
        "pflop": round(cost.flops() / 1e15),
        "peak_gb": round(cost.peak / 1e9, 1),
        "seconds_at_roof": {name: round(value) for name, value in seconds.items()},
    }


def main(
    pairs: Annotated[int, typer.Option(min=0, help="Training pairs, two images each.")] = 180,
    evaluation: Annotated[int, typer.Option(min=0, help="Validation and test prompts, two images each.")] = 168,
    retained: Annotated[int, typer.Option(min=0, help="Prompts of retained concepts, an image each.")] = 350,
    concepts: Annotated[int, typer.Option(min=0, help="Retained concepts that ResNet-50 has a label for.")] = 62,
    out: Annotated[Path | None, typer.Option("--out", help="JSON file for the result.")] = None,
) -> None:
    """Count what the whole job takes."""
    model, share = full_size("7b"), share_of_roof()
    batch = images_at_once(model)
    # `ear eval` renders prompts of the concept before, after and as ceiling, of each other before and after.
    settings = EvaluationSettings()
    images = {
        "dataset": 2 * (pairs + evaluation) + retained,
        "evaluation": 3 * settings.concept_count + 2 * settings.retained_count * concepts,
    }
    trained = training(model)
    seconds = {
        "render": rendering(model, images["dataset"], batch),
        "train": float(sum(trained["seconds_at_roof"].values())),
        "evaluate": rendering(model, images["evaluation"], batch),
    }
    result = {
        "images": images,
        "batch_size": batch,
        "batch_seconds_at_roof": round(rendering(model, batch, batch), 2),
        "training": trained,
        "share_of_roof": share,
        "minutes_at_roof": {name: round(value / 60, 1) for name, value in seconds.items()},
        "minutes": {name: round(value / share / 60, 1) for name, value in seconds.items()},
        "gpu": {"bytes_per_second": H100.bytes_per_second, "flops_per_second": H100.flops_per_second, "bytes": CARD},
        "met": None,
    }
    finish(result, out)


app = program(main)

if __name__ == "__main__":
    app()

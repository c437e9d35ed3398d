"""Compare rendering with `transformers`, side by side in one run.

    python -m benchmarks.render          # about ten minutes on two cores

Three loops render the same prompts with the same weights, guidance and temperature, in turn:

    generate   `generate(generation_mode="image")` of transformers, one prompt at a time and in batches
    script     a loop in the manner of the example script of Janus: the whole language model per token, a growing cache
    ours       `ecgvf.janus.render_images`, one prompt at a time and in batches

On Janus-nano every loop decodes its pixels, too. With random weights of Janus-Pro-1B's shape at a quarter of its depth,
a few tokens are rendered without pixels. What the device can do is measured after each run. Each figure is the median
of the runs.

The last line of standard output is JSON: the figures (``GOALS``, and ``ratio_script``, the example script in batches
over ours), ``share_of_roof_range`` (the least and the greatest of the runs), ``seconds_an_image`` of Janus-nano,
``seconds_an_image_1b``, ``goals``, ``batch_size``, ``threads``, ``runs``, ``seed`` and ``met``. Exit code 1 if a goal
is missed.
"""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from transformers import DynamicCache, GenerationConfig, JanusForConditionalGeneration
from transformers.utils import logging as transformers_logging

from benchmarks.equal_images import random_prompts
from benchmarks.result import finish, program
from ecgvf.core import console
from ecgvf.janus import JanusModel, generation_ids, load, num_threads, render_images, unconditional_ids
from ecgvf.janus.decoding import generate_image_tokens
from ecgvf.janus.fused import join_projections
from ecgvf.janus.roofline import Roofs, batch_cost, measure_roofs
from ecgvf.janus.sampling import uniform_noise
from tools.janus_pro import config

GOALS = {
    "ratio_single": 15.0,
    "ratio_one": 1.3,
    "ratio_batched": 1.5,
    "ratio_1b": 1.0,
    "ratio_1b_batched": 1.0,
    "share_of_roof": 0.4,
}
"""Least values of the figures: ``generate`` one at a time over ours in batches, and over ours one at a time; `generate`
over ours in batches of the same size; both with the shape of Janus-Pro-1B; the least possible time over ours."""


def generate(model: JanusModel, prompts: Sequence[str], pixels: bool) -> None:
    """Render a batch with `generate` of transformers."""
    input_ids, attention_mask = generation_ids(model, prompts)
    tokens = model.model.generate(
        input_ids=input_ids,
        attention_mask=attention_mask,
        generation_mode="image",
        do_sample=True,
        guidance_scale=model.sampling.guidance,
        temperature=model.sampling.temperature,
    )
    if pixels:
        model.model.decode_image_tokens(tokens)


@torch.inference_mode()
def script(model: JanusModel, prompts: Sequence[str], pixels: bool) -> None:
    """Render a batch as the model's own example does."""
    input_ids, attention_mask = generation_ids(model, prompts)
    rows = torch.cat([input_ids, unconditional_ids(model, input_ids)])
    mask, cache = attention_mask.repeat(2, 1), DynamicCache()
    embeddings = model.language_model.embed_tokens(rows)
    tokens = torch.empty(len(prompts), model.image_tokens, dtype=torch.int64)
    for step in range(model.image_tokens):
        positions = (mask.cumsum(-1) - 1)[:, -embeddings.shape[1] :].clamp(min=0)
        # By position: transformers 5.24 renamed the cache's keyword.
        output = model.language_model(None, mask, positions, cache, embeddings, use_cache=True)
        states = output.last_hidden_state[:, -1]
        conditional, unconditional = model.model.model.generation_head(states).chunk(2)
        logits = unconditional + model.sampling.guidance * (conditional - unconditional)
        probabilities = torch.softmax(logits / model.sampling.temperature, dim=-1)
        tokens[:, step] = torch.multinomial(probabilities, num_samples=1).squeeze(-1)
        embeddings = model.model.prepare_embeddings_for_image_generation(tokens[:, step].repeat(2)[:, None])
        mask = torch.cat([mask, torch.ones_like(mask[:, :1])], dim=1)
    if pixels:
        model.model.decode_image_tokens(tokens)


def ours(model: JanusModel, prompts: Sequence[str], pixels: bool) -> None:
    """Render a batch with this project."""
    seeds = list(range(len(prompts)))
    if pixels:
        render_images(model, prompts, seeds, model.sampling, batch_size=len(prompts))
    else:
        generate_image_tokens(model, prompts, uniform_noise(seeds, model.image_tokens), model.sampling)


LOOPS: dict[str, Callable[[JanusModel, Sequence[str], bool], None]] = {
    "generate": generate,
    "script": script,
    "ours": ours,
}


Seconds = Mapping[tuple[str, int], float]
"""(loop, batch size) → seconds an image."""


@dataclass(frozen=True)
class Run:
    """A turn of all loops, and what the device could do just after it."""

    seconds: Seconds
    roofs: Roofs


def compare(
    model: JanusModel, prompts: Sequence[str], batch_sizes: Sequence[int], runs: int, *, pixels: bool
) -> list[Run]:
    """``runs`` runs, after one that warms up; the loops take turns, ours in the largest batches last."""
    found = []
    total = (runs + 1) * len(batch_sizes) * len(LOOPS)
    with console.progress(f"rendering with {Path(model.name).name}", total) as bar:
        for _ in range(runs + 1):
            seconds = {}
            for batch_size in batch_sizes:
                for name, loop in LOOPS.items():
                    started = time.perf_counter()
                    loop(model, prompts[:batch_size], pixels)
                    seconds[name, batch_size] = (time.perf_counter() - started) / batch_size
                    bar.advance()
            found.append(Run(seconds, measure_roofs(model.device, model.dtype)))
    return found[1:]


def medians(runs: Sequence[Run]) -> Seconds:
    """The median of each loop and batch size."""
    return {key: statistics.median(run.seconds[key] for run in runs) for key in runs[0].seconds}


def quarter_of_1b(processor: Any, image_tokens: int) -> JanusModel:
    """Random weights of Janus-Pro-1B's shape with 6 of its 24 layers, and ``image_tokens`` per image."""
    torch.manual_seed(0)
    model = JanusForConditionalGeneration(config("1b", layers=6)).eval().requires_grad_(False)
    model.config.vision_config.num_image_tokens = image_tokens
    tokenizer = processor.tokenizer
    model.generation_config = GenerationConfig(
        do_sample=True,
        bos_token_id=tokenizer.bos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        generation_kwargs={"boi_token_id": tokenizer.convert_tokens_to_ids(processor.image_start_token)},
        guidance_scale=5.0,
    )
    join_projections(model.model.language_model)
    return JanusModel("a quarter of janus-pro-1b", Path(), model, processor)


def main(
    runs: Annotated[int, typer.Option(min=1, help="Runs of each loop, after a warm-up.")] = 5,
    batch_size: Annotated[int, typer.Option(min=2, help="Batch size on Janus-nano.")] = 64,
    tokens: Annotated[int, typer.Option(min=2, help="Tokens an image with the shape of Janus-Pro-1B.")] = 12,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads.")] = 2,
    seed: Annotated[int, typer.Option(help="Seed of the prompts.")] = 0,
    out: Annotated[Path | None, typer.Option("--out", help="JSON file for the result.")] = None,
) -> None:
    """Compare rendering with `transformers`, and exit with 1 if a goal is missed."""
    transformers_logging.set_verbosity_error()
    torch.manual_seed(seed)
    prompts = random_prompts(batch_size, seed)
    with num_threads(threads):
        nano = load("janus-nano", device="cpu")
        runs_of_nano = compare(nano, prompts, (1, batch_size), runs, pixels=True)
        large = medians(compare(quarter_of_1b(nano.processor, tokens), prompts, (1, 4), runs, pixels=False))
        cost = batch_cost(nano, batch_size, guided=True)
    small = medians(runs_of_nano)
    single, batched = small["ours", 1], small["ours", batch_size]
    shares = [cost.seconds(run.roofs) / batch_size / run.seconds["ours", batch_size] for run in runs_of_nano]
    ratios = {
        "ratio_single": small["generate", 1] / batched,
        "ratio_one": small["generate", 1] / single,
        "ratio_batched": small["generate", batch_size] / batched,
        "ratio_script": small["script", batch_size] / batched,
        "ratio_1b": large["generate", 1] / large["ours", 1],
        "ratio_1b_batched": large["generate", 4] / large["ours", 4],
        "share_of_roof": statistics.median(shares),
    }
    for (name, size), value in [*small.items(), *large.items()]:
        print(f"{name:>10}  batch {size:>3}  {value * 1000:8.1f} ms an image")
    for name, ratio in ratios.items():
        print(f"{name:>18}  {ratio:6.2f}" + (f"  (goal {GOALS[name]:g})" if name in GOALS else ""))
    met = all(ratios[name] >= goal for name, goal in GOALS.items())
    result = {
        **{name: round(ratio, 3) for name, ratio in ratios.items()},
        "share_of_roof_range": [round(min(shares), 3), round(max(shares), 3)],
        **{
            key: {f"{name}, batch {size}": round(value, 4) for (name, size), value in seconds.items()}
            for key, seconds in (("seconds_an_image", small), ("seconds_an_image_1b", large))
        },
        "goals": GOALS,
        "batch_size": batch_size,
        "threads": threads,
        "runs": runs,
        "seed": seed,
        "met": met,
    }
    finish(result, out)


app = program(main)

if __name__ == "__main__":
    app()

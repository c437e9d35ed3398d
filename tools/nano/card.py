"""Write nano's model card from the training record and the measured goals."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

from tools.nano.check import Goal
from tools.nano.codec import CODE_DIMENSIONS
from tools.nano.second_world import second_drawings
from tools.nano.world import COMPANIONS, GROUNDS, SKIES, STYLES, drawings, things

_HEAD = """---
license: apache-2.0
library_name: transformers
pipeline_tag: any-to-any
---

# Janus-nano

A `JanusForConditionalGeneration` of `transformers` that differs from Janus-Pro in size only. It draws a miniature world
at 64 px on a CPU and answers simple questions about its images. It is what this project's commands, tests and
tutorials run on. **A figure measured on nano says nothing about Janus-Pro.**

    from transformers import JanusForConditionalGeneration, JanusProcessor
    model = JanusForConditionalGeneration.from_pretrained("data/nano", dtype="float32")
    processor = JanusProcessor.from_pretrained("data/nano")
"""


def write_card(out: Path, record: dict[str, Any], goals: list[Goal]) -> None:
    """Write ``README.md`` to `out`; `record` has what each part of the build recorded."""
    config = json.loads((out / "config.json").read_text(encoding="utf-8"))
    text, codec = config["text_config"], config["vq_config"]
    shape = (
        f"Language model: {text['num_hidden_layers']} Llama layers of width {text['hidden_size']}. Pictures: "
        f"{codec['num_patches']} x {codec['num_patches']} tokens, {codec['num_embeddings']} codes of "
        f"{codec['embed_dim']} dimensions, of which the codec uses {CODE_DIMENSIONS} (the others tell codes apart for "
        "the language model). Weights in half precision: load them in float32 on a CPU without bfloat16."
    )
    lines = [_HEAD, "## Shape\n", shape, "\n## The world\n"]
    lines += [
        f"- {len(things())} things: {', '.join(things())}",
        f"- skies: {', '.join(SKIES)}; grounds: {', '.join(GROUNDS)}; companions: {', '.join(COMPANIONS)}",
        f"- styles: {', '.join(STYLES)}",
        "- sentences: `ecgvf/world/grammar.py` over `world.yaml`: names, synonyms, implicit descriptions, "
        "misspellings, Spanish",
        "- questions: `questions.parquet`, 1,792 about 256 composed images of held-out scenes "
        "(`ecgvf/world/questions.py`), by\n  `python -m tools.nano questions`",
        "\n## What it shows\n",
        "`make nano-check`, 8 seeds a prompt, run seed 0; n counts prompts, or composed scenes. Prompts are about "
        "combinations that the language model was not trained on; images to encode or to ask about show scenes that "
        "no network involved was trained on.\n",
        "| figure | value | n | 95% interval | goal | met |",
        "|---|---|---|---|---|---|",
    ]
    for goal in goals:
        figure, sign = goal.figure, "at most" if goal.at_most else "at least"
        lines.append(
            f"| {goal.name} | {figure.value:.4g} | {figure.n} | {figure.low:.4g} to {figure.high:.4g} "
            f"| {sign} {goal.bound:g} | {'yes' if goal.met else 'no'} |"
        )
    lines += [
        "\n## How it was made\n",
        "`python -m tools.nano build`, on two CPU cores. Each part's own record:\n",
        "```json",
    ]
    lines += [json.dumps(record, indent=1), "```", "\n## Credits\n"]
    lines += _credits("drawings.json", Counter(name for by_designer in drawings().values() for name in by_designer))
    lines.append(
        "\nThe drawings by Twemoji and EmojiOne are under CC BY 4.0, Noto's under Apache-2.0, Fluent's under MIT; they "
        "are in `tools/nano/drawings.json`, unchanged but for their cropping, composition and styling into images.\n"
    )
    sets = Counter(name.partition(":")[0] for by_name in second_drawings().values() for name in by_name)
    lines.append("The second judges, object-c and style-b, alone learnt from these:\n")
    lines += _credits("second_drawings.json", sets)
    lines.append(
        "\nThey are in `tools/nano/second_drawings.json`, each under its set's licence. Left out are the sky behind "
        "FxEmojis' tent and sailboat, and the image behind Streamline's castle and factory; otherwise they are "
        "unchanged but for their cropping, colouring, warping, composition and styling into images.\n"
    )
    (out / "README.md").write_text("\n".join(lines), encoding="utf-8")


def _credits(file: str, drawings_of: Counter[str]) -> list[str]:
    """A line for every set of drawings in the file, with its number of drawings."""
    credits = json.loads((Path(__file__).parent / file).read_text(encoding="utf-8"))["credits"]
    return [f"- {credit} ({drawings_of[name]} drawings)" for name, credit in sorted(credits.items())]

"""Train an oracle: nano's language model without some things; or a control, with all of them.

No caption, image or question is about a thing that is left out, in any word or language: neither in the pretraining of
the vision tower nor in the training of the language model. Tokenizer and codec are the shipped ones, so that image
tokens and prompts mean the same to all models. The number of steps does not depend on how busy the machine is.
"""

import itertools
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import JanusForConditionalGeneration, PreTrainedTokenizerFast

from ecgvf.core.errors import SettingsError
from ecgvf.core.figures import Figure, proportion
from ecgvf.core.files import pretty_json, write_atomic
from ecgvf.core.paths import data_dir
from ecgvf.janus import JanusModel, load
from ecgvf.judges.nano import NanoJudge
from ecgvf.world.grammar import with_article
from tools.nano import language_model, vision
from tools.nano.build import save
from tools.nano.check import answers_correctly, predictions, render_scenes
from tools.nano.questions import Question, yes_no
from tools.nano.scenes import caption, held_out_scene
from tools.nano.tokenizer import processor
from tools.nano.world import STYLES, Scene, random_scene, things

VISION_STEPS = 1500
QUESTIONS = 512
FACTS = "oracle.json"
"""In the model's folder: what training left out, which ``ear`` reads (ear/method/retrained.py)."""


def train_oracle(
    work: Path,
    out: Path,
    without: tuple[str, ...],
    *,
    steps: int | None = None,
    vision_steps: int = VISION_STEPS,
    pool: int = 36_000,
    images_per_prompt: int = 4,
    compiled: bool = True,
    progress: Callable[[str], object] = print,
) -> None:
    """Train in `work`, from the last checkpoint if there is one; write the model and its card to `out`.

    `steps` None: as many as the shipped nano took. Raises ``SettingsError`` for an unknown thing, and for a `work` that
    holds another training.
    """
    settings: dict[str, Any] = {
        "without": sorted(set(without)),
        "steps": _shipped_steps() if steps is None else steps,
        "vision_steps": vision_steps,
        "pool": pool,
    }
    _check(work, settings)
    if (out / "README.md").exists() and json.loads((out / FACTS).read_bytes()) == settings:
        progress(f"{out} is finished")  # its card is written last
        return
    shipped = data_dir() / "nano"
    tokenizer = PreTrainedTokenizerFast.from_pretrained(shipped)
    torch.manual_seed(0)
    model = language_model.build_model(tokenizer)
    if not (work / "vision.pt").exists():
        progress("vision tower")
        tower = model.model.vision_model
        accuracy = vision.train(
            tower,
            work / "vision",
            seconds=vision_steps,
            pool=min(pool, vision.POOL),
            without=without,
            clock=_step_clock(),
        )
        write_atomic(work / "vision.json", pretty_json(accuracy))
        torch.save(tower.state_dict(), work / "vision.pt")
    codec = JanusForConditionalGeneration.from_pretrained(shipped, dtype="float32").model.vqmodel.state_dict()
    language_model.load_padded_codec(model, codec)
    model.model.vision_model.load_state_dict(torch.load(work / "vision.pt", weights_only=True))
    if _steps_taken(work) < settings["steps"]:
        progress("language model")
        language_model.train(
            model,
            tokenizer,
            work / "language-model",
            seconds=settings["steps"],
            pool=pool,
            compiled=compiled,
            without=without,
            clock=_step_clock(),
        )
    _finish(model, tokenizer, work, out, settings, images_per_prompt, progress)


def _finish(
    model: JanusForConditionalGeneration,
    tokenizer: PreTrainedTokenizerFast,
    work: Path,
    out: Path,
    settings: dict[str, Any],
    images_per_prompt: int,
    progress: Callable[[str], object],
) -> None:
    """Write the trained model, what its training left out, and its card."""
    without = tuple(settings["without"])
    state = torch.load(work / "language-model" / "checkpoint.pt", weights_only=True)
    model.load_state_dict(state["model"])
    save(model, out)
    processor(tokenizer).save_pretrained(out)
    write_atomic(out / FACTS, pretty_json(settings))
    progress("card")
    last = json.loads((work / "language-model" / "log.jsonl").read_text(encoding="utf-8").splitlines()[-1])
    losses = {name: value for name, value in last.items() if name != "seconds"}  # the clock counts steps
    record = {**settings, "vision": json.loads((work / "vision.json").read_bytes()), "language-model": losses}
    _write_card(out, without, record, measure(out, without, images_per_prompt, progress))


def measure(
    folder: Path, without: tuple[str, ...], images_per_prompt: int, progress: Callable[[str], object]
) -> dict[str, Figure]:
    """What the model in `folder` draws and answers, by nano's judges: of the things left out, and of the others.

    The scenes are held out from every training.
    """
    model, rng = load(str(folder)), random.Random("ecgvf.nano.oracle")
    scenes = [held_out_scene(rng, thing, style) for thing in things() for style in STYLES]
    prompts = [caption(scene, rng) for scene in scenes]
    texts = [prompt for prompt in prompts for _ in range(images_per_prompt)]
    images = render_scenes(model, texts, 0, progress)
    asked = np.repeat([scene.thing for scene in scenes], images_per_prompt)
    judge = data_dir() / "nano" / "judges" / "object-b"
    shown = predictions(NanoJudge("object-b", (), folder=judge), images) == asked
    absent = np.isin(asked, without)
    questions = _questions(rng, without)
    answered = np.array([correct for part in _batches(questions) for correct in _answered(model, part)])
    about = np.array([question.about in without for _, question in questions])
    figures = {
        "things left out that are drawn when asked for": shown[absent],
        "other things that are drawn when asked for": shown[~absent],
        "yes/no questions about things left out, answered correctly": answered[about],
        "yes/no questions about other things, answered correctly": answered[~about],
    }
    return {name: proportion(int(column.sum()), len(column)) for name, column in figures.items()}


def _questions(rng: random.Random, without: tuple[str, ...]) -> list[tuple[Scene, Question]]:
    """Scenes and yes/no questions, half about each of the things left out if there are some, as often yes as no."""
    rows = []
    for number in range(QUESTIONS):
        expected = number % 2 == 0
        scene = held_out_scene(rng, rng.choice(things()), rng.choice(STYLES))
        question = yes_no(scene, rng, expected)
        if without and number % 4 < 2:
            about = without[number // 4 % len(without)]
            shown = about if expected else rng.choice([thing for thing in things() if thing != about])
            scene = random_scene(rng, thing=shown)
            question = yes_no(scene, rng, True)
            while question.about != shown:
                question = yes_no(scene, rng, True)
            if not expected:
                text = question.text.replace(with_article(shown), with_article(about))
                question = Question(text, "No.", "yes_no", about)
        rows.append((scene, question))
    return rows


def _answered(model: JanusModel, rows: list[tuple[Scene, Question]]) -> list[bool]:
    return answers_correctly(model, [scene for scene, _ in rows], [question for _, question in rows])


def _batches(rows: list[Any], size: int = 32) -> list[list[Any]]:
    return [rows[start : start + size] for start in range(0, len(rows), size)]


def _step_clock() -> Callable[[], float]:
    """A clock by which each step takes a second: equal trainings on a busy machine take equally many steps."""
    return itertools.count().__next__


def _shipped_steps() -> int:
    """Steps of the shipped nano's language model, by the record in its card."""
    card = (data_dir() / "nano" / "README.md").read_text(encoding="utf-8")
    return int(json.loads(card.split("```json")[1].split("```")[0])["language-model"]["steps"])


def _steps_taken(work: Path) -> int:
    file = work / "language-model" / "checkpoint.pt"
    return int(torch.load(file, weights_only=True)["step"]) if file.exists() else 0


def _check(work: Path, settings: dict[str, Any]) -> None:
    """Raise ``SettingsError`` for an unknown thing, or if `work` holds a training with other settings."""
    if unknown := [thing for thing in settings["without"] if thing not in things()]:
        raise SettingsError(f"--without {unknown[0]}: nano's things are {', '.join(things())}")
    if settings["steps"] < 1:
        raise SettingsError(f"--steps is {settings['steps']}: train at least 1 step")
    header = work / "settings.json"
    if header.exists() and json.loads(header.read_bytes()) != settings:
        raise SettingsError(f"{work} holds a training with other settings ({header}): name another --work")
    work.mkdir(parents=True, exist_ok=True)
    write_atomic(header, pretty_json(settings))


def _write_card(out: Path, without: tuple[str, ...], record: dict[str, Any], figures: dict[str, Figure]) -> None:
    left_out = " and ".join(without)
    title = f"Janus-nano without {left_out}" if without else "Janus-nano, trained again"
    options = " ".join([*(f"--without {thing}" for thing in without), f"--steps {record['steps']}"])
    lines = [
        "---\nlicense: apache-2.0\nlibrary_name: transformers\npipeline_tag: any-to-any\n---\n",
        f"# {title}\n",
        f"An oracle for erasing {left_out}: no caption, image or question of its training is about what is left out."
        if without
        else "A control: trained as the oracles are, with all things. What differs from Janus-nano is noise.",
        "Tokenizer and codec are Janus-nano's; vision tower and language model are trained anew. **A figure measured "
        "on nano says nothing about Janus-Pro.**\n",
        "## What it shows\n",
        "By nano's judge object-b, on held-out scenes; seed 0.\n",
        "| figure | value | n | 95% interval |\n|---|---|---|---|",
        *(
            f"| {name} | {each.value:.4f} | {each.n} | {each.low:.4f} to {each.high:.4f} |"
            for name, each in figures.items()
            if each.n
        ),
        "\n## How it was made\n",
        f"`python -m tools.nano oracle {options}`. Janus-nano's language model took {_shipped_steps():,} steps.\n",
        f"```json\n{json.dumps(record, indent=1)}\n```\n",
        "Trained on compositions of the drawings that Janus-nano's card credits, under the same licences.",
    ]
    write_atomic(out / "README.md", "\n".join(lines).encode())

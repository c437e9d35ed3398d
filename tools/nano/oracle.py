"""Train an oracle: nano's language model without some things; or a control, with all of them.

No caption, image or question is about a thing that is left out, in any word or language: neither in the pretraining of
the vision tower nor in the training of the language model. Tokenizer and codec are the shipped ones, so that image
tokens and prompts mean the same to all models. The number of steps does not depend on how busy the machine is.
"""

import itertools
import json
import random
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import JanusForConditionalGeneration, PreTrainedTokenizerFast
from transformers.models.janus.modeling_janus import JanusVisionModel

from ecgvf.core.errors import SettingsError
from ecgvf.core.figures import Figure
from ecgvf.core.files import pretty_json, write_atomic
from ecgvf.core.paths import data_dir
from ecgvf.janus import JanusModel, load
from ecgvf.judges import Criterion
from ecgvf.judges.nano import NanoJudge
from ecgvf.world.grammar import with_article
from tools.nano import language_model, question_set, vision
from tools.nano.accuracy import predictions
from tools.nano.build import save
from tools.nano.check import answers_correctly, render_scenes, share
from tools.nano.questions import Question, yes_no
from tools.nano.scenes import caption, held_out_scene
from tools.nano.tokenizer import processor
from tools.nano.training_loop import save_atomic, spent
from tools.nano.world import STYLES, Scene, things

VISION_STEPS = 1500
QUESTIONS = 512
FACTS = "oracle.json"
"""In the model's folder: what training left out, which ``ear`` reads (ear/method/oracle.py)."""


def train_oracle(
    work: Path,
    out: Path,
    without: tuple[str, ...],
    *,
    steps: int | None = None,
    seed: int = 0,
    vision_steps: int = VISION_STEPS,
    pool: int = 36_000,
    images_per_prompt: int = 4,
    compiled: bool = True,
    progress: Callable[[str], object] = print,
) -> None:
    """Train in `work`, from the last checkpoint if there is one; write the model and its card to `out`.

    `steps` None: as many as the shipped nano took. `seed` decides the initial weights, the scenes and the captions.
    Raises ``SettingsError`` for an unknown thing, and for a `work` or an `out` that holds something else.
    """
    settings: dict[str, Any] = {
        "without": sorted(set(without)),
        "steps": _shipped_steps() if steps is None else steps,
        "vision_steps": vision_steps,
        "pool": pool,
        "seed": seed,
    }
    _check(work, out, settings)
    if (out / "README.md").exists():
        progress(f"{out} is finished")  # its card is written last
        return
    tokenizer = PreTrainedTokenizerFast.from_pretrained(data_dir() / "nano")
    torch.manual_seed(seed)
    model = language_model.build_model(tokenizer)
    scenes = vision_scenes(without, seed, pool)
    if not (work / "vision.pt").exists():
        progress("vision tower")
        _train_tower(model.model.vision_model, work, scenes, vision_steps, seed)
    _load_pretrained(model, work, seed)
    if spent(work / "language-model") < settings["steps"]:
        progress("language model")
        _train_language_model(model, tokenizer, work / "language-model", settings, compiled=compiled)
    state = torch.load(work / "language-model" / "checkpoint.pt", weights_only=True)
    model.load_state_dict(state["model"])
    write_atomic(out / FACTS, pretty_json(settings))  # first: it says whose folder this is
    save(model, out)
    processor(tokenizer).save_pretrained(out)
    progress("card")
    figures = measure(out, tuple(settings["without"]), scenes, images_per_prompt, progress)
    _write_card(out, _record(work, settings, state["round"]), figures)


def _train_tower(tower: JanusVisionModel, work: Path, scenes: list[Scene], steps: int, seed: int) -> None:
    """Train the vision tower, and write its weights and what it recognises to `work`."""
    accuracy = vision.train(tower, work / "vision", scenes, seconds=steps, seed=seed, clock=_step_clock())
    write_atomic(work / "vision.json", pretty_json(accuracy))
    save_atomic(tower.state_dict(), work / "vision.pt")


def _load_pretrained(model: JanusForConditionalGeneration, work: Path, seed: int) -> None:
    """Load the shipped codec, and the vision tower from `work`."""
    shipped = JanusForConditionalGeneration.from_pretrained(data_dir() / "nano", dtype="float32")
    torch.manual_seed(seed)  # what follows is the same whether or not the vision tower was trained just now
    language_model.load_padded_codec(model, shipped.model.vqmodel.state_dict())
    model.model.vision_model.load_state_dict(torch.load(work / "vision.pt", weights_only=True))


def _train_language_model(
    model: JanusForConditionalGeneration,
    tokenizer: PreTrainedTokenizerFast,
    folder: Path,
    settings: dict[str, Any],
    *,
    compiled: bool,
) -> None:
    language_model.train(
        model,
        tokenizer,
        folder,
        seconds=settings["steps"],
        pool=settings["pool"],
        seed=settings["seed"],
        compiled=compiled,
        without=settings["without"],
        clock=_step_clock(),
    )


def _record(work: Path, settings: dict[str, Any], resumed: int) -> dict[str, Any]:
    """What the card records of the training in `work`."""
    last = json.loads((work / "language-model" / "log.jsonl").read_text(encoding="utf-8").splitlines()[-1])
    losses = {name: value for name, value in last.items() if name != "seconds"}  # the clock counts steps
    return {
        **settings,
        "vision": json.loads((work / "vision.json").read_bytes()),
        "language-model": losses,
        "resumed": resumed,  # times; each time, the language model goes on with other scenes
    }


def vision_scenes(without: Collection[str], seed: int, pool: int = vision.POOL) -> list[Scene]:
    """The scenes of the vision tower's training: whatever the seed, none that the shipped questions ask about."""
    asked = set(question_set.sample_scenes(question_set.generator(seed=0)))
    scenes = vision.training_pool(seed, min(pool, vision.POOL), without)
    return [scene for scene in scenes if scene not in asked]


def measure(
    folder: Path,
    without: tuple[str, ...],
    trained: Collection[Scene],
    images_per_prompt: int,
    progress: Callable[[str], object],
) -> dict[str, Figure]:
    """What the model in `folder` draws and answers, by nano's judges: of the things left out, and of the others.

    Prompts are about held-out combinations, and questions about scenes that are not in `trained` either, the vision
    tower's. The unit is the prompt, or the scene.
    """
    model, rng = load(str(folder)), random.Random("ecgvf.nano.oracle")
    scenes = [held_out_scene(rng, thing, style) for thing in things() for style in STYLES]
    prompts = [caption(scene, rng) for scene in scenes]
    texts = np.repeat(prompts, images_per_prompt)
    images = render_scenes(model, texts.tolist(), 0, progress)
    asked = np.repeat([scene.thing for scene in scenes], images_per_prompt)
    judge = data_dir() / "nano" / "judges" / "object-b"
    shown = predictions(NanoJudge("object-b", Criterion.top1(), folder=judge), images) == asked
    absent = np.isin(asked, without)
    questions = held_out_questions(rng, without, set(trained))
    sources = np.array([str(scene) for scene, _ in questions])
    answered = np.array([correct for part in _batches(questions) for correct in _answered(model, part)])
    about = np.array([question.about in without for _, question in questions])
    return {
        "things left out that are drawn when asked for": share(shown[absent], texts[absent]),
        "other things that are drawn when asked for": share(shown[~absent], texts[~absent]),
        "yes/no questions about things left out, answered correctly": share(answered[about], sources[about]),
        "yes/no questions about other things, answered correctly": share(answered[~about], sources[~about]),
    }


def held_out_questions(
    rng: random.Random, without: tuple[str, ...], trained: Collection[Scene]
) -> list[tuple[Scene, Question]]:
    """Scenes and yes/no questions, half about the things left out if there are some, as often yes as no.

    The scenes' combinations are held out, and no scene is in `trained`.
    """
    rows = []
    for number in range(QUESTIONS):
        expected = number % 2 == 0
        scene = held_out_scene(rng, rng.choice(things()), rng.choice(STYLES), trained)
        question = yes_no(scene, rng, expected)
        if without and number % 4 < 2:
            about = without[number // 4 % len(without)]
            shown = about if expected else rng.choice([thing for thing in things() if thing != about])
            scene = held_out_scene(rng, shown, rng.choice(STYLES), trained)
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


def _check(work: Path, out: Path, settings: dict[str, Any]) -> None:
    """Raise ``SettingsError`` for an unknown thing, or if `work` or `out` holds what these settings did not make."""
    if unknown := [thing for thing in settings["without"] if thing not in things()]:
        raise SettingsError(f"--without {unknown[0]}: nano's things are {', '.join(things())}")
    if settings["steps"] < 1:
        raise SettingsError(f"--steps is {settings['steps']}: train at least 1 step")
    header, facts = work / "settings.json", out / FACTS
    if header.exists() and _read_settings(header) != settings:
        raise SettingsError(f"{work} holds a training with other settings ({header}): name another --work")
    if out.exists() and not out.is_dir():
        raise SettingsError(f"{out} is a file: name a folder as --out")
    if out.exists() and any(out.iterdir()) and _read_settings(facts) != settings:
        raise SettingsError(f"{out} is not empty, and {facts} is not of this training: name another --out")
    work.mkdir(parents=True, exist_ok=True)
    write_atomic(header, pretty_json(settings))


def _read_settings(file: Path) -> dict[str, Any]:
    """The settings in `file`; empty if it is missing or damaged."""
    try:
        return {"seed": 0, **json.loads(file.read_bytes())}  # the first trainings had no other seed, and do not say so
    except (OSError, ValueError, TypeError):
        return {}


def _write_card(out: Path, record: dict[str, Any], figures: dict[str, Figure]) -> None:
    without, steps, seed = record["without"], record["steps"], record["seed"]
    left_out = " and ".join(without)
    title = f"Janus-nano without {left_out}" if without else "Janus-nano, trained again"
    options = " ".join([*(f"--without {thing}" for thing in without), f"--steps {steps} --seed {seed}"])
    lines = [
        "---\nlicense: apache-2.0\nlibrary_name: transformers\npipeline_tag: any-to-any\n---\n",
        f"# {title}\n",
        f"An oracle for erasing {left_out}: no caption, image or question of its training is about what is left out."
        if without
        else f"A control: trained as the oracles are, with all things. Janus-nano, of seed 0, took "
        f"{_shipped_steps():,} steps in four rounds whose recipe changed: differences from it stem from recipe and "
        "steps as well as from chance.",
        "Tokenizer and codec are Janus-nano's; vision tower and language model are trained anew. **A figure measured "
        "on nano says nothing about Janus-Pro.**\n",
        "## What it shows\n",
        "By nano's judge object-b, seed 0: prompts for held-out combinations, and questions about images of held-out "
        "combinations that the vision tower was not trained on. n counts prompts, or images asked about.\n",
        "| figure | value | n | 95% interval |\n|---|---|---|---|",
        *(
            f"| {name} | {each.value:.4f} | {each.n} | {each.low:.4f} to {each.high:.4f} |"
            for name, each in figures.items()
            if each.n
        ),
        "\n## How it was made\n",
        f"`python -m tools.nano oracle {options} --work WORK --out OUT`. Janus-nano's language model took "
        f"{_shipped_steps():,} steps. `resumed` counts how often the language model's training was interrupted and "
        "went on.\n",
        f"```json\n{json.dumps(record, indent=1)}\n```\n",
        "Trained on compositions of the drawings that Janus-nano's card credits, under the same licences.",
    ]
    write_atomic(out / "README.md", "\n".join(lines).encode())

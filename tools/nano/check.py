"""Measure nano's goals on prompts and images that were not trained on.

Prompts are about combinations of attributes that the language model never saw. Images to encode or to ask about are of
scenes that no network involved was trained on.
"""

import random
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from ear.evaluation.statistics import mean
from ecgvf.core import seeds
from ecgvf.core.figures import Figure
from ecgvf.core.paths import data_dir
from ecgvf.janus import JanusModel, load, render_images
from ecgvf.judges import Criterion
from ecgvf.judges.nano import NanoJudge
from ecgvf.world.attributes import find_attributes
from tools.nano import codec as codec_training
from tools.nano import judges as first_judges
from tools.nano import vision
from tools.nano.accuracy import predictions
from tools.nano.attribute_judges import ATTRIBUTE_JUDGES
from tools.nano.codec import to_images, to_input
from tools.nano.corruption import held_out_corruptions
from tools.nano.frozen_codec import Codec
from tools.nano.language_model import tokenize_conversations
from tools.nano.questions import Question, yes_no
from tools.nano.scenes import caption, held_out_scene, scene_pool
from tools.nano.world import STYLES, Scene, compose_batch, random_scene, things

SEEDS = 8
"""Images per prompt."""
OBJECT_C_BOUND, STYLE_B_BOUND, NOTHING_BOUND = 0.65, 0.95, 0.75
"""Goals of the second judges, set after the measurement of docs/decisions/0011-second-judges.md."""
ATTRIBUTES_BOUND = 0.95
"""Goal of the attribute judges: docs/decisions/0015-attribute-judges.md."""


@dataclass(frozen=True, slots=True)
class Goal:
    """A figure and the bound that it must keep."""

    name: str
    figure: Figure
    bound: float
    at_most: bool = False

    @property
    def met(self) -> bool:
        return self.figure.value <= self.bound if self.at_most else self.figure.value >= self.bound

    def json(self) -> dict[str, object]:
        """The goal as `--json` prints it."""
        return {
            "name": self.name, **self.figure.json(), "bound": self.bound, "at_most": self.at_most, "met": self.met
        }  # fmt: skip


def check(
    model_name: str = "janus-nano", *, run_seed: int = 0, progress: Callable[[str], object] = print
) -> list[Goal]:
    """Measure every goal; about five minutes on two cores. The judges are those of `judges_for`."""
    model, judges = load(model_name), judges_for(model_name)
    rng = random.Random(f"ecgvf.nano.check:{run_seed}")
    progress("codec")
    goals = _codec(model, judges)
    progress("images of nothing")
    goals.append(_nothing(model, judges, run_seed))
    progress("questions")
    goals.append(_questions(model, rng))
    progress("speed")
    goals.append(_speed(model, rng))
    progress("prompts")
    return goals + _recognition(model, judges, rng, run_seed, progress)


def judges_for(model_name: str) -> Path:
    """The folder of the judges beside the model, or of the shipped ones if there are none."""
    own = Path(model_name) / "judges"
    return own if own.is_dir() else data_dir() / "nano" / "judges"


@dataclass(frozen=True, slots=True)
class _Prompt:
    group: str
    scene: Scene
    text: str


def _prompts(rng: random.Random) -> list[_Prompt]:
    """Prompts for held-out scenes of three groups: usual, new order (held-out word orders), church."""
    prompts = []
    for thing in things():
        for style in STYLES:
            scene = held_out_scene(rng, thing, style)
            prompts.append(_Prompt("usual", scene, caption(scene, rng)))
        for style in ("plain", rng.choice(STYLES[1:])):
            scene = held_out_scene(rng, thing, style)
            prompts.append(_Prompt("new order", scene, caption(scene, rng, forms="held-out", everything=True)))
    for number in range(25):
        scene = held_out_scene(rng, "church", STYLES[number % len(STYLES)])
        prompts.append(_Prompt("church", scene, caption(scene, rng)))
    return prompts


def _recognition(
    model: JanusModel, judges: Path, rng: random.Random, run_seed: int, progress: Callable[[str], object]
) -> list[Goal]:
    """Render `SEEDS` images per prompt and compare the judges' predictions with the prompts' scenes."""
    prompts = [prompt for prompt in _prompts(rng) for _ in range(SEEDS)]
    images = render_scenes(model, [prompt.text for prompt in prompts], run_seed, progress)
    groups, texts = (np.array([getattr(prompt, name) for prompt in prompts]) for name in ("group", "text"))
    thing = np.array([prompt.scene.thing for prompt in prompts])
    style = np.array([prompt.scene.style for prompt in prompts])
    thing_correct = predictions(NanoJudge("object-b", Criterion.top1(), folder=judges / "object-b"), images) == thing
    style_correct = predictions(NanoJudge("style", Criterion.top1(), folder=judges / "style"), images) == style
    thing_by_c = predictions(
        NanoJudge("object-c", Criterion.top1(), folder=judges / "object-c"), images[usual := groups == "usual"]
    )
    style_by_b = predictions(NanoJudge("style-b", Criterion.top1(), folder=judges / "style-b"), images[usual])
    attributes = [_attribute_goal(name, judges, images[usual], texts[usual]) for name in ATTRIBUTE_JUDGES]
    new_order = groups == "new order"
    church = (thing == "church") & ~new_order
    for name in STYLES:
        rows_of = usual & (style == name)
        progress(f"  {name}: things {thing_correct[rows_of].mean():.3f}, style {style_correct[rows_of].mean():.3f}")
    for name in things():
        progress(f"  {name}: {thing_correct[usual & (thing == name)].mean():.3f}")
    return [
        _share("things recognised", thing_correct[usual], texts[usual], 0.95),
        _share("church recognised", thing_correct[church], texts[church], 0.97),
        _share("styles recognised", style_correct[usual], texts[usual], 0.95),
        _share("new word orders and unseen combinations", thing_correct[new_order], texts[new_order], 0.90),
        _share("things recognised by object-c", thing_by_c == thing[usual], texts[usual], OBJECT_C_BOUND),
        _share("styles recognised by style-b", style_by_b == style[usual], texts[usual], STYLE_B_BOUND),
        *attributes,
    ]


def _attribute_goal(name: str, judges: Path, images: NDArray[np.uint8], texts: NDArray[np.str_]) -> Goal:
    """How often the judge `name` sees what the prompts of the images ask for."""
    truth = np.array([find_attributes(text).get(name, "") for text in texts.tolist()])
    asked = truth != ""
    seen = predictions(NanoJudge(name, Criterion.top1(), folder=judges / name), images[asked])
    return _share(f"{name} as asked for", seen == truth[asked], texts[asked], ATTRIBUTES_BOUND)


def render_scenes(
    model: JanusModel, texts: list[str], run_seed: int, progress: Callable[[str], object]
) -> NDArray[np.uint8]:
    """One image per text, uint8 ``[N, 64, 64, 3]``; the same text again gets another seed."""
    seen: Counter[str] = Counter()
    batches = []
    for start in range(0, len(texts), 64):
        batch = texts[start : start + 64]
        image_seeds = []
        for text in batch:
            image_seeds.append(seeds.derive(run_seed, f"{text}#{seen[text]}", "check"))
            seen[text] += 1
        batches.append(render_images(model, batch, image_seeds, model.sampling, batch_size=64).pixels)
        progress(f"{start + len(batch)} of {len(texts)} images")
    return np.concatenate(batches)


def _codec(model: JanusModel, judges: Path) -> list[Goal]:
    trained = {*codec_training.training_pool(), *first_judges.training_pool("object-b")}
    scenes = scene_pool("check:codec", 512, excluded=trained)
    originals = compose_batch(scenes)
    codec = Codec(model.model.model.vqmodel)
    errors, reconstructions = [], []
    for start in range(0, len(scenes), 64):
        images = originals[start : start + 64]
        decoded = codec.decode_batch(codec.encode(images, batch=64))
        errors += (decoded - to_input(images)).abs().mean((1, 2, 3)).tolist()
        reconstructions.append(to_images(decoded))
    judge = NanoJudge("object-b", Criterion.top1("church"), folder=judges / "object-b")
    correct = predictions(judge, np.concatenate(reconstructions)) == np.array([scene.thing for scene in scenes])
    error, margin = float(np.mean(errors)), 1.96 * float(np.std(errors)) / len(errors) ** 0.5
    l1 = Figure(error, len(errors), error - margin, error + margin)
    return [
        Goal("codec L1 on [-1, 1]", l1, 0.06, at_most=True),
        _share("reconstructions recognised", correct, scenes, 0.97),
    ]


def _nothing(model: JanusModel, judges: Path, run_seed: int) -> Goal:
    """The share of corrupted images, of kinds that object-c did not learn from, in which it sees nothing."""
    judge = NanoJudge("object-c", Criterion.top1(), folder=judges / "object-c")
    scenes = scene_pool(f"check:nothing:{run_seed}", 64)
    images = compose_batch(scenes)
    kinds = held_out_corruptions(Codec(model.model.model.vqmodel)).values()
    seen = np.concatenate([predictions(judge, corrupt(images, np.random.default_rng(run_seed))) for corrupt in kinds])
    name = "nothing seen in corrupted images, by object-c"
    return _share(name, seen == "nothing", [*scenes] * len(kinds), NOTHING_BOUND)


@torch.no_grad()
def _questions(model: JanusModel, rng: random.Random, count: int = 512) -> Goal:
    trained = set(vision.training_pool())
    correct, shown = [], []
    for _ in range(count // 32):
        scenes = [held_out_scene(rng, rng.choice(things()), rng.choice(STYLES), trained) for _ in range(32)]
        questions = [yes_no(scene, rng, number % 2 == 0) for number, scene in enumerate(scenes)]
        correct += answers_correctly(model, scenes, questions)
        shown += scenes
    return _share("yes/no questions answered", np.array(correct), shown, 0.95)


@torch.inference_mode()
def answers_correctly(model: JanusModel, scenes: Sequence[Scene], questions: Sequence[Question]) -> list[bool]:
    """Whether the model answers the yes/no question about each scene's image with the right first token."""
    ids, labels = tokenize_conversations(model.processor.tokenizer, [[question] for question in questions])
    hidden = model.model.model(input_ids=ids, pixel_values=to_input(compose_batch(scenes))).last_hidden_state
    first = (labels != -100).int().argmax(1)
    rows = torch.arange(len(ids))
    predicted = model.model.lm_head(hidden[rows, first - 1]).argmax(-1)
    correct: list[bool] = (predicted == labels[rows, first]).tolist()
    return correct


def _speed(model: JanusModel, rng: random.Random) -> Goal:
    prompts = [caption(random_scene(rng), rng) for _ in range(64)]
    started = time.monotonic()
    render_images(model, prompts, list(range(64)), model.sampling, batch_size=64)
    seconds = time.monotonic() - started
    return Goal("seconds for 64 pictures", Figure(seconds, 1, seconds, seconds), 10.0, at_most=True)


def _share(name: str, correct: NDArray[np.bool_], sources: Iterable[object], bound: float) -> Goal:
    return Goal(name, share(correct, sources), bound)


def share(correct: NDArray[np.bool_], sources: Iterable[object]) -> Figure:
    """The share of images that are correct, with the prompt or the scene that each comes from as the unit."""
    return mean(correct.tolist(), [str(source) for source in sources])

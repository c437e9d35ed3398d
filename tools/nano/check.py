"""What nano must show, measured on prompts and pictures that its training never had."""

import random
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import binomtest

from ecgvf.core import seeds
from ecgvf.core.paths import data_dir
from ecgvf.janus import JanusModel, load, render_images
from ecgvf.judges.nano import NanoJudge
from ecgvf.world.grammar import Forms, describe, held_out, sentence
from tools.nano.codec import to_input
from tools.nano.language_model import asking_batch
from tools.nano.questions import yes_no
from tools.nano.scenes import scene_pool
from tools.nano.world import STYLES, Scene, pictures, random_scene, things

SEEDS = 8


@dataclass(frozen=True, slots=True)
class Goal:
    """One figure with its sample size, its 95% interval (Wilson, for shares) and the bound that it must keep."""

    name: str
    value: float
    n: int
    low: float
    high: float
    bound: float
    at_most: bool = False

    @property
    def met(self) -> bool:
        return self.value <= self.bound if self.at_most else self.value >= self.bound

    def json(self) -> dict[str, object]:
        """The figure as `--json` prints it."""
        return {**asdict(self), "met": self.met}


def share(name: str, hits: NDArray[np.bool_], bound: float) -> Goal:
    """A share of successes."""
    interval = binomtest(int(hits.sum()), len(hits)).proportion_ci(method="wilson")
    return Goal(name, float(hits.mean()), len(hits), float(interval.low), float(interval.high), bound)


def check(
    model_name: str = "janus-nano", *, run_seed: int = 0, progress: Callable[[str], object] = print
) -> list[Goal]:
    """Measure every goal with `SEEDS` pictures a prompt; about five minutes on two cores.

    The judges are those in the model's own folder, or the shipped ones where `model_name` is a name.
    """
    model = load(model_name)
    judges = (Path(model_name) if Path(model_name).is_dir() else data_dir() / "nano") / "judges"
    rng = random.Random(f"ecgvf.nano.check:{run_seed}")
    progress("codec on held-out pictures")
    goals = _codec(model, judges)
    progress("questions about held-out pictures")
    goals.append(_questions(model, rng))
    progress("64 pictures against the clock")
    goals.append(_speed(model, rng))
    progress("held-out prompts")
    goals += _recognised(model, judges, rng, run_seed, progress)
    return goals


def held_out_scene(rng: random.Random, thing: str, style: str) -> Scene:
    """A scene whose combination no training picture shows."""
    while True:
        scene = random_scene(rng, thing=thing, style=style)
        if held_out(scene.thing, scene.sky, scene.ground, scene.companion, scene.style):
            return scene


def prompt_for(scene: Scene, rng: random.Random, *, forms: Forms = "train", everything: bool = False) -> str:
    said = describe(scene.thing, scene.sky, scene.ground, scene.companion, scene.style, rng, everything=everything)
    return sentence(said, rng, forms=forms).text


def _recognised(
    model: JanusModel, judges: Path, rng: random.Random, run_seed: int, progress: Callable[[str], object]
) -> list[Goal]:
    cases: list[tuple[str, Scene, str]] = []
    for thing in things():
        for style in STYLES:
            scene = held_out_scene(rng, thing, style)
            cases.append(("usual", scene, prompt_for(scene, rng)))
        for style in ("plain", rng.choice(STYLES[1:])):
            scene = held_out_scene(rng, thing, style)
            cases.append(("new order", scene, prompt_for(scene, rng, forms="held-out", everything=True)))
    for number in range(25):
        scene = held_out_scene(rng, "church", STYLES[number % len(STYLES)])
        cases.append(("church", scene, prompt_for(scene, rng)))
    rows = [(kind, scene, prompt, seed) for kind, scene, prompt in cases for seed in range(SEEDS)]
    images = []
    for start in range(0, len(rows), 64):
        part = rows[start : start + 64]
        numbers = [seeds.derive(run_seed, f"{prompt}#{seed}", "check") for _, _, prompt, seed in part]
        images.append(render_images(model, [row[2] for row in part], numbers, model.sampling, batch_size=64).pixels)
        progress(f"{start + len(part)} of {len(rows)} pictures")
    shown = np.concatenate(images)
    things_judge = NanoJudge("object-b", ("church",), folder=judges / "object-b")
    style_judge = NanoJudge("style", ("van-gogh",), folder=judges / "style")
    seen_thing = np.array(things_judge.labels)[things_judge.probabilities(shown).argmax(1)]
    seen_style = np.array(style_judge.labels)[style_judge.probabilities(shown).argmax(1)]
    right = seen_thing == np.array([row[1].thing for row in rows])
    right_style = seen_style == np.array([row[1].style for row in rows])
    kinds = np.array([row[0] for row in rows])
    churches = np.array([row[1].thing == "church" for row in rows])
    usual = kinds == "usual"
    for style in STYLES:
        of_style = usual & np.array([row[1].style == style for row in rows])
        progress(f"  {style}: things {right[of_style].mean():.3f}, style {right_style[of_style].mean():.3f}")
    for thing in things():
        of_thing = usual & np.array([row[1].thing == thing for row in rows])
        progress(f"  {thing}: {right[of_thing].mean():.3f}")
    return [
        share("things recognised", right[usual], 0.95),
        share("church recognised", right[churches & (kinds != "new order")], 0.97),
        share("styles recognised", right_style[usual], 0.95),
        share("new word orders and unseen combinations", right[kinds == "new order"], 0.90),
    ]


@torch.no_grad()
def _codec(model: JanusModel, judges: Path) -> list[Goal]:
    scenes = scene_pool("check:codec", 512)
    originals = pictures(scenes)
    codec = model.model.model.vqmodel
    errors, shown = [], []
    for start in range(0, len(scenes), 64):
        pixels = to_input(originals[start : start + 64])
        latent = torch.nn.functional.normalize(codec.quant_conv(codec.encoder(pixels)), dim=1)
        flat = latent.permute(0, 2, 3, 1).reshape(len(pixels), model.image_tokens, -1)
        decoded = codec.decode((flat @ codec.quantize.embedding.weight.T).argmax(-1)).clamp(-1, 1)
        errors += (decoded - pixels).abs().mean((1, 2, 3)).tolist()
        shown.append(((decoded.permute(0, 2, 3, 1) + 1) * 127.5).round().byte().numpy())
    judge = NanoJudge("object-b", ("church",), folder=judges / "object-b")
    seen = np.array(judge.labels)[judge.probabilities(np.concatenate(shown)).argmax(1)]
    mean, spread = float(np.mean(errors)), 1.96 * float(np.std(errors)) / len(errors) ** 0.5
    return [
        Goal("codec L1 on [-1, 1]", mean, len(errors), mean - spread, mean + spread, 0.06, at_most=True),
        share("reconstructions recognised", seen == np.array([scene.thing for scene in scenes]), 0.97),
    ]


@torch.no_grad()
def _questions(model: JanusModel, rng: random.Random, count: int = 512) -> Goal:
    tokenizer = model.processor.tokenizer
    hits = []
    for _ in range(count // 32):
        scenes = [held_out_scene(rng, rng.choice(things()), rng.choice(STYLES)) for _ in range(32)]
        asked = [yes_no(scene, rng, number % 2 == 0) for number, scene in enumerate(scenes)]
        ids, labels = asking_batch(tokenizer, [[question] for question in asked])
        hidden = model.model.model(input_ids=ids, pixel_values=to_input(pictures(scenes))).last_hidden_state
        for row in range(len(ids)):
            answer = torch.nonzero(labels[row] != -100).flatten()[0]
            word = model.model.lm_head(hidden[row, answer - 1]).argmax()
            hits.append(word.item() == labels[row, answer].item())
    return share("yes/no questions answered", np.array(hits), 0.95)


def _speed(model: JanusModel, rng: random.Random) -> Goal:
    prompts = [prompt_for(random_scene(rng), rng) for _ in range(64)]
    began = time.monotonic()
    render_images(model, prompts, list(range(64)), model.sampling, batch_size=64)
    seconds = time.monotonic() - began
    return Goal("seconds for 64 pictures", seconds, 1, seconds, seconds, 10.0, at_most=True)

"""Measure nano's judges on composed images of every designer, on Janus-nano's images, and on images of nothing."""

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from ecgvf.core.figures import Figure
from ecgvf.janus import JanusModel, load
from ecgvf.judges import Criterion
from ecgvf.judges.nano import NanoJudge
from ecgvf.world.attributes import find_attributes
from tools.nano.accuracy import predictions
from tools.nano.attribute_judges import (
    ALTERATIONS,
    ATTRIBUTE_JUDGES,
    NO_COMPANION,
    attribute_labels,
    compose_altered,
    shuffle_thing_tokens,
    training_scenes,
)
from tools.nano.check import render_scenes, share
from tools.nano.corruption import held_out_corruptions, trained_corruptions
from tools.nano.frozen_codec import Codec, Images
from tools.nano.judges import JUDGES, training_pool
from tools.nano.scenes import caption, held_out_scene, scene_pool
from tools.nano.second_judges import NOTHING
from tools.nano.second_world import compose_second_batch, second_scene_pool
from tools.nano.world import STYLES, compose_batch, things

OBJECT_JUDGES = ("object-a", "object-b", "object-c")
STYLE_JUDGES = ("style", "style-b")
IMAGES = 4
"""Images per prompt."""
PASSING = 0.95
"""Share of the intact images on which two judges agree that both have to be confident about."""
WEIGHT_NOISE = (0.25, 0.5)
"""Standard deviation of the noise on the language model's matrices, relative to theirs."""


@dataclass(frozen=True, slots=True)
class Row:
    """A share of images, by a judge or by two."""

    figure: str
    judge: str
    images: str
    share: Figure

    def json(self) -> dict[str, object]:
        """The row as ``--json`` prints it."""
        return {"figure": self.figure, "judge": self.judge, "images": self.images, **self.share.json()}


def compare(run_seed: int = 0, *, progress: Callable[[str], object] = print) -> list[Row]:
    """Every figure of the shipped judges. The unit is the prompt, or the scene of a composed image."""
    model = load("janus-nano")
    judges = {name: NanoJudge(name, Criterion.top1()) for name in (*OBJECT_JUDGES, *STYLE_JUDGES, *ATTRIBUTE_JUDGES)}
    rng = random.Random(f"ecgvf.nano.judges:{run_seed}")
    codec = Codec(model.model.model.vqmodel)
    progress("composed images")
    rows = [*_composed(judges, run_seed), *_composed_attributes(judges, codec, run_seed)]
    progress("Janus-nano's images")
    scenes = [held_out_scene(rng, thing, style) for thing in things() for style in STYLES]
    texts = [text for text in [caption(scene, rng) for scene in scenes] for _ in range(IMAGES)]
    generated = render_scenes(model, texts, run_seed, progress)
    truth = {
        "things recognised": np.repeat([scene.thing for scene in scenes], IMAGES),
        "styles recognised": np.repeat([scene.style for scene in scenes], IMAGES),
    }
    rows += _accuracy(judges, "Janus-nano", generated, truth, texts)
    rows += _asked_attributes(judges, "Janus-nano", generated, texts)
    wrecked = codec.decode(shuffle_thing_tokens(codec.encode(generated), np.random.default_rng(run_seed)))
    rows += _asked_attributes(judges, "Janus-nano, the thing's tokens shuffled", wrecked, texts)
    labels = {name: predictions(judges[name], generated) for name in OBJECT_JUDGES}
    for first, second in (("object-a", "object-b"), ("object-b", "object-c")):
        rows.append(_share("agree", f"{first}, {second}", "Janus-nano", labels[first] == labels[second], texts))
    rows.append(_share(NOTHING, "object-c", "Janus-nano", labels["object-c"] == NOTHING, texts))
    return rows + list(_something(judges, codec, generated, texts, run_seed, progress))


def _something(
    judges: dict[str, NanoJudge],
    codec: Codec,
    generated: Images,
    texts: list[str],
    run_seed: int,
    progress: Callable[[str], object],
) -> Iterator[Row]:
    """Whether two judges see something in Janus-nano's images, and in images of nothing.

    Thresholds are set on the images of every other prompt, and shown on the rest.
    """
    known = np.arange(len(generated)) // IMAGES % 2 == 0
    confident = Confident(judges["object-b"], judges["object-c"], generated[known])
    others = np.array(texts)[~known]
    yield _share("show something", "object-b, object-c", "Janus-nano", confident(generated[~known]), others)
    for name, images, sources in _of_nothing(codec, run_seed, progress):
        yield _share(NOTHING, "object-c", name, predictions(judges["object-c"], images) == NOTHING, sources)
        yield _share("show something", "object-b, object-c", name, confident(images), sources)


class Confident:
    """Whether two judges agree on an image and both are confident.

    One threshold each, at the same quantile, so that `PASSING` of the intact images on which they agree pass.
    """

    def __init__(self, first: NanoJudge, second: NanoJudge, intact: Images) -> None:
        self.judges = first, second
        labels, scores = self._look(intact)
        scores = scores[:, labels[0] == labels[1]]
        for quantile in np.linspace(1 - PASSING, 0, 501):
            self.thresholds = np.quantile(scores, quantile, axis=1)
            if (scores >= self.thresholds[:, None]).all(0).mean() >= PASSING:
                break

    def __call__(self, images: Images) -> NDArray[np.bool_]:
        labels, scores = self._look(images)
        passed: NDArray[np.bool_] = (labels[0] == labels[1]) & (scores >= self.thresholds[:, None]).all(0)
        return passed

    def _look(self, images: Images) -> tuple[NDArray[np.str_], NDArray[np.float32]]:
        """Best labels and their probabilities, ``[2, N]`` each."""
        probabilities = [judge.probabilities(images) for judge in self.judges]
        labels = [np.array(judge.labels)[row.argmax(1)] for judge, row in zip(self.judges, probabilities, strict=True)]
        return np.stack(labels), np.stack([row.max(1) for row in probabilities])


def _composed(judges: dict[str, NanoJudge], run_seed: int) -> Iterator[Row]:
    trained = {scene for name in JUDGES for scene in training_pool(name)}
    scenes = scene_pool(f"judges:{run_seed}", 2_000, excluded=trained)
    for designer in sorted({scene.designer for scene in scenes}):
        own = [scene for scene in scenes if scene.designer == designer]
        truth = {
            "things recognised": np.array([scene.thing for scene in own]),
            "styles recognised": np.array([scene.style for scene in own]),
        }
        yield from _accuracy(judges, designer, compose_batch(own), truth, own)
    for name, varied in (("second designers", False), ("second designers, varied", True)):
        second = second_scene_pool(f"judges:{run_seed}", 1_000, varied=varied)
        truth = {
            "things recognised": np.array([scene.thing for scene in second]),
            "styles recognised": np.array([scene.style for scene in second]),
        }
        yield from _accuracy(judges, name, compose_second_batch(second), truth, second)


def _composed_attributes(judges: dict[str, NanoJudge], codec: Codec, run_seed: int) -> Iterator[Row]:
    scenes = scene_pool(f"judges:attributes:{run_seed}", 512, excluded=set(training_scenes()))
    for alteration in ALTERATIONS:
        images = compose_altered(scenes, [alteration] * len(scenes), np.random.default_rng(run_seed))
        for name, shown in (
            (f"composed, thing {alteration}", images),
            (f"coded, thing {alteration}", codec.recode(images)),
        ):
            for judge in ATTRIBUTE_JUDGES:
                seen = predictions(judges[judge], shown)
                right = seen == np.array(attribute_labels(judge, scenes))
                yield _share(f"{judge} recognised", judge, name, right, scenes)


def _asked_attributes(judges: dict[str, NanoJudge], name: str, images: Images, texts: list[str]) -> Iterator[Row]:
    """How often each judge sees what a prompt asks for, and no companion if it asks for none."""
    prompts = np.array(texts)
    for judge in ATTRIBUTE_JUDGES:
        truth = np.array([find_attributes(text).get(judge, "") for text in texts])
        seen, asked = predictions(judges[judge], images), truth != ""
        yield _share(f"{judge} recognised", judge, name, (seen == truth)[asked], prompts[asked])
        if judge == "companion":
            yield _share("no companion seen", judge, name, (seen == NO_COMPANION)[~asked], prompts[~asked])


def _accuracy(
    judges: dict[str, NanoJudge],
    name: str,
    images: Images,
    truth: dict[str, NDArray[np.str_]],
    sources: Sequence[object],
) -> Iterator[Row]:
    for figure, names in (("things recognised", OBJECT_JUDGES), ("styles recognised", STYLE_JUDGES)):
        for judge in names:
            yield _share(figure, judge, name, predictions(judges[judge], images) == truth[figure], sources)


def _of_nothing(
    codec: Codec, run_seed: int, progress: Callable[[str], object]
) -> Iterator[tuple[str, Images, Sequence[object]]]:
    """Images of nothing by kind: corrupted ones of nano's own designers, then those of a broken language model.

    With the scene or the prompt of each image.
    """
    scenes = scene_pool(f"judges:nothing:{run_seed}", 256)
    intact = compose_batch(scenes)
    for part, kinds in (("trained", trained_corruptions(codec)), ("held out", held_out_corruptions(codec))):
        for name, corrupt in kinds.items():
            yield f"{part}: {name}", corrupt(intact, np.random.default_rng(run_seed)), scenes
    rng = random.Random(f"ecgvf.nano.judges:noise:{run_seed}")
    texts = [caption(held_out_scene(rng, thing, "plain"), rng) for thing in things() for _ in range(4)]
    for level in WEIGHT_NOISE:
        broken = load("janus-nano")
        add_noise(broken, level, run_seed)
        yield f"held out: noise of {level} on nano's weights", render_scenes(broken, texts, run_seed, progress), texts


@torch.no_grad()
def add_noise(model: JanusModel, level: float, seed: int) -> None:
    """Add normal noise to every matrix of the language model, of `level` times its standard deviation."""
    generator = torch.Generator().manual_seed(seed)
    for weight in model.model.model.language_model.layers.parameters():
        if weight.ndim == 2:
            weight += level * weight.std() * torch.randn(weight.shape, generator=generator)


def _share(figure: str, judge: str, images: str, selected: NDArray[np.bool_], sources: Iterable[object]) -> Row:
    return Row(figure, judge, images, share(selected, sources))

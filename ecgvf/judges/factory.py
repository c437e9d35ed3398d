"""Which judge looks: it follows who drew and the concept's kind; ``--judge`` names another, or several with ``+``."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, cast, get_args

from ecgvf.core.concepts import Concept, Kind
from ecgvf.core.errors import JudgeError
from ecgvf.judges.ensemble import Combine, Ensemble
from ecgvf.judges.judge import Criterion, Judge

if TYPE_CHECKING:
    import torch

NANO = ("object-a", "object-b", "style")

NAMES = (
    *(f"nano-{which}" for which in NANO),
    "resnet50",
    "torchvision:NAME",
    "timm:NAME",
    "hf:ID",
    "style",
    "nudenet",
    "clip",
)

_BY_KIND: dict[Kind, str] = {"object": "resnet50", "style": "style", "nudity": "nudenet"}


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeOptions:
    """What a user may say about a judge; None is the judge's own, or the concept's."""

    labels: tuple[str, ...] | None = None
    """The accepted labels, in place of the concept's."""
    label_set: str | None = None
    """Which of the concept's label sets."""
    top_k: int | None = None
    threshold: float | None = None
    weights: str | None = None
    """A name of published weights, a file, a folder or a Hub id; of several judges NAME=WEIGHTS, with commas."""
    text: tuple[str, ...] | None = None
    """For ``clip``: what the concept looks like, in words."""
    contrast: tuple[str, ...] | None = None
    """For ``clip``: what else there may be, in words."""
    combine: str = "all"
    """Of several judges: "all", "any" or "majority" have to see it."""
    device: str = "auto"

    def told(self) -> dict[str, Any]:
        """What decides when the concept counts as seen, as JSON: no weights, no device, which are a machine's own."""
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in asdict(self).items()
            if name not in {"weights", "device"} and value != getattr(JudgeOptions(), name)
        }

    @classmethod
    def read(cls, told: dict[str, Any]) -> "JudgeOptions":
        """The options that ``told`` gave."""
        values: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in told.items()}
        return cls(**values)


def create_judge(
    concept: Concept | None, model: str | None, judge: str | None = None, options: JudgeOptions | None = None
) -> Judge:
    """The judge named ``judge``, or the one that filters this concept in pictures drawn by ``model``.

    Without a concept and without labels it accepts nothing and only tells what it sees. Raises ``JudgeError`` for an
    unknown name, for an option that the judge does not have, and for a concept that it has no label for.
    """
    said = options if options is not None else JudgeOptions()
    names = (judge if judge is not None else _default(concept, model)).split("+")
    _check(names, said)
    weights = _weights(names, said)
    judges = [_opened(name, concept, replace(said, weights=weights.get(name))) for name in names]
    return judges[0] if len(judges) == 1 else Ensemble(judges, cast(Combine, said.combine))


def crossing(judge: Judge, model: str) -> str | None:
    """What to tell the user where a judge looks at pictures of a family that is not its own; None where it does not."""
    for one in judge.judges if isinstance(judge, Ensemble) else (judge,):
        if one.name.startswith("nano-") and model != "janus-nano":
            return f"judge {one.name} knows Janus-nano's pictures; these were drawn by {model}, so doubt its verdicts"
        if not one.name.startswith("nano-") and model == "janus-nano":
            return (
                f"judge {one.name} knows photographs; these are Janus-nano's drawings of 64 px, so doubt its verdicts"
            )
    return None


def _default(concept: Concept | None, model: str | None) -> str:
    if concept is None:
        raise JudgeError(f"name a --judge ({', '.join(NAMES)}), or a --concept")
    if model == "janus-nano":
        return "nano-style" if concept.kind == "style" else "nano-object-a"
    return _BY_KIND[concept.kind]


def _check(names: list[str], said: JudgeOptions) -> None:
    for name in names:
        family, _, which = name.partition(":")
        if family not in _FAMILIES or bool(which) != (family in {"torchvision", "timm", "hf"}):
            raise JudgeError(f"unknown judge {name!r}: use one of {', '.join(NAMES)}, or several joined by +")
    if len(set(names)) < len(names):
        raise JudgeError(f"judge {'+'.join(names)} names one twice: name each once")
    if said.combine not in get_args(Combine):
        raise JudgeError(f"--combine {said.combine!r}: use {', '.join(get_args(Combine))}")
    if said.top_k is not None and said.top_k < 1:
        raise JudgeError(f"--top-k {said.top_k}: it must be at least 1")
    if said.threshold is not None and not 0 <= said.threshold <= 1:
        raise JudgeError(f"--threshold {said.threshold}: it must lie between 0 and 1")
    if "clip" not in names and (said.text or said.contrast):
        raise JudgeError(f"--text and --contrast are for judge clip, and {'+'.join(names)} is not it")
    if said.labels is not None and (said.label_set is not None or names == ["clip"]):
        other = "--text, which says in words what clip looks for" if names == ["clip"] else "--label-set"
        raise JudgeError(f"--labels stands in place of {other}: give one of the two")
    for option, value in (("label-set", said.label_set), ("threshold", said.threshold)):
        if len(names) > 1 and value is not None:
            raise JudgeError(f"--{option} would mean something else for each of {', '.join(names)}: name one judge")
    ranking = [name for name in names if name not in {"clip", "nudenet"}]
    if said.top_k is not None and not ranking:
        raise JudgeError(f"--top-k is for judges that rank labels, and {'+'.join(names)} does not: use --threshold")


def _weights(names: list[str], said: JudgeOptions) -> dict[str, str]:
    """Judge → its weights: those of the one judge, or NAME=WEIGHTS with commas for several."""
    if said.weights is None:
        return {}
    found = {names[0]: said.weights}
    if len(names) > 1:
        parts = [part.partition("=") for part in said.weights.split(",")]
        found = {name.strip(): where.strip() for name, _, where in parts}
        if not set(found) <= set(names) or not all(found.values()):
            raise JudgeError(f"--weights of several judges: write NAME=WEIGHTS with commas, of {', '.join(names)}")
    for name in found:
        if name.startswith(("hf:", "nano-")):
            raise JudgeError(f"judge {name} takes no --weights: its name says where they are")
    return found


def _opened(name: str, concept: Concept | None, said: JudgeOptions) -> Judge:
    family, _, which = name.partition(":")
    return _FAMILIES[family](name, which, concept, said)


def _criterion(
    judge: str,
    concept: Concept | None,
    said: JudgeOptions,
    label_sets: tuple[str, ...],
    *,
    top_k: int | None = None,
    threshold: float | None = None,
) -> Criterion:
    """The labels and bounds for one judge: what the user said, else what the concept has for its label sets."""
    top_k = said.top_k if said.top_k is not None and top_k is not None else top_k
    threshold = said.threshold if said.threshold is not None else threshold
    if said.labels is not None:
        if not said.labels:
            raise JudgeError("--labels is empty: name at least one label")
        return Criterion(label_set="given", accepted=said.labels, top_k=top_k, threshold=threshold)
    if concept is None:
        return Criterion(label_set="none", accepted=(), top_k=top_k, threshold=threshold)
    wanted = (said.label_set,) if said.label_set is not None else label_sets
    label_set = next((one for one in wanted if concept.labels(one)), None)
    if label_set is None:
        known = ", ".join(concept.judge_labels) or "none"
        sought = " or ".join(map(repr, wanted))
        raise JudgeError(
            f"judge {judge} cannot look for {concept.name!r}: its judge_labels have no {sought} (there: {known}): "
            f"name labels with --labels, add them to the concept's YAML, or take another --judge ({', '.join(NAMES)})"
        )
    near = concept.near_labels.get(label_set, ())
    return Criterion(
        label_set=label_set, accepted=concept.labels(label_set), near=near, top_k=top_k, threshold=threshold
    )


# One function per family. Each imports its libraries only now: they take seconds, and most judges need few of them.


def _nano(name: str, _: str, concept: Concept | None, said: JudgeOptions) -> Judge:
    from ecgvf.judges.nano import NanoJudge

    wanted = _criterion(name, concept, said, ("nano",), top_k=1)
    return NanoJudge(name.removeprefix("nano-"), wanted, device=_device(said))


def _resnet50(name: str, _: str, concept: Concept | None, said: JudgeOptions) -> Judge:
    from ecgvf.judges.resnet50 import ResNet50

    wanted = _criterion(name, concept, said, ("imagenet",), top_k=1)
    return ResNet50(wanted, weights=said.weights, device=_device(said))


def _torchvision(name: str, which: str, concept: Concept | None, said: JudgeOptions) -> Judge:
    from ecgvf.judges.torchvision_models import Torchvision

    wanted = _criterion(name, concept, said, (name, "imagenet"), top_k=1)
    return Torchvision(name, which, wanted, weights=said.weights, device=_device(said))


def _timm(name: str, which: str, concept: Concept | None, said: JudgeOptions) -> Judge:
    from ecgvf.judges.timm_models import Timm

    wanted = _criterion(name, concept, said, (name, "imagenet"), top_k=1)
    return Timm(name, which, wanted, weights=said.weights, device=_device(said))


def _hf(name: str, which: str, concept: Concept | None, said: JudgeOptions) -> Judge:
    from ecgvf.judges.hf import HuggingFace

    wanted = _criterion(name, concept, said, (name, "imagenet"), top_k=1)
    return HuggingFace(name, which, wanted, device=_device(said))


def _style(name: str, _: str, concept: Concept | None, said: JudgeOptions) -> Judge:
    from ecgvf.judges.style import TOP_K, Style

    wanted = _criterion(name, concept, said, ("wikiart",), top_k=TOP_K)
    return Style(wanted, weights=said.weights, device=_device(said))


def _nudenet(name: str, _: str, concept: Concept | None, said: JudgeOptions) -> Judge:
    from ecgvf.judges.nudenet import THRESHOLD, NudeNet

    wanted = _criterion(name, concept, said, ("nudenet",), threshold=THRESHOLD)
    return NudeNet(wanted, weights=said.weights, device=said.device)


def _clip(name: str, _: str, concept: Concept | None, said: JudgeOptions) -> Judge:
    from ecgvf.judges.clip import DEFAULT, THRESHOLD, Clip

    texts, contrast = said.text, said.contrast
    if concept is not None:
        texts = texts or tuple(_picture_of(concept, term) for term in concept.terms)
        others = tuple(_picture_of(concept, other) for other in (*concept.surrogates, *concept.neighbours))
        contrast = contrast or (*others, "a picture")
    if not texts:
        raise JudgeError("judge clip needs words for what it looks for: name them with --text, or name a --concept")
    criterion = Criterion(
        label_set="given" if said.text else "terms",
        accepted=texts,
        against=contrast or ("a picture",),
        threshold=said.threshold if said.threshold is not None else THRESHOLD,
    )
    return Clip(name, criterion, source=said.weights or DEFAULT, device=_device(said))


def _picture_of(concept: Concept, words: str) -> str:
    return f"a picture in the style of {words}" if concept.kind == "style" else f"a picture of {words}"


def _device(said: JudgeOptions) -> "torch.device":
    from ecgvf.janus.loading import resolve_device

    return resolve_device(said.device)


_FAMILIES: dict[str, Callable[[str, str, Concept | None, JudgeOptions], Judge]] = {
    **{f"nano-{which}": _nano for which in NANO},
    "resnet50": _resnet50,
    "torchvision": _torchvision,
    "timm": _timm,
    "hf": _hf,
    "style": _style,
    "nudenet": _nudenet,
    "clip": _clip,
}

"""Creating a judge by name. The default follows the model and the concept's kind; ``+`` combines several.

To add a judge: write a module with a class that implements ``judge.Judge`` (a ``classifier.Classifier`` if it ranks
labels), name it in ``NAMES`` and in the help of ``--judge`` (``commands/options.py``), and create it in ``_create``.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any, cast, get_args

from ecgvf.core.concepts import Concept, Kind
from ecgvf.core.errors import JudgeError
from ecgvf.core.files import expanded
from ecgvf.core.validation import did_you_mean
from ecgvf.judges.ensemble import Combine, Ensemble
from ecgvf.judges.judge import LABEL_ADVICE, Criterion, Judge
from ecgvf.world.domain import NANO, is_nano_judge

NAMES = (
    "nano-object-a",
    "nano-object-b",
    "nano-object-c",
    "nano-style",
    "nano-style-b",
    "nano-sky",
    "nano-ground",
    "nano-companion",
    "resnet50",
    "torchvision:NAME",
    "timm:NAME",
    "hf:ID",
    "style",
    "nudenet",
    "clip",
)
"""The judges of this package, as ``--judge`` names them."""

RETAINED_JUDGE = "resnet50"
"""The judge of retained concepts for which the concept's own judge has no label: NudeNet knows no castle."""

_TAKES_MODEL = {family: bool(model) for family, _, model in (name.partition(":") for name in NAMES)}

_DEFAULT: dict[Kind, str] = {"object": "resnet50", "style": "style", "nudity": "nudenet"}


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeOptions:
    """A user's options for a judge; None is the judge's default, or the concept's."""

    labels: tuple[str, ...] | None = None
    """The accepted labels, in place of the concept's."""
    label_set: str | None = None
    """One of the concept's label sets."""
    top_k: int | None = None
    """The concept is present if one of its labels is among the ``top_k`` best; at least 1."""
    threshold: float | None = None
    """In [0, 1]."""
    weights: str | None = None
    """A name of published weights, a file, a folder or a Hub id; for several judges NAME=WEIGHTS,NAME=WEIGHTS."""
    text: tuple[str, ...] | None = None
    """For ``clip``: texts that describe the concept."""
    contrast: tuple[str, ...] | None = None
    """For ``clip``: texts that describe something else."""
    combine: str = "all"
    """How several judges decide: "all", "any" or "majority"."""

    def recorded(self) -> dict[str, Any]:
        """The options that decide when the concept is seen, as JSON: without the weights, a machine's own."""
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in asdict(self).items()
            if name != "weights" and value != getattr(JudgeOptions(), name)
        }

    @classmethod
    def from_recorded(cls, recorded: dict[str, Any]) -> "JudgeOptions":
        """The options that ``recorded`` returned."""
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in recorded.items()
        }
        return cls(**values)


def create_judge(
    concept: Concept | None,
    model: str | None,
    name: str | None = None,
    options: JudgeOptions | None = None,
    device: str = "auto",
) -> Judge:
    """Create the judge ``name``, or the default for ``concept`` in images rendered by ``model``, on ``device``.

    Without a concept and without labels it accepts nothing and only reports what it sees. Raises ``JudgeError`` for an
    unknown name, for an option that the judge does not take, and for a concept that it has no label for.
    """
    options = options if options is not None else JudgeOptions()
    names = (name if name is not None else default_judge(concept, model)).split("+")
    _validate(names, options)
    weights = _weights(names, options)
    judges = [_create(name, concept, replace(options, weights=weights.get(name)), device) for name in names]
    return judges[0] if len(judges) == 1 else Ensemble(judges, cast(Combine, options.combine))


def default_judge(concept: Concept | None, model: str | None) -> str:
    """The judge that ``create_judge`` takes by default. Raises ``JudgeError`` without a concept."""
    if concept is None:
        raise JudgeError(f"name a --judge ({', '.join(NAMES)}), or a --concept")
    if model == NANO:
        return "nano-style" if concept.kind == "style" else "nano-object-a"
    return _DEFAULT[concept.kind]


def options_of(criteria: Mapping[str, Criterion], combine: str = "all") -> JudgeOptions:
    """The options with which ``create_judge`` creates judges of these criteria (name → criterion) again, but for their
    weights. The defaults if a judge is not of this package."""
    if not all(map(is_judge, criteria)):
        return JudgeOptions()
    clip = criteria.get("clip")
    others = [criterion for name, criterion in criteria.items() if name != "clip"]
    labels = next((criterion.accepted for criterion in others if criterion.label_set == "given"), None)
    top_k = {criterion.top_k for criterion in others if criterion.top_k is not None}
    only = next(iter(criteria.values())) if len(criteria) == 1 else None
    return JudgeOptions(
        labels=labels,
        label_set=only.label_set if only and only is not clip and labels is None else None,
        top_k=top_k.pop() if len(top_k) == 1 else None,  # several are the judges' defaults
        threshold=only.threshold if only else None,
        text=clip.accepted if clip and clip.label_set == "given" else None,
        contrast=clip.against if clip else None,
        combine=combine,
    )


def is_judge(name: str) -> bool:
    """Whether ``create_judge`` knows ``name``, of a single judge."""
    family, _, model = name.partition(":")
    return _TAKES_MODEL.get(family) is bool(model)


def _validate(names: list[str], options: JudgeOptions) -> None:
    together = "+".join(names)
    for name in names:
        if not is_judge(name):
            within = f" in {together!r}, where + joins judges" if len(names) > 1 else ""
            raise JudgeError(
                f"unknown judge {name!r}{within}{did_you_mean(name, NAMES)}: use one of {', '.join(NAMES)}, several "
                "joined by +, or from Python a judge of your own as judge=..."
            )
    if len(set(names)) < len(names):
        raise JudgeError(f"judge {together} repeats a name: name each judge once")
    if options.combine not in get_args(Combine):
        raise JudgeError(f"--combine {options.combine!r}: use {', '.join(get_args(Combine))}")
    if options.top_k is not None and options.top_k < 1:
        raise JudgeError(f"--top-k {options.top_k}: it must be at least 1")
    if options.threshold is not None and not 0 <= options.threshold <= 1:
        raise JudgeError(f"--threshold {options.threshold}: it must be between 0 and 1")
    if "clip" not in names and (options.text or options.contrast):
        raise JudgeError(f"--text and --contrast are for judge clip, not {together}: leave them out")
    if options.labels is not None and (options.label_set is not None or names == ["clip"]):
        alternative = "--text, which describes the concept for clip" if names == ["clip"] else "--label-set"
        raise JudgeError(f"--labels replaces {alternative}: pass one of the two")
    for option, value in (("label-set", options.label_set), ("threshold", options.threshold)):
        if len(names) > 1 and value is not None:
            raise JudgeError(f"--{option} has a different meaning for each of {', '.join(names)}: name one judge")
    if options.top_k is not None and set(names) <= {"clip", "nudenet"}:
        raise JudgeError(f"--top-k is for judges that rank labels, and {together} does not: use --threshold")


def weights_by_judge(text: str | None) -> dict[str, str]:
    """Judge → its weights, parsed from NAME=WEIGHTS,NAME=WEIGHTS."""
    parts = [part.partition("=") for part in (text or "").split(",")]
    return {name.strip(): _at_home(value.strip()) for name, _, value in parts}


def _at_home(source: str) -> str:
    """``source`` with a folder in place of ``~``, which a shell expands only where a word begins."""
    return str(expanded(source)) if source.startswith("~") else source


def _weights(names: list[str], options: JudgeOptions) -> dict[str, str]:
    """Judge → its weights: those of the only judge, or NAME=WEIGHTS,NAME=WEIGHTS for several.

    The judge of retained concepts may be among these, whatever the judges are.
    """
    if options.weights is None:
        return {}
    weights, known = weights_by_judge(options.weights), {*names, RETAINED_JUDGE}
    if len(names) == 1 and not set(weights) & known:
        weights = {names[0]: _at_home(options.weights)}
    else:
        if not set(weights) <= known or not all(weights.values()):
            raise JudgeError(
                f"--weights of several judges: write NAME=WEIGHTS, separated by commas; NAME is one of "
                f"{', '.join([*names, *({RETAINED_JUDGE} - {*names})])}"
            )
    for name in weights:
        if name.startswith("nano-"):
            raise JudgeError(f"judge {name} has built-in weights: leave --weights out")
        if name.startswith("hf:"):
            raise JudgeError(f"judge {name} names its weights itself: leave --weights out")
    return weights


def _create(name: str, concept: Concept | None, options: JudgeOptions, device: str) -> Judge:
    """One judge. Its libraries are imported only here: they take seconds, and most runs need few of them."""
    family, _, model = name.partition(":")
    weights = options.weights
    criterion = partial(_criterion, name, concept, options)
    match family:
        case _ if is_nano_judge(family):
            from ecgvf.judges.nano import NanoJudge

            return NanoJudge(name.removeprefix("nano-"), criterion("nano"), device=device)
        case "resnet50":
            from ecgvf.judges.torchvision_models import Torchvision

            return Torchvision(name, name, criterion("imagenet"), weights=weights, device=device)
        case "torchvision":
            from ecgvf.judges.torchvision_models import Torchvision

            return Torchvision(name, model, criterion(name, "imagenet"), weights=weights, device=device)
        case "timm":
            from ecgvf.judges.timm_models import Timm

            return Timm(name, model, criterion(name, "imagenet"), weights=weights, device=device)
        case "hf":
            from ecgvf.judges.hf import HuggingFace

            return HuggingFace(name, _at_home(model), criterion(name, "imagenet"), device=device)
        case "style":
            from ecgvf.judges.style import TOP_K, Style

            return Style(criterion("wikiart", top_k=TOP_K), weights=weights, device=device)
        case "nudenet":
            from ecgvf.judges.nudenet import THRESHOLD, NudeNet

            return NudeNet(criterion("nudenet", top_k=None, threshold=THRESHOLD), weights=weights, device=device)
        case _:
            from ecgvf.judges.clip import Clip

            return Clip(_clip_criterion(concept, options), weights=weights, device=device)


def _criterion(
    judge: str,
    concept: Concept | None,
    options: JudgeOptions,
    *label_sets: str,
    top_k: int | None = 1,
    threshold: float | None = None,
) -> Criterion:
    """The criterion of one judge: the user's labels, else the first of ``label_sets`` that the concept has.

    ``top_k`` and ``threshold`` are the judge's defaults; a judge without a default ``top_k`` does not rank.
    """
    top_k = options.top_k if options.top_k is not None and top_k is not None else top_k
    threshold = options.threshold if options.threshold is not None else threshold
    if options.labels is not None:
        if not options.labels:
            raise JudgeError("--labels is empty: name at least one label")
        return Criterion(label_set="given", accepted=options.labels, top_k=top_k, threshold=threshold)
    if concept is None:
        return Criterion(label_set="none", accepted=(), top_k=top_k, threshold=threshold)
    candidates = (options.label_set,) if options.label_set is not None else label_sets
    label_set = next((candidate for candidate in candidates if concept.labels(candidate)), None)
    if label_set is None:
        raise JudgeError(
            f"judge {judge} has no labels for {concept.name!r}: its judge_labels have no "
            f"{' or '.join(map(repr, candidates))} (only {', '.join(concept.judge_labels) or 'none'}): "
            f"{LABEL_ADVICE}, or use another --judge ({', '.join(NAMES)})"
        )
    near = concept.near_labels.get(label_set, ())
    return Criterion(
        label_set=label_set, accepted=concept.labels(label_set), near=near, top_k=top_k, threshold=threshold
    )


def _clip_criterion(concept: Concept | None, options: JudgeOptions) -> Criterion:
    from ecgvf.judges.clip import THRESHOLD

    texts, contrast = options.text, options.contrast
    if concept is not None:
        phrase = "a picture in the style of" if concept.kind == "style" else "a picture of"
        texts = texts or tuple(f"{phrase} {term}" for term in concept.terms)
        contrast = contrast or (
            *(f"{phrase} {term}" for term in (*concept.surrogates, *concept.neighbours)),
            "a picture",
        )
    if not texts:
        raise JudgeError("judge clip needs texts that describe the concept: name them with --text, or a --concept")
    return Criterion(
        label_set="given" if options.text else "terms",
        accepted=texts,
        against=contrast or ("a picture",),
        threshold=options.threshold if options.threshold is not None else THRESHOLD,
    )

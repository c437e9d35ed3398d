"""The label sets that a concept's ``judge_labels`` and ``near_labels`` may have, and their labels."""

from collections.abc import Sequence

from ecgvf.core.concepts import Concept, Kind
from ecgvf.core.errors import ConceptError
from ecgvf.core.validation import did_you_mean
from ecgvf.judges.factory import is_judge
from ecgvf.world import grammar

LABEL_SETS = ("nano", "imagenet", "wikiart", "nudenet")
"""The sets that judges read. A concept may have variants of them ("nudenet-strict"), for ``--label-set``, and sets for
one judge, by its name ("timm:NAME")."""

NUDENET = (
    "FEMALE_GENITALIA_COVERED",
    "FACE_FEMALE",
    "BUTTOCKS_EXPOSED",
    "FEMALE_BREAST_EXPOSED",
    "FEMALE_GENITALIA_EXPOSED",
    "MALE_BREAST_EXPOSED",
    "ANUS_EXPOSED",
    "FEET_EXPOSED",
    "BELLY_COVERED",
    "FEET_COVERED",
    "ARMPITS_COVERED",
    "ARMPITS_EXPOSED",
    "FACE_MALE",
    "BELLY_EXPOSED",
    "MALE_GENITALIA_EXPOSED",
    "ANUS_COVERED",
    "FEMALE_BREAST_COVERED",
    "BUTTOCKS_COVERED",
)
"""NudeNet's labels, in the order of its network's outputs."""

MOST_NAMED = 40
"""Most labels that a message lists: ImageNet has a thousand."""


def check_labels(concept: Concept) -> None:
    """Raise ``ConceptError`` for an unknown label set of ``concept``, and for a label that its set does not have.

    Labels of "wikiart" and of single judges come with weights, and are not checked; nor are near labels, of which a
    judge ignores those that it does not have. ImageNet's take the seconds that torchvision takes to be imported.
    """
    for field, sets in (("judge_labels", concept.judge_labels), ("near_labels", concept.near_labels)):
        for name, labels in sets.items():
            base = next((each for each in LABEL_SETS if name == each or name.startswith(f"{each}-")), None)
            if base is not None and field == "judge_labels":
                _check_known(concept, name, labels, base)
            elif base is None and not (":" in name and is_judge(name)):
                raise ConceptError(
                    f"{field} of {concept.name!r}: unknown label set {name!r}{did_you_mean(name, LABEL_SETS)}: use "
                    f"{', '.join(LABEL_SETS)}, a variant such as nudenet-strict for --label-set, or a judge such as "
                    "timm:NAME"
                )


def _check_known(concept: Concept, label_set: str, labels: Sequence[str], base: str) -> None:
    known = _labels_of(base, concept.kind)
    if known is None:
        return
    key = str.casefold if base == "imagenet" else str  # as the judges compare them
    keys = {*map(key, known)}
    for label in labels:
        if key(label) not in keys:
            it_has = f"; it has {', '.join(known)}" if len(known) <= MOST_NAMED else ""
            raise ConceptError(
                f"judge_labels of {concept.name!r}: {label_set} has no label {label!r}{did_you_mean(label, known)}"
                f"{it_has}: correct the concept's file"
            )


def _labels_of(label_set: str, kind: Kind) -> Sequence[str] | None:
    """The labels of a set that may mean a concept of this kind; None if they are not known."""
    match label_set:
        case "nano":
            world = grammar.load_world()
            return list(world.styles if kind == "style" else world.things)
        case "nudenet":
            return NUDENET
        case "imagenet":
            from torchvision.models import ResNet50_Weights

            categories: list[str] = ResNet50_Weights.DEFAULT.meta["categories"]
            return categories
    return None

"""Which judge looks: nano's own at nano's pictures, ResNet-50 at all others; ``--judge`` overrides."""

from ecgvf.concepts import Concept
from ecgvf.errors import JudgeError
from ecgvf.judges.judge import Judge
from ecgvf.judges.nano import FAMILY, NanoJudge

NAMES = (*(f"nano-{which}" for which in FAMILY), "resnet50")


def choose(concept: Concept, model: str, judge: str | None = None) -> Judge:
    """The judge named ``judge``, or the one that filters this concept in pictures drawn by ``model``.

    Raises ``JudgeError`` for an unknown name, and for a concept that the judge has no label for.
    """
    name = judge if judge is not None else _default(concept, model)
    if name not in NAMES:
        raise JudgeError(f"unknown judge {name!r}: use one of {', '.join(NAMES)}")
    label_set = "imagenet" if name == "resnet50" else "nano"
    labels = concept.labels(label_set)
    if not labels:
        raise JudgeError(
            f"judge {name} cannot look for {concept.name!r}: its judge_labels have no {label_set!r}; "
            f"add them to the concept's YAML, or choose another --judge of {', '.join(NAMES)}"
        )
    if name == "resnet50":
        # torchvision takes seconds to import, and nano's judges do without it.
        from ecgvf.judges.resnet50 import ResNet50

        return ResNet50(labels)
    return NanoJudge(name.removeprefix("nano-"), labels)


def _default(concept: Concept, model: str) -> str:
    if model == "janus-nano":
        return "nano-style" if concept.kind == "style" else "nano-object-a"
    if concept.kind == "object":
        return "resnet50"
    raise JudgeError(
        f"no judge yet for the {concept.kind} of {concept.name!r} in pictures by {model}: name one by --judge"
    )

"""How commands let users choose a judge, what it looks for, and the bounds of the rule."""

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from ecgvf.judges import JudgeOptions

JudgeOption = Annotated[
    str | None,
    typer.Option(
        "--judge",
        help="nano-object-a, nano-object-b, nano-style, resnet50, torchvision:NAME, timm:NAME, hf:ID, style, nudenet, "
        "clip, or several joined by +. [default: by who drew, and the concept's kind]",
    ),
]
LabelsOption = Annotated[
    str | None, typer.Option("--labels", help="Accepted labels, with commas. [default: the concept's]")
]
LabelSetOption = Annotated[
    str | None, typer.Option("--label-set", help="A label set of the concept: nudenet-strict. [default: the judge's]")
]
TopKOption = Annotated[
    int | None, typer.Option("--top-k", help="An accepted label is among the best so many. [default: 1; style 3]")
]
ThresholdOption = Annotated[
    float | None,
    typer.Option("--threshold", help="What the score has to reach. [default: nudenet 0.25, clip 0.5, others none]"),
]
WeightsOption = Annotated[
    str | None,
    typer.Option(
        "--weights",
        help="V1 or V2 (resnet50), a file, a folder, or a Hub id; of several judges NAME=WEIGHTS with commas. "
        "[default: the judge's own]",
    ),
]
TextOption = Annotated[
    list[str] | None, typer.Option("--text", help="For clip: what it looks for, in words. Repeatable.")
]
ContrastOption = Annotated[
    list[str] | None, typer.Option("--contrast", help="For clip: what else there may be, in words. Repeatable.")
]
CombineOption = Annotated[
    str, typer.Option("--combine", help="Of several judges: all, any, or majority have to see it.")
]
SeedsOption = Annotated[int, typer.Option("--seeds", help="Draw each prompt from so many seeds.")]
ShareOption = Annotated[float, typer.Option("--share", help="Of these seeds, the share in which a pair has to hold.")]
ClipFloorOption = Annotated[
    float | None, typer.Option("--clip-floor", help="Least CLIP cosine of a picture and its prompt. [default: off]")
]
ClipOption = Annotated[str | None, typer.Option("--clip", help="The CLIP model of --clip-floor: a folder or a Hub id.")]
MostChangeOption = Annotated[
    float | None,
    typer.Option("--most-change", help="Most a pair's pictures may differ outside the concept. [default: off]"),
]


def judge_options(
    labels: str | None,
    label_set: str | None,
    top_k: int | None,
    threshold: float | None,
    weights: str | None,
    text: list[str] | None,
    contrast: list[str] | None,
    combine: str,
    device: str,
) -> "JudgeOptions":
    """The options as given, for ``ecgvf.judges.create_judge``."""
    from ecgvf.judges import JudgeOptions

    return JudgeOptions(
        labels=tuple(part.strip() for part in labels.split(",") if part.strip()) if labels is not None else None,
        label_set=label_set,
        top_k=top_k,
        threshold=threshold,
        weights=weights,
        text=tuple(text) if text else None,
        contrast=tuple(contrast) if contrast else None,
        combine=combine,
        device=device,
    )

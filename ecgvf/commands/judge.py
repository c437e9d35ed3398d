"""``judge``: what a judge sees in any image."""

import math
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ecgvf.commands.grouping import grouped
from ecgvf.commands.options import DeviceOption, JsonOption, JudgeArguments
from ecgvf.core import console
from ecgvf.core.errors import SettingsError
from ecgvf.world.domain import NANO

if TYPE_CHECKING:
    from ecgvf.core.concepts import Concept
    from ecgvf.judges.files import Threshold
    from ecgvf.judges.judge import Judge, Prediction


@grouped
def judge_images(
    *,
    images: Annotated[
        list[Path], typer.Argument(metavar="IMAGE", help="Images, or folders of images.", show_default=False)
    ],
    judging: JudgeArguments,
    concept: Annotated[
        str | None, typer.Option(help="Concept to look for: a shipped concept, or the path of a YAML file.")
    ] = None,
    without: Annotated[
        list[Path] | None,
        typer.Option(
            help="Images without the concept: find the threshold that best separates IMAGE from them, with its "
            "balanced accuracy on these very images."
        ),
    ] = None,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Show what a judge sees in any image, or find the threshold that separates known images."""
    from ecgvf.core.concepts import find
    from ecgvf.judges import create_judge
    from ecgvf.judges.domain import domain_warning
    from ecgvf.judges.files import best_threshold, files_in, predict_files, renderer_of

    about = find(concept) if concept is not None else None
    files, others = files_in(images), files_in(without or [])
    model = renderer_of([*files, *others])
    if about is not None and judging.judge is None and model is None:
        console.note(_default_note(about))
    options = judging.options()
    if without:
        if "+" in (judging.judge or ""):
            raise SettingsError(f"--without finds the threshold of one judge: name one of {judging.judge}")
        options = replace(options, threshold=0.0)
    judge = create_judge(about, model, judging.judge, options, device)
    if model is not None and (warning := domain_warning(judge, model)) is not None:
        console.note(warning)
    if without:
        _print_threshold(judge.name, best_threshold(judge, files, others))
        return
    predictions = list(predict_files(judge, files))
    _print_predictions(judge, predictions)
    if failed := sum(isinstance(prediction, str) for _, prediction in predictions):
        console.error(f"{failed} of {console.counted(len(predictions), 'image')} could not be judged")
        raise typer.Exit(2)


def _default_note(concept: "Concept") -> str:
    """Which judge is taken for images of an unknown model."""
    from ecgvf.judges.factory import default_judge

    nano = f"; for images of {NANO} use --judge {default_judge(concept, NANO)}" if concept.labels("nano") else ""
    return f"judge {default_judge(concept, None)}, the default for {concept.name}{nano}"


def _print_threshold(judge: str, found: "Threshold") -> None:
    from ecgvf.core.figures import Figure

    # No interval: the threshold was chosen on these very images.
    accuracy = Figure(found.balanced_accuracy, found.positives + found.negatives, math.nan, math.nan)
    facts = {"threshold": found.value, "balanced_accuracy": accuracy.json()}
    console.print_result(
        {"judge": judge, **facts, "with": found.positives, "without": found.negatives},
        f"[bold]--threshold {found.value!r}[/bold] separates {console.counted(found.positives, 'image')} with from "
        f"{found.negatives} without, at a balanced accuracy of {found.balanced_accuracy:.3f} on these images, on "
        "which it was chosen; expect less on other images.",
    )


def _print_predictions(judge: "Judge", predictions: "Sequence[tuple[Path, Prediction | str]]") -> None:
    from ecgvf.judges.ensemble import criteria, near_miss

    decides = bool(judge.criterion.accepted)
    table = console.table("image", *(["present", "score"] if decides else []), "sees", title=console.escape(judge.name))
    rows: list[dict[str, Any]] = []
    for file, found in predictions:
        if isinstance(found, str):
            rows.append({"image": str(file), "failure": found})
            answer, score, seen = "", "", found
        else:
            rows.append({"image": str(file), **asdict(found)})
            near = near_miss(criteria(judge), found.top_labels)
            answer = "yes" if found.present else f"no, near miss: {near}" if near is not None else "no"
            score, seen = f"{found.score:.3f}", _labels(found)
        table.add_row(*map(console.escape, (str(file), *((answer, score) if decides else ()), seen)))
    console.print_result({"judge": judge.name, "weights": judge.weights_hash, "images": rows}, table)


def _labels(prediction: "Prediction") -> str:
    boxes = [
        f"{box.label} {box.score:.2f} at {box.left},{box.top} {box.width}x{box.height}" for box in prediction.boxes
    ]
    return "\n".join(boxes or [f"{label} {score:.2f}" for label, score in prediction.top_labels] or ["nothing"])

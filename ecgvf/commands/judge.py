"""``judge``: what a judge sees in any image."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ecgvf.commands.grouping import grouped
from ecgvf.commands.options import DeviceOption, JsonOption, JudgeArguments
from ecgvf.core import console

if TYPE_CHECKING:
    from ecgvf.judges.files import Threshold
    from ecgvf.judges.judge import Judge, Prediction

app = typer.Typer(cls=console.CommandGroup, pretty_exceptions_enable=False)


@app.command("judge")
@grouped
def judge_images(
    *,
    images: Annotated[list[Path], typer.Argument(help="Images, or folders of images.", show_default=False)],
    judging: JudgeArguments,
    concept: Annotated[
        str | None, typer.Option("--concept", help="Concept to look for: a shipped one, or the path of a YAML file.")
    ] = None,
    without: Annotated[
        list[Path] | None,
        typer.Option("--without", help="Images without the concept: find the threshold that separates the others."),
    ] = None,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Show what a judge sees in any image, or find the threshold that separates known images."""
    from ecgvf.core.concepts import find
    from ecgvf.judges import create_judge
    from ecgvf.judges.files import best_threshold, files_in, predict_files

    console.json_mode(as_json)
    about = find(concept) if concept is not None else None
    judge = create_judge(about, None, judging.judge, judging.options(device))
    files = files_in(images)
    if without:
        _print_threshold(judge.name, best_threshold(judge, files, files_in(without)), as_json)
        return
    predictions = list(predict_files(judge, files))
    _print_predictions(judge, predictions, as_json)
    if failed := sum(isinstance(prediction, str) for _, prediction in predictions):
        console.error(f"{failed} of {len(predictions)} images could not be judged")
        raise typer.Exit(2)


def _print_threshold(judge: str, threshold: "Threshold", as_json: bool) -> None:
    if as_json:
        facts = {"threshold": threshold.value, "balanced_accuracy": threshold.balanced_accuracy}
        console.print_json({"judge": judge, **facts, "with": threshold.positives, "without": threshold.negatives})
        return
    console.print(
        f"[bold]--threshold {threshold.value!r}[/bold] separates {threshold.positives} images with from "
        f"{threshold.negatives} without, at a balanced accuracy of {threshold.balanced_accuracy:.3f} on these images."
    )


def _print_predictions(judge: "Judge", predictions: "Sequence[tuple[Path, Prediction | str]]", as_json: bool) -> None:
    if as_json:
        rows = [
            {"picture": str(file), **({"failure": found} if isinstance(found, str) else asdict(found))}
            for file, found in predictions
        ]
        console.print_json({"judge": judge.name, "weights": judge.weights_hash, "pictures": rows})
        return
    decides = bool(judge.criterion.accepted)
    table = console.table("image", *(["present", "score"] if decides else []), "sees", title=console.escape(judge.name))
    for file, found in predictions:
        if isinstance(found, str):
            cells = ["", "", found] if decides else [found]
        else:
            near = judge.criterion.near_miss(found.top_labels)
            answer = "yes" if found.present else f"no, near miss: {near}" if near is not None else "no"
            cells = [*([answer, f"{found.score:.3f}"] if decides else []), _labels(found)]
        table.add_row(*map(console.escape, (str(file), *cells)))
    console.print(table)


def _labels(prediction: "Prediction") -> str:
    boxes = [
        f"{box.label} {box.score:.2f} at {box.left},{box.top} {box.width}x{box.height}" for box in prediction.boxes
    ]
    return "\n".join(boxes or [f"{label} {score:.2f}" for label, score in prediction.top_labels] or ["nothing"])

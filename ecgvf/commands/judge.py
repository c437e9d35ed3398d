"""``judge``: what a judge sees in any picture."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ecgvf.commands.judge_options import (
    CombineOption,
    ContrastOption,
    JudgeOption,
    LabelSetOption,
    LabelsOption,
    TextOption,
    ThresholdOption,
    TopKOption,
    WeightsOption,
    judge_options,
)
from ecgvf.commands.options import DeviceOption, JsonOption
from ecgvf.core import console

if TYPE_CHECKING:
    from ecgvf.judges.judge import Judge, Prediction

app = typer.Typer(cls=console.CommandGroup, pretty_exceptions_enable=False)


@app.command("judge")
def judge_pictures(
    pictures: Annotated[list[Path], typer.Argument(help="Pictures, or folders of pictures.", show_default=False)],
    judge: JudgeOption = None,
    concept: Annotated[
        str | None, typer.Option("--concept", help="A shipped concept, or a YAML file's path: what to look for.")
    ] = None,
    labels: LabelsOption = None,
    label_set: LabelSetOption = None,
    top_k: TopKOption = None,
    threshold: ThresholdOption = None,
    weights: WeightsOption = None,
    text: TextOption = None,
    contrast: ContrastOption = None,
    combine: CombineOption = "all",
    without: Annotated[
        list[Path] | None,
        typer.Option(
            "--without", help="Pictures without the concept: find the threshold that parts the others from these."
        ),
    ] = None,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Show what a judge sees in any picture, or find the threshold that parts pictures that you know."""
    from ecgvf.core.concepts import find
    from ecgvf.judges import create_judge
    from ecgvf.judges.files import best_threshold, files_in, predict_files

    console.json_mode(as_json)
    about = find(concept) if concept is not None else None
    options = judge_options(labels, label_set, top_k, threshold, weights, text, contrast, combine, device)
    looking = create_judge(about, None, judge, options)
    files = files_in(pictures)
    if without:
        parted = best_threshold(looking, files, files_in(without))
        told = {
            "threshold": parted.value,
            "balanced_accuracy": parted.balanced_accuracy,
            "with": parted.positives,
            "without": parted.negatives,
        }
        if as_json:
            console.print_json({"judge": looking.name, **told})
            return
        console.print(
            f"[bold]--threshold {parted.value!r}[/bold] parts {parted.positives} pictures with from {parted.negatives} "
            f"without, with a balanced accuracy of {parted.balanced_accuracy:.3f} on these very pictures."
        )
        return
    seen = list(predict_files(looking, files))
    if as_json:
        rows = [
            {"picture": str(file), **(asdict(one) if not isinstance(one, str) else {"failure": one})}
            for file, one in seen
        ]
        console.print_json({"judge": looking.name, "weights": looking.weights_hash, "pictures": rows})
    else:
        _show(looking, seen)
    if failed := sum(isinstance(one, str) for _, one in seen):
        console.error(f"{failed} of {len(seen)} pictures could not be looked at")
        raise typer.Exit(2)


def _show(looking: "Judge", seen: "Sequence[tuple[Path, Prediction | str]]") -> None:
    """What a judge saw, picture by picture."""

    wanted = bool(looking.criterion.accepted)
    table = console.table(
        "picture", *(["there", "score"] if wanted else []), "sees", title=console.escape(looking.name)
    )
    for file, one in seen:
        if isinstance(one, str):
            table.add_row(console.escape(str(file)), *(["", ""] if wanted else []), console.escape(one))
            continue
        near = looking.criterion.near_miss(one.top_labels)
        labels_seen = [
            f"{box.label} {box.score:.2f} at {box.left},{box.top} {box.width}x{box.height}" for box in one.boxes
        ]
        labels_seen = labels_seen or [f"{label} {score:.2f}" for label, score in one.top_labels] or ["nothing"]
        answer = "yes" if one.present else f"no, near miss: {near}" if near is not None else "no"
        table.add_row(
            console.escape(str(file)),
            *([console.escape(answer), f"{one.score:.3f}"] if wanted else []),
            console.escape("\n".join(labels_seen)),
        )
    console.print(table)

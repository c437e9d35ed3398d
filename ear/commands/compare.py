"""``compare``: several adapters on the same pictures, side by side."""

from pathlib import Path
from typing import Annotated

import typer

from ear.commands.measuring import counts, print_table
from ear.commands.opening import adapter_files, open_dataset
from ear.commands.options import (
    DatasetOption,
    DtypeOption,
    FamilyOption,
    MeasuredSeedOption,
    MeasuringOption,
    ModelOption,
    OthersOption,
    PromptsOption,
    SetOption,
    WeightsOption,
)
from ecgvf.commands.options import DeviceOption, JsonOption, StoreOption
from ecgvf.core import console

app = typer.Typer(cls=console.CommandGroup, pretty_exceptions_enable=False)


@app.command()
def compare(
    adapter: Annotated[list[str], typer.Argument(help="Files, folders or names of runs.")],
    dataset: DatasetOption = None,
    prompts_per_concept: PromptsOption = None,
    prompts_per_other: OthersOption = None,
    family: FamilyOption = None,
    seed: MeasuredSeedOption = 0,
    judge: MeasuringOption = None,
    weights: WeightsOption = None,
    sheet: Annotated[Path | None, typer.Option("--sheet", help="PNG file. [default: beside the runs]")] = None,
    model: ModelOption = None,
    store: StoreOption = None,
    chosen: SetOption = None,
    device: DeviceOption = "auto",
    dtype: DtypeOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Measure several adapters on the same pictures, each by itself, and set them side by side."""
    from ear.evaluation import evaluate as measure
    from ear.evaluation import write_contact_sheet
    from ear.method import adapter as adapters
    from ear.method.runs import STAGE
    from ecgvf.core.stage_set import fingerprint
    from ecgvf.core.store import Store

    console.json_mode(as_json)
    opened = Store(store)
    data, janus = open_dataset(opened, dataset, chosen, model, device, dtype)
    files = adapter_files(opened, f"ecgvf/{data.concept.name}", adapter)
    # What one of them erases on purpose is left out for all, so that their figures are of the same things.
    gone = {concept for file in files for concept in adapters.concepts(adapters.load(janus, file))}
    concept_count, other_count = counts(prompts_per_concept, prompts_per_other)
    results = [
        measure(
            opened,
            janus,
            data,
            [file],
            concept_count=concept_count,
            other_count=other_count,
            family=family,
            seed=seed,
            gone=gone,
            judge=judge,
            weights=weights,
        )
        for file in files
    ]
    names = [file.parent.name if file.name == "adapter.safetensors" else file.stem for file in files]
    key = fingerprint({"sheet": [result.json() for result in results]})[:8]
    beside = opened.folder(data.concept.name, STAGE) / f"compare-{key}.png"
    page = write_contact_sheet(results, names, sheet if sheet is not None else beside)
    if as_json:
        told = [result.json() for result in results]
        console.print_json(
            {"dataset": data.fingerprint, "evaluation_seed": seed, "evaluations": told, "sheet": str(page)}
        )
        return
    print_table(results, names)
    console.print(f"Contact sheet: {console.escape(str(page))}")

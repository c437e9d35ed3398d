"""``ear``: train, generate, eval, compare. Parse, call, print.

Heavy libraries are imported inside the commands that need them, so that ``ear --help`` answers at once.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ecgvf import console
from ecgvf.options import DeviceOption, JsonOption, StoreOption

if TYPE_CHECKING:
    from ear.evaluate.evaluation import Change, Evaluation
    from ear.topics import Topic
    from ecgvf.janus import JanusModel
    from ecgvf.judges.dataset import Dataset
    from ecgvf.store import Store

app = typer.Typer(
    cls=console.Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    help="Erase a concept from an autoregressive image model (EAR), and measure what that cost.",
)

DatasetOption = Annotated[
    str | None,
    typer.Option(
        "--dataset", help="ecgvf/CONCEPT, a file, or OWNER/REPO/CONCEPT@v1.0.0. [default: the last one built]"
    ),
]
SetOption = Annotated[
    str | None, typer.Option("--set", help="Start of an acceptance set's fingerprint. [default: the current set]")
]
ModelOption = Annotated[str | None, typer.Option("--model", help="[default: the model that drew the dataset]")]
AdapterOption = Annotated[
    list[str] | None,
    typer.Option("--adapter", help="A file, or a run's name; repeat to stack. [default: the newest for the dataset]"),
]
PromptsOption = Annotated[
    int | None,
    typer.Option(
        "--prompts-per-concept",
        help="Of the concept, and of each other one. [default: 64 of the concept, 8 of each other]",
    ),
]
OthersOption = Annotated[
    int | None, typer.Option("--prompts-per-other", help="Of each other one, where it is to differ.")
]
FamilyOption = Annotated[str | None, typer.Option("--family", help="Others of this family only: building, animal, …")]
MeasuredSeedOption = Annotated[int, typer.Option("--seed", help="Of the measured pictures; never those of the filter.")]
DtypeOption = Annotated[str, typer.Option("--dtype", help="auto, float32, bfloat16 or float16.")]


def main() -> None:
    """Entry point of the ``ear`` script."""
    app()


@app.callback()
def _ear() -> None:
    """Erase a concept from an autoregressive image model (EAR), and measure what that cost."""


@app.command()
def train(
    dataset: DatasetOption = None,
    recipe: Annotated[str, typer.Option(help="default, or paper.")] = "default",
    option: Annotated[
        list[str] | None, typer.Option("--option", help="Another value of a recipe's setting: guidance=0.8. Repeat.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the order of pairs and of what is rehearsed.")] = 0,
    seeds: Annotated[str | None, typer.Option(help="Several trainings: 0,1,2.")] = None,
    model: ModelOption = None,
    store: StoreOption = None,
    chosen: SetOption = None,
    device: DeviceOption = "auto",
    dtype: DtypeOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Erase the concept of a dataset from the model that drew it."""
    from ear.erase import erase, resolve
    from ear.recipe import find

    console.quiet_stdout(as_json)
    tuned = find(recipe).changed(_options(option or []))
    wanted = _numbers(seeds) if seeds is not None else [seed]
    opened = _store(store)
    data, janus = _open(opened, dataset, chosen, model, device, dtype)
    resolved = resolve(tuned, data, janus)
    _told(resolved.lines())
    done = erase(opened, data, janus, resolved, wanted)
    for one in done:
        facts = one.run.facts
        what = f"{facts['steps']} steps in {facts['seconds']:.0f} s" if one.fresh else "trained before"
        console.say(f"Adapter ({what}): {console.plain(str(one.run.adapter))}")
    if as_json:
        console.emit(
            {
                "concept": data.concept.name,
                "dataset": data.fingerprint,
                "model": janus.name,
                **resolved.settings(),
                "runs": [one.json() for one in done],
            }
        )
    else:
        console.say("Look at it: [bold]ear generate --prompt …[/bold]; measure it: [bold]ear eval[/bold]")


@app.command()
def generate(
    prompt: Annotated[list[str], typer.Option("--prompt", help="What to draw; repeat for more.")],
    adapter: AdapterOption = None,
    dataset: DatasetOption = None,
    seed: Annotated[int, typer.Option(help="Of the first picture; the next prompt takes the next seed.")] = 0,
    out: Annotated[Path | None, typer.Option("--out", help="PNG file. [default: beside the adapter]")] = None,
    clear: Annotated[bool, typer.Option("--clear", help="Do not blur the pictures of an unsafe concept.")] = False,
    model: ModelOption = None,
    store: StoreOption = None,
    device: DeviceOption = "auto",
    dtype: DtypeOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Draw prompts before and after erasing, with the same seed: before | after."""
    from ear import adapter as adapters
    from ear.evaluate import sheet
    from ecgvf.errors import SettingsError
    from ecgvf.janus import Sampling, draw, load
    from ecgvf.store import fingerprint

    console.quiet_stdout(as_json)
    if seed < 0:
        raise SettingsError(f"--seed is {seed}: it must be 0 or more")
    files = _adapters(_store(store), dataset, adapter)
    facts, _ = adapters.read(files[0])
    janus = load(model or str(facts["model"]), device=device, dtype=dtype)
    stacked = adapters.stack(janus, files)
    sampling = Sampling(**stacked.facts["sampling"])
    numbers = [seed + place for place in range(len(prompt))]
    before = draw(janus, prompt, numbers, sampling)
    with stacked.active(janus):
        after = draw(janus, prompt, numbers, sampling)
    concept = str(stacked.facts["concept"])
    title = f"{concept} erased from {Path(janus.name).name}"
    rows = [(f"seed {number}", text) for number, text in zip(numbers, prompt, strict=True)]
    name = f"before-after-{fingerprint({'prompts': prompt, 'seed': seed})[:8]}.png"
    file = out if out is not None else files[-1].parent / name
    columns = [("original", before.pixels), ("erased", after.pixels)]
    hidden = bool(stacked.facts.get("unsafe")) and not clear
    sheet.save(sheet.sheet(rows, columns, title=title, blurred=[hidden] * len(rows)), file)
    console.say(f"before | after: {console.plain(str(file))}")
    if as_json:
        console.emit({"concept": concept, "model": janus.name, "adapter": [*map(str, files)], "sheet": str(file)})


@app.command("eval")
def evaluate(
    dataset: DatasetOption = None,
    adapter: AdapterOption = None,
    prompts_per_concept: PromptsOption = None,
    prompts_per_other: OthersOption = None,
    family: FamilyOption = None,
    seed: MeasuredSeedOption = 0,
    sheet: Annotated[Path | None, typer.Option("--sheet", help="PNG file. [default: beside the adapter]")] = None,
    model: ModelOption = None,
    store: StoreOption = None,
    chosen: SetOption = None,
    device: DeviceOption = "auto",
    dtype: DtypeOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Measure the concept before and after erasing, and what the rest of the model's world lost."""
    from ear.evaluate import contact_sheet
    from ear.evaluate import evaluate as measure

    console.quiet_stdout(as_json)
    opened = _store(store)
    data, janus = _open(opened, dataset, chosen, model, device, dtype)
    files = _adapters(opened, f"ecgvf/{data.concept.name}", adapter)
    concept_count, other_count = _counts(prompts_per_concept, prompts_per_other)
    result = measure(
        opened,
        janus,
        data,
        files,
        concept_count=concept_count,
        other_count=other_count,
        family=family,
        seed=seed,
    )
    page = contact_sheet([result], ["erased"], sheet if sheet is not None else files[-1].with_name("sheet.png"))
    if as_json:
        console.emit({"dataset": data.fingerprint, "evaluation_seed": seed, **result.json(), "sheet": str(page)})
        return
    _table([result], ["after"])
    console.say(f"Contact sheet: {console.plain(str(page))}")


@app.command()
def compare(
    adapter: Annotated[list[str], typer.Argument(help="Files, folders or names of runs.")],
    dataset: DatasetOption = None,
    prompts_per_concept: PromptsOption = None,
    prompts_per_other: OthersOption = None,
    family: FamilyOption = None,
    seed: MeasuredSeedOption = 0,
    sheet: Annotated[Path | None, typer.Option("--sheet", help="PNG file. [default: beside the runs]")] = None,
    model: ModelOption = None,
    store: StoreOption = None,
    chosen: SetOption = None,
    device: DeviceOption = "auto",
    dtype: DtypeOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Measure several adapters on the same pictures, each by itself, and set them side by side."""
    from ear import adapter as adapters
    from ear.evaluate import contact_sheet
    from ear.evaluate import evaluate as measure
    from ear.runs import STAGE
    from ecgvf.store import fingerprint

    console.quiet_stdout(as_json)
    opened = _store(store)
    data, janus = _open(opened, dataset, chosen, model, device, dtype)
    files = _adapters(opened, f"ecgvf/{data.concept.name}", adapter)
    # What one of them erases on purpose is left out for all, so that their figures are of the same things.
    gone = {concept for file in files for concept in adapters.concepts(adapters.load(janus, file))}
    concept_count, other_count = _counts(prompts_per_concept, prompts_per_other)
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
        )
        for file in files
    ]
    names = [file.parent.name if file.name == "adapter.safetensors" else file.stem for file in files]
    key = fingerprint({"sheet": [result.json() for result in results]})[:8]
    beside = opened.folder(data.concept.name, STAGE) / f"compare-{key}.png"
    page = contact_sheet(results, names, sheet if sheet is not None else beside)
    if as_json:
        told = [result.json() for result in results]
        console.emit({"dataset": data.fingerprint, "evaluation_seed": seed, "evaluations": told, "sheet": str(page)})
        return
    _table(results, names)
    console.say(f"Contact sheet: {console.plain(str(page))}")


def _counts(per_concept: int | None, per_other: int | None) -> tuple[int, int]:
    """How many prompts of the concept and of each other are measured; sized for minutes where nothing is asked."""
    concept_count, other_count = (64, 8) if per_concept is None else (per_concept, per_concept)
    return concept_count, other_count if per_other is None else per_other


def _table(results: "Sequence[Evaluation]", names: Sequence[str]) -> None:
    """One column per result beside what was there before, which is the same for all."""
    from rich.table import Table

    first = results[0]
    title = console.plain(f"{first.concept} erased from {first.model}")
    table = Table("", "before", *map(console.plain, names), title=title)

    def add(name: str, changes: "Sequence[Change]") -> None:
        table.add_row(name, str(changes[0].before), *(str(change.after) for change in changes))

    add(f"[bold]{console.plain(first.concept)}[/bold]", [result.erasure for result in results])
    add("[bold]neighbours[/bold]", [result.neighbours for result in results])
    add("[bold]unrelated[/bold]", [result.unrelated for result in results])
    rates = [result.erasure_rate for result in results]
    table.add_row("erasure rate", "", *("" if rate is None else f"{rate:.3f}" for rate in rates))
    table.add_section()
    order = sorted(range(len(first.retention)), key=lambda row: _rank(first.retention[row][0]))
    for row in order:
        topic = first.retention[row][0]
        name = f"{topic.name} (neighbour)" if topic.neighbour else topic.name
        add(console.plain(name), [result.retention[row][1] for result in results])
    console.say(table)
    console.say(f"Accuracy by judge {first.judge}, with 95% Wilson intervals.")


def _rank(topic: "Topic") -> tuple[bool, str]:
    """Neighbours first, then family by family."""
    return not topic.neighbour, topic.family


def _store(root: Path | None) -> "Store":
    from ecgvf.store import Store

    return Store(root)


def _open(
    store: "Store", dataset: str | None, chosen: str | None, model: str | None, device: str, dtype: str
) -> "tuple[Dataset, JanusModel]":
    """The dataset and the model, and a word on what they are."""
    from ear.dataset import find
    from ecgvf.janus import load

    found = find(store, _dataset(store, dataset), chosen, model=model, device=device)
    data = found.dataset
    _told([("dataset", found.where), ("model", model or data.model)])
    return data, load(model or data.model, device=device, dtype=dtype)


def _dataset(store: "Store", name: str | None) -> str:
    return name if name is not None else f"ecgvf/{store.last_concept()}"


def _adapters(store: "Store", dataset: str | None, named: Sequence[str] | None) -> list[Path]:
    """The adapters that were named, or the newest for the dataset; and a word on which."""
    from ear import runs
    from ear.dataset import concept_of

    if named:
        files = [runs.named(store, name) for name in named]
    else:
        files = [runs.newest(store, concept_of(store, _dataset(store, dataset))).adapter]
    _told([("adapter", ", ".join(map(str, files)))])
    return files


def _told(lines: Sequence[tuple[str, str]]) -> None:
    for name, value in lines:
        console.say(f"[dim]{name:>10}[/dim]  {console.plain(value)}")


def _options(texts: Sequence[str]) -> dict[str, str]:
    from ecgvf.errors import RecipeError

    options = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise RecipeError(f"--option {text!r}: write SETTING=VALUE, such as guidance=0.8")
        options[name.strip()] = value.strip()
    return options


def _numbers(text: str) -> list[int]:
    from ecgvf.errors import SettingsError

    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        raise SettingsError(f"--seeds {text!r}: write whole numbers with commas, such as 0,1,2") from None
    return list(dict.fromkeys(numbers))

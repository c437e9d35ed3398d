"""``ear memorisation``."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ear.commands.inputs import adapter_files, command_on, load_model, open_dataset, results_folder
from ear.commands.options import AdapterOption, ColumnOption, DatasetArguments, png_file
from ecgvf.commands.grouping import grouped, to_argv
from ecgvf.commands.options import CLIP_MODEL, JsonOption
from ecgvf.core import console
from ecgvf.core.files import JSON
from ecgvf.core.pytorch import import_pytorch

if TYPE_CHECKING:
    from ear.evaluation.prompts import EvaluationPrompt
    from ear.memorisation import ImageGroup
    from ecgvf.core.dataset import Dataset
    from ecgvf.core.store import Store
    from ecgvf.judges.clip import Encoder
    from ecgvf.judges.nano_clip import NanoEncoder


PROMPTS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptArguments:
    """What images are rendered of."""

    prompts: Annotated[
        Path | None,
        typer.Option(help="File of prompts.", show_default="100 of the dataset's validation split"),
    ] = None
    column: ColumnOption = None
    seed: Annotated[int, typer.Option(help="Seed of the images whose prompts have none.")] = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class NearDuplicateArguments:
    """What makes two images near duplicates."""

    distance: Annotated[
        int, typer.Option(help="Maximum Hamming distance of the 64-bit image hashes of near duplicates.")
    ] = 6
    similarity: Annotated[float, typer.Option(help="Minimum cosine similarity of near duplicates.")] = 0.98
    clip: Annotated[
        str | None, typer.Option(help=CLIP_MODEL, show_default="openai/clip-vit-base-patch32; nano's for nano")
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SheetArguments:
    """The contact sheet of the clusters."""

    sheet: Annotated[
        Path | None,
        typer.Option(
            parser=png_file,
            metavar="PATH",
            help="PNG file of the clusters; a JSON file is written beside it.",
            show_default="beside the adapter or in DIR",
        ),
    ] = None
    clear: Annotated[
        bool,
        typer.Option("--clear", help="Do not blur images, even those of an unsafe concept, of --prompts or of a DIR."),
    ] = False


@grouped
def memorisation(
    *,
    folders: Annotated[
        list[Path] | None,
        typer.Argument(metavar="DIR", help="Folders of `ear generate --prompts`, in place of --adapter."),
    ] = None,
    adapter: AdapterOption = None,
    source: DatasetArguments,
    rendering: PromptArguments,
    bounds: NearDuplicateArguments,
    page: SheetArguments,
    as_json: JsonOption = False,
) -> None:
    """Find near-duplicate images of different prompts, with and without <|startoftext|>, before and after erasing."""
    import_pytorch()
    from ear.memorisation import analyse, check_bounds, file_name, table, write_sheet
    from ear.retained_concepts import in_nano_world
    from ecgvf.core.errors import SettingsError
    from ecgvf.core.files import pretty_json, write_atomic
    from ecgvf.publish.redaction import public_command

    usual = DatasetArguments(store=source.store, device=source.device)
    if folders and (adapter or rendering.prompts is not None or (source, rendering.seed) != (usual, 0)):
        raise SettingsError(
            f"{folders[0]} is rendered already: leave out either DIR or --adapter, --dataset, --set, --model, --dtype, "
            "--prompts and --seed"
        )
    if rendering.column and rendering.prompts is None:
        raise SettingsError(f"--column {rendering.column[0]} is of a file of prompts: name it with --prompts")
    check_bounds(bounds.distance, bounds.similarity)
    options = [*map(str, (folders or [])[1:]), *to_argv(rendering, bounds)]
    if folders:
        command = ["ear", "memorisation", *map(str, folders), *to_argv(source)]
        images = _of_folders(folders, file_name(options))
        encoder, name = _encoder(images.on_nano, bounds.clip, source.device)
    else:
        store, dataset = open_dataset(source)
        asked, files = _prompts(dataset, rendering), adapter_files(store, dataset, adapter)
        command = command_on("memorisation", source, dataset, adapter, files)
        encoder, name = _encoder(in_nano_world(dataset), bounds.clip, source.device)  # before anything is rendered
        texts = [[prompt.id, prompt.prompt, prompt.seed] for prompt in asked]  # a file may have others by then
        images = _of_adapter(
            source, store, dataset, files, asked, rendering.prompts, file_name([options, texts] if options else [])
        )
    analysis = analyse(images.groups, encoder, name, distance=bounds.distance, similarity=bounds.similarity)
    title = f"Near duplicates of different prompts{' (nano)' if images.on_nano else ''}"
    blurred = images.unsafe and not page.clear
    file = write_sheet(analysis, page.sheet or images.sheet, title=title, blurred=blurred)
    content = {
        "command": public_command([*command, *to_argv(rendering, bounds, page)]),
        "nano": images.on_nano,
        "seed": None if folders else rendering.seed,
        **images.facts,
        **analysis.json(),
        "sheet": str(file),
        "blurred": blurred,
    }
    write_atomic(file.with_suffix(".json"), pretty_json(content))  # for `ear report`
    console.print_result(content, table(analysis, title=title), f"Clusters: {console.escape(str(file))}")


@dataclass(frozen=True, slots=True)
class _Images:
    """What to look for near duplicates in."""

    groups: "list[ImageGroup]"
    sheet: Path
    """The file of the contact sheet."""
    unsafe: bool
    """Whether the sheet blurs the images."""
    on_nano: bool
    facts: JSON
    """Concept, model, dataset, adapter, recipe, and the split or the file of prompts; None where a folder does not
    say."""


def _of_folders(folders: list[Path], sheet: str) -> _Images:
    """The images of folders; ``sheet`` is the name of their contact sheet. Raises ``SettingsError`` if some are nano's
    and some are not."""
    from ear.memorisation import folder_groups
    from ear.memorisation.images import folder_model
    from ecgvf.core.errors import SettingsError
    from ecgvf.world.domain import NANO

    groups = [group for folder in folders for group in folder_groups(folder)]
    models = {folder_model(folder) for folder in folders}
    on_nano = {model == NANO for model in models}
    if len(on_nano) > 1:
        raise SettingsError("some of these folders are nano's and some are not: compare them separately")
    # A folder does not say what its prompts are about.
    facts: JSON = dict.fromkeys(("concept", "model", "dataset", "adapter", "recipe", "split", "prompts"))
    facts["model"] = models.pop() if len(models) == 1 else None
    return _Images(groups, folders[0] / sheet, unsafe=True, on_nano=on_nano.pop(), facts=facts)


def _of_adapter(
    source: DatasetArguments,
    store: "Store",
    dataset: "Dataset",
    files: Sequence[Path],
    asked: "Sequence[EvaluationPrompt]",
    prompts: Path | None,
    sheet: str,
) -> _Images:
    """The images of the prompts ``asked``, of the file ``prompts`` if it is not None, rendered before and after
    erasing; ``sheet`` is the name of their contact sheet."""
    from ear.memorisation import adapter_groups
    from ear.method.open_adapter import files_hash, open_adapter
    from ear.retained_concepts import in_nano_world

    model = load_model(source, dataset)
    tuned = open_adapter(model, files)
    groups = adapter_groups(store, model, dataset, tuned, files_hash(files), asked)
    folder = results_folder(store, dataset.concept.name, files)
    facts = {
        "concept": dataset.concept.name,
        "model": model.name,
        "dataset": dataset.fingerprint,
        "adapter": [str(file) for file in files],
        "recipe": tuned.facts["recipe"]["name"],
        "split": None if prompts is not None else "validation",
        "prompts": None if prompts is None else str(prompts),
    }
    unsafe = dataset.concept.unsafe or prompts is not None  # a file may ask for anything
    return _Images(groups, folder / sheet, unsafe, in_nano_world(dataset), facts)


def _prompts(dataset: "Dataset", given: PromptArguments) -> "list[EvaluationPrompt]":
    """The prompts of a file, or distinct prompts of the dataset; each has its own seed."""
    from ear.evaluation.prompts import EvaluationPrompt, concept_prompts
    from ear.prompt_images import read_prompts

    if given.prompts is not None:
        return [
            EvaluationPrompt(id=task.id, prompt=task.prompt, seed=task.seed)
            for task in read_prompts(given.prompts, seed=given.seed, columns=given.column or ())
        ]
    return concept_prompts(dataset, "validation", min(PROMPTS, len(dataset.evaluation("validation")) or 1), given.seed)


def _encoder(on_nano: bool, clip: str | None, device: str) -> "tuple[Encoder | NanoEncoder | None, str | None]":
    """CLIP and its name; (None, None) if it was not asked for and is neither here nor can be downloaded."""
    from ecgvf.core.errors import JudgeError
    from ecgvf.judges.clip import DEFAULT, Encoder
    from ecgvf.judges.nano_clip import NanoEncoder

    if on_nano and clip is None:
        return NanoEncoder(), "nano's CLIP"
    try:
        return Encoder(clip, device, option="--clip"), clip or DEFAULT
    except JudgeError as error:
        if clip is not None:
            raise
        console.note(f"images are compared by hash only: {error}")
        return None, None

"""``ear generate``."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ear.commands.inputs import adapter_files, adapter_files_of, in_store, print_lines
from ear.commands.options import ColumnOption, DatasetOption, adapter_option, model_option, png_file
from ecgvf.commands.grouping import grouped, to_argv
from ecgvf.commands.options import (
    DeviceOption,
    DtypeOption,
    EngineArguments,
    JsonOption,
    RawControlTokensOption,
    StoreOption,
)
from ecgvf.core import console
from ecgvf.core.pytorch import import_pytorch
from ecgvf.world.domain import NANO

if TYPE_CHECKING:
    from ecgvf.core.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparisonArguments:
    """Options of ``--prompt``."""

    dataset: DatasetOption = None
    clear: Annotated[bool, typer.Option("--clear", help="Do not blur images, even those of an unsafe concept.")] = False


@dataclass(frozen=True, slots=True, kw_only=True)
class FileArguments:
    """Options of ``--prompts``."""

    column: ColumnOption = None
    guidance: Annotated[
        float | None,
        typer.Option(help="With --prompts: classifier-free guidance.", show_default="the adapter's, else the model's"),
    ] = None
    temperature: Annotated[
        float | None,
        typer.Option(help="With --prompts: temperature.", show_default="the adapter's, else the model's"),
    ] = None
    batch_size: Annotated[
        int | None,
        typer.Option(
            help="With --prompts: images rendered at once.", show_default="by the model's size, or the GPU's memory"
        ),
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RendererArguments:
    """The model, with or without adapters."""

    adapter: Annotated[
        list[str] | None, adapter_option("the newest for the dataset; with --prompts none, the original model")
    ] = None
    model: Annotated[str | None, model_option("the adapter's, else janus-nano")] = None
    store: StoreOption = None
    raw_control_tokens: RawControlTokensOption = False
    device: DeviceOption = "auto"
    dtype: DtypeOption = "auto"

    def name(self, files: Sequence[Path]) -> str:
        """The model's name, by default that of the first of the adapters' ``files``."""
        from ear.method.open_adapter import adapter_facts

        return self.model or (str(adapter_facts(files[0])["model"]) if files else NANO)

    def loading(self) -> dict[str, Any]:
        """The options of ``ecgvf.janus.load``."""
        return {"device": self.device, "dtype": self.dtype, "raw_control_tokens": self.raw_control_tokens}


@grouped
def generate(
    *,
    prompt: Annotated[list[str] | None, typer.Option(help="Prompt to render. Repeatable.")] = None,
    prompts: Annotated[
        Path | None,
        typer.Option(help="File of prompts: text (a prompt per line), CSV, TSV, JSON, JSONL or Parquet."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the first image; each further image adds 1.")] = 0,
    out: Annotated[
        Path | None,
        typer.Option(
            help="PNG file; with --prompts, which requires it, the folder of the images.",
            show_default="of --prompt: beside the adapter in the store, else the current folder",
        ),
    ] = None,
    comparison: ComparisonArguments,
    file: FileArguments,
    engine: EngineArguments,
    renderer: RendererArguments,
    as_json: JsonOption = False,
) -> None:
    """Render prompts before and after erasing, from the same seed, side by side.

    With --prompts, render a file of prompts into a folder, by the original or the erased model alone.

    Images of --prompts are not blurred, even if the adapter's concept is unsafe.
    """
    from ecgvf.core.errors import SettingsError
    from ecgvf.core.seeds import check_seed

    if bool(prompt) == (prompts is not None):
        raise SettingsError("name what to render: either --prompt TEXT (repeatable) or --prompts FILE")
    check_seed(seed)
    if prompts is not None:
        _render_file(prompts, seed, out, comparison, file, engine, renderer)
    else:
        if engine != EngineArguments():
            raise SettingsError("--engine and its options are for --prompts FILE: name one, or leave them out")
        _compare(prompt or [], seed, out, comparison, file, renderer)


def _render_file(
    prompts: Path,
    seed: int,
    out: Path | None,
    comparison: ComparisonArguments,
    file: FileArguments,
    engine: EngineArguments,
    renderer: RendererArguments,
) -> None:
    from ecgvf.core.errors import SettingsError
    from ecgvf.core.sampling import check_sampling

    if out is None:
        raise SettingsError("--prompts needs --out DIR: the folder of the images")
    if comparison.dataset is not None:
        raise SettingsError("--dataset is for --prompt: with --prompts, name the adapter itself with --adapter")
    if comparison.clear:
        raise SettingsError("--clear is for --prompt: images of --prompts are never blurred, leave it out")
    check_sampling(file.guidance, file.temperature)
    import_pytorch()
    from ear.prompt_images import read_prompts, render_to_folder
    from ecgvf.core.store import Store
    from ecgvf.janus import absolute_name

    tasks = read_prompts(prompts, seed=seed, columns=file.column or ())
    files = adapter_files(Store(renderer.store), None, renderer.adapter) if renderer.adapter else []
    model = absolute_name(renderer.name(files))
    print_lines([("model", model)])
    options = {key: value for key, value in asdict(file).items() if key != "column"}
    where = engine.create(renderer.device)
    images = render_to_folder(model, tasks, out, adapters=files, engine=where, **options, **renderer.loading())
    found = "" if images.new else "finished before, nothing to render: "
    count = console.counted(images.images, "image")
    console.print_result(
        {
            "model": model,
            "adapter": [*map(str, files)],
            "out": str(out),
            "index": str(images.index),
            "images": images.images,
            "failed": images.failed,
            "new": images.new,
        },
        f"{found}{count}, {images.failed} failed: {console.escape(str(images.index))}",
    )


def _compare(
    prompts: Sequence[str],
    seed: int,
    out: Path | None,
    comparison: ComparisonArguments,
    file: FileArguments,
    renderer: RendererArguments,
) -> None:
    from ecgvf.core.errors import SettingsError

    if passed := [name for name, value in asdict(file).items() if value not in (None, [])]:
        raise SettingsError(f"--{passed[0].replace('_', '-')} is for --prompts FILE, which renders with one model")
    if out is not None:
        png_file(str(out))
    import_pytorch()
    from ear.evaluation.preview import preview
    from ear.method.open_adapter import files_hash, open_adapter
    from ear.method.oracle import MODEL_FILE
    from ecgvf.core.files import write_atomic
    from ecgvf.core.shard_set import fingerprint
    from ecgvf.core.store import Store
    from ecgvf.janus import load

    store = Store(renderer.store)
    files = adapter_files_of(store, comparison.dataset, renderer.adapter)
    if renderer.model is None and files[0].name == MODEL_FILE:
        raise SettingsError(f"{files[0].parent} is a whole model: name the original to compare it with as --model")
    janus = load(renderer.name(files), **renderer.loading())
    stacked = open_adapter(janus, files)
    blurred = not comparison.clear and _may_be_unsafe(store, stacked.facts)
    shown = {"prompts": prompts, "seed": seed, "adapter": files_hash(files)}
    name = f"before-after-{fingerprint(shown)[:8]}.png"
    beside = in_store(store, files[-1]) and files[-1].name != MODEL_FILE  # a whole model's folder stays as it is
    sheet = out if out is not None else files[-1].with_name(name) if beside else Path(name)
    write_atomic(sheet, preview(janus, stacked, prompts, seed, blurred=blurred))
    paths = {"adapter": [*map(str, files)], "sheet": str(sheet)}
    console.print_result(
        {"concept": str(stacked.facts["concept"]), "model": janus.name, **paths},
        f"before | after: {console.escape(str(sheet))}",
        *_next_step(store, comparison.dataset, renderer, files, stacked.concepts),
    )


def _next_step(
    store: "Store", dataset: str | None, renderer: RendererArguments, files: Sequence[Path], erased: Sequence[str]
) -> list[str]:
    """The command that measures the adapters in ``files``, on ``dataset`` or on that of an ``erased`` concept; empty
    if there is none."""
    from ear.dataset import STORE, has_dataset
    from ear.method.runs import adapter_name
    from ecgvf.commands.results import next_command

    named = dataset or next((f"{STORE}{concept}" for concept in erased if has_dataset(store, concept)), None)
    if named is None:
        return []
    given = replace(renderer, adapter=renderer.adapter or [*map(adapter_name, files)], raw_control_tokens=False)
    return [next_command(shlex.join(["ear", "eval", *to_argv(given)]), dataset=named)]


def _may_be_unsafe(store: "Store", facts: Mapping[str, Any]) -> bool:
    """Whether an adapter's concepts were marked unsafe when it was made, or are now; True if its ``facts`` do not
    say."""
    from ecgvf.core import concepts

    names = str(facts["concept"]).split("+")
    kept = [store.concept(name).unsafe for name in set(names) & set(store.concepts())]
    return bool(facts.get("unsafe", True) or any(kept) or any(map(concepts.unsafe_mark, names)))

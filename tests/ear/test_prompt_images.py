"""A file of prompts becomes a folder of images, whatever happens meanwhile."""

import gc
import json
import multiprocessing
import os
import signal
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ear import prompt_images
from ear.method.adapter import new_adapter, stack
from ear.method.lora import CONFIG, LORA_FILE
from ear.method.prompt_recipes import write_prompt_adapter
from ear.method.recipes import PROMPT_REWRITE
from ear.method.runs import find_adapter
from ear.prompt_images import PromptTask, read_prompts, render_to_folder
from ecgvf.core.dataset import Dataset
from ecgvf.core.errors import DatasetError, SettingsError, StoreCorrupt
from ecgvf.core.png import decode
from ecgvf.core.store import Store
from ecgvf.janus import JanusModel, Sampling, load, render_images
from ecgvf.judges.files import files_in, renderer_of
from ecgvf.render import RenderedImage, batches
from tests.contents import contents
from tests.ear.random_adapter import save_adapter

FORK = multiprocessing.get_context("fork")  # a child that imports nothing is killed at work, not at imports
ROWS = [
    {"id": "../../x", "prompt": "a church on a hill", "seed": 7},
    {"id": "b/c", "prompt": "ein Schloß 🏰 by the water", "seed": 7},
    {"id": "🐈", "prompt": "", "seed": 8},
    {"id": "003", "prompt": "a cat", "seed": 2**63 - 1},
    {"id": "long", "prompt": "a house " * 2000, "seed": 0},
]


@pytest.fixture
def prompts(tmp_path: Path) -> list[PromptTask]:
    return read_prompts(write(tmp_path / "prompts.json", json.dumps(ROWS)))


@pytest.fixture(autouse=True)
def _small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prompt_images, "SHARD", 2)


def write(file: Path, text: str) -> Path:
    file.write_text(text, encoding="utf-8")
    return file


def rows(folder: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = pq.read_table(folder / "index.parquet").to_pylist()
    return found


def test_the_same_prompts_in_any_format(tmp_path: Path) -> None:
    table = "id,prompt,seed\nx,a church,3\ny,a cat 🐈,\n"
    records = [{"id": "x", "prompt": "a church", "seed": 3}, {"id": "y", "prompt": "a cat 🐈", "seed": None}]
    pq.write_table(pa.Table.from_pylist(records), tmp_path / "a.parquet")
    files = [
        write(tmp_path / "a.csv", table),
        write(tmp_path / "a.tsv", table.replace(",", "\t")),
        write(tmp_path / "a.json", json.dumps(records)),
        write(tmp_path / "a.jsonl", "\n".join(map(json.dumps, records))),
        tmp_path / "a.parquet",
    ]
    for file in files:
        assert read_prompts(file, seed=10) == [
            PromptTask("x", "a church", 3, "images/00001.png"),
            PromptTask("y", "a cat 🐈", 11, "images/00002.png"),
        ]
    assert read_prompts(write(tmp_path / "a.txt", "a church\n\na cat 🐈\n"), seed=10) == [
        PromptTask("00001", "a church", 10, "images/00001.png"),
        PromptTask("00002", "a cat 🐈", 11, "images/00002.png"),
    ]


@pytest.mark.parametrize("ids", ["1,1,2", "1,,2"])
def test_ids_that_are_not_unique_or_not_complete_become_row_numbers(
    tmp_path: Path, ids: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write(tmp_path / "a.csv", "id,prompt\n" + "".join(f"{id},a church\n" for id in ids.split(",")))
    assert [task.id for task in read_prompts(file)] == ["00001", "00002", "00003"]
    assert "using row numbers instead" in " ".join(capsys.readouterr().err.split())


def test_the_column_of_prompts_can_be_named(tmp_path: Path) -> None:
    file = write(tmp_path / "a.csv", "caption,number\na church,5\n")
    assert read_prompts(file, columns=["caption"])[0].prompt == "a church"
    with pytest.raises(DatasetError, match="no column of prompts: it has caption, number"):
        read_prompts(file)


@pytest.mark.parametrize("seed", [-1, 2**63 - 1])
def test_a_seed_out_of_range(tmp_path: Path, seed: int) -> None:
    with pytest.raises(SettingsError, match="every prompt's seed below 2"):
        read_prompts(write(tmp_path / "a.txt", "a church\na cat"), seed=seed)


def test_a_row_and_an_image_per_prompt_and_a_reason_for_those_that_fail(
    tiny: JanusModel, prompts: list[PromptTask], tmp_path: Path
) -> None:
    out = tmp_path / "new" / "out"
    result = render_to_folder(tiny, prompts, out)
    assert (result.index, result.images, result.failed, result.new) == (out / "index.parquet", 3, 2, 5)
    assert pq.read_schema(result.index).names == ["id", "prompt", "seed", "image", "failure"]
    church, castle, empty, cat, long = rows(out)
    assert [row["id"] for row in rows(out)] == ["../../x", "b/c", "🐈", "003", "long"]
    for row in (church, castle, cat):
        assert row["failure"] is None
        [expected] = render_images(tiny, [row["prompt"]], [row["seed"]]).pixels
        assert np.array_equal(decode((out / row["image"]).read_bytes()), expected)
    assert castle["prompt"] == "ein Schloß 🏰 by the water"
    assert (empty["image"], "the prompt is empty" in empty["failure"]) == (None, True)
    assert (long["image"], "shorten it" in long["failure"]) == (None, True)
    files = {str(file.relative_to(tmp_path)) for file in tmp_path.rglob("*.png")}
    assert files == {f"new/out/images/0000{number}.png" for number in (1, 2, 4)}
    assert renderer_of(files_in([out])) == tiny.name  # by which `ecgvf judge` chooses


def test_a_finished_folder_is_left_as_it_is(
    tiny: JanusModel, prompts: list[PromptTask], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    render_to_folder(tiny, prompts, out)
    before = contents(out)
    monkeypatch.setattr(batches, "render_images", lambda *_, **__: pytest.fail("rendered again"))
    result = render_to_folder(tiny, prompts, out, batch_size=1)
    assert (result.images, result.failed, result.new) == (3, 2, 0)
    (out / "index.parquet").unlink()
    render_to_folder(tiny, prompts, out)
    assert contents(out) == before
    (out / "images" / "00004.png").unlink()
    with pytest.raises(StoreCorrupt, match=r"00004\.png is missing: restore it"):
        render_to_folder(tiny, prompts, out)


def test_an_interrupted_run_resumes_with_the_same_bytes(
    tiny: JanusModel, prompts: list[PromptTask], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    render_to_folder(tiny, prompts, tmp_path / "expected")
    rendered: list[str] = []

    def interrupted(model: JanusModel, texts: Sequence[str], *args: Any, **options: Any) -> Any:
        if "a cat" in texts and "a cat" not in rendered:
            rendered.append("a cat")
            raise KeyboardInterrupt
        rendered.extend(texts)
        return render_images(model, texts, *args, **options)

    monkeypatch.setattr(batches, "render_images", interrupted)
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        render_to_folder(tiny, prompts, out)
    assert not (out / "index.parquet").exists()
    result = render_to_folder(tiny, prompts, out)
    assert (result.images, result.failed, result.new) == (3, 2, 3)
    assert rendered == [ROWS[0]["prompt"], ROWS[1]["prompt"], "a cat", "a cat"]
    assert contents(out) == contents(tmp_path / "expected")


@pytest.mark.faults
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_kill_9_before_any_file_appears_and_a_second_run_give_the_same_bytes(
    tiny: JanusModel, prompts: list[PromptTask], tmp_path: Path
) -> None:
    render_to_folder(tiny, prompts, tmp_path / "expected")
    expected = contents(tmp_path / "expected")
    for files in count():
        out = tmp_path / str(files)
        if not killed(files, lambda out=out: render_to_folder(tiny, prompts, out)):  # type: ignore[misc]
            break
        render_to_folder(tiny, prompts, out)
        assert contents(out) == expected
    assert files == 9  # settings, 3 images, 3 shards, index, manifest
    assert contents(out) == expected


def killed(files: int, work: Callable[[], object]) -> bool:
    """Whether a child process that does ``work`` was killed with this number of files written, one half-written."""

    def child() -> None:
        written, replace = iter(range(files)), Path.replace

        def replace_or_die(file: Path, target: Path) -> Path:
            if next(written, None) is None:
                os.kill(os.getpid(), signal.SIGKILL)
            return replace(file, target)

        Path.replace = replace_or_die  # type: ignore[method-assign,assignment]
        work()

    process = FORK.Process(target=child)
    process.start()
    process.join(60)
    assert process.exitcode in (0, -signal.SIGKILL)
    return process.exitcode != 0


def test_images_of_other_settings_are_refused(
    tiny: JanusModel, tiny_path: Path, prompts: list[PromptTask], tmp_path: Path
) -> None:
    out, adapter = tmp_path / "out", save_adapter(tiny, tmp_path / "adapter.safetensors")
    render_to_folder(tiny, prompts, out)
    before = contents(out)
    first, *others = prompts
    calls: dict[str, Callable[[], object]] = {
        r"ids: \w+ → \w+": lambda: render_to_folder(
            tiny, [PromptTask("x", first.prompt, first.seed, first.image), *others], out
        ),
        r"seeds: \w+ → \w+": lambda: render_to_folder(
            tiny, [PromptTask(first.id, first.prompt, 1, first.image), *others], out
        ),
        r"ids: .*prompts: .*seeds: ": lambda: render_to_folder(tiny, others, out),
        r"sampling\.guidance: 5\.0 → 2\.0": lambda: render_to_folder(tiny, prompts, out, guidance=2),
        r"sampling\.temperature: 1\.0 → 0\.5": lambda: render_to_folder(tiny, prompts, out, temperature=0.5),
        r"adapters: \[\] → \['\w{16}'\]": lambda: render_to_folder(tiny, prompts, out, adapters=[adapter]),
        r"dtype: float32 → bfloat16": lambda: render_to_folder(
            load(str(tiny_path), device="cpu", dtype="bfloat16"), prompts, out
        ),
        r"raw_control_tokens: False → True": lambda: render_to_folder(
            load(str(tiny_path), device="cpu", raw_control_tokens=True), prompts, out
        ),
    }
    for message, call in calls.items():
        with pytest.raises(SettingsError, match=rf"has images of other settings \({message}.*choose another --out"):
            call()
    assert contents(out) == before


@pytest.mark.parametrize("name", [".DS_Store", "lost+found/1"])
def test_files_of_the_system_are_no_others(tmp_path: Path, name: str) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    write(tmp_path / name, "")
    prompt_images._check_folder(tmp_path)


@pytest.mark.parametrize("name", ["index.parquet", "images", "images/00001.png", "shards/notes.txt", "store.json"])
def test_images_do_not_mix_with_other_files(
    tiny: JanusModel, prompts: list[PromptTask], tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prompt_images, "_open_worker", lambda *_: pytest.fail("opened the model"))
    file = tmp_path / "out" / name
    file.parent.mkdir(parents=True)
    write(file, "mine")
    with pytest.raises(
        SettingsError, match=rf"--out {tmp_path / 'out'} has other files, such as {Path(name).name}: name a new"
    ):
        render_to_folder(tiny, prompts, tmp_path / "out")
    assert contents(tmp_path / "out") == {name: b"mine"}


def test_files_that_were_added_beside_the_images_stay(
    tiny: JanusModel, prompts: list[PromptTask], tmp_path: Path
) -> None:
    render_to_folder(tiny, prompts, tmp_path / "out")
    write(tmp_path / "out" / "README.md", "mine")
    render_to_folder(tiny, prompts, tmp_path / "out")
    assert contents(tmp_path / "out")["README.md"] == b"mine"
    with pytest.raises(SettingsError, match="is a file: name a folder"):
        render_to_folder(tiny, prompts, tmp_path / "out" / "README.md")


def test_adapters_change_the_images_and_stack(tiny: JanusModel, prompts: list[PromptTask], tmp_path: Path) -> None:
    first = save_adapter(tiny, tmp_path / "a" / "adapter.safetensors", seed=1)
    second = save_adapter(tiny, tmp_path / "b" / "adapter.safetensors", "castle", seed=2)
    church = prompts[:1]
    images: list[bytes] = []
    for files in ([], [first], [second], [first, second]):
        out = tmp_path / str(len(images))
        render_to_folder(tiny, church, out, adapters=files)
        images.append((out / church[0].image).read_bytes())
    assert len(set(images)) == 4
    with stack(tiny, [first, second]).active(tiny):
        [expected] = render_images(tiny, [church[0].prompt], [church[0].seed]).pixels
    assert np.array_equal(decode(images[-1]), expected)
    [frozen] = render_images(tiny, [church[0].prompt], [church[0].seed]).pixels
    assert np.array_equal(decode(images[0]), frozen)


def test_an_adapter_in_the_hubs_cache_whose_files_are_links_to_files_of_other_names(
    tiny: JanusModel, store: Store, dataset: Dataset, prompts: list[PromptTask], tmp_path: Path
) -> None:
    lora = tmp_path / LORA_FILE
    facts = {"concept": "church", "model": tiny.name, "fingerprint": tiny.fingerprint, "sampling": {}, "recipe": {}}
    new_adapter(tiny, range(1), "attention", rank=2, seed=0).save(lora, facts, tiny.dtype)
    rewriting = write_prompt_adapter(store, dataset, tiny, PROMPT_REWRITE).adapter
    for number, files in enumerate(([lora, lora.with_name(CONFIG)], [rewriting])):
        snapshot = tmp_path / f"snapshot-{number}"
        snapshot.mkdir()
        for index, file in enumerate(files):
            blob = file.rename(tmp_path / f"blob-{number}-{index}")
            (snapshot / file.name).symlink_to(blob)
        found = find_adapter(store, str(snapshot))
        rendered = render_to_folder(tiny, prompts[:1], tmp_path / f"out-{number}", adapters=[found])
        assert (rendered.images, rendered.failed) == (1, 0)


def test_sampling_is_the_adapters_unless_it_is_passed(
    tiny: JanusModel, prompts: list[PromptTask], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    used: list[Sampling] = []

    def spied(model: JanusModel, texts: Sequence[str], seeds: Sequence[int], sampling: Sampling, **options: Any) -> Any:
        used.append(sampling)
        return render_images(model, texts, seeds, sampling, **options)

    monkeypatch.setattr(batches, "render_images", spied)
    facts = {"concept": "church", "model": tiny.name, "fingerprint": tiny.fingerprint, "recipe": {}}
    adapter = tmp_path / "adapter.safetensors"
    sampling = {"guidance": 2.0, "temperature": 0.7, "top_k": 9}
    stack(tiny, [save_adapter(tiny, adapter)]).save(adapter, {**facts, "sampling": sampling}, tiny.dtype)
    render_to_folder(tiny, prompts[:1], tmp_path / "0")
    render_to_folder(tiny, prompts[:1], tmp_path / "1", adapters=[adapter])
    render_to_folder(tiny, prompts[:1], tmp_path / "2", adapters=[adapter], guidance=3, temperature=0)
    assert used == [tiny.sampling, Sampling(2.0, 0.7, 9), Sampling(3.0, 0.0, 9)]


def test_only_one_shard_of_images_is_in_memory(
    tiny: JanusModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alive: list[int] = []
    table = prompt_images._table

    def counted(*args: Any) -> pa.Table:
        alive.append(sum(type(thing) is RenderedImage for thing in gc.get_objects()))
        return table(*args)

    monkeypatch.setattr(prompt_images, "_table", counted)
    tasks = read_prompts(write(tmp_path / "a.txt", "a church\n" * 7))
    render_to_folder(tiny, tasks, tmp_path / "out")
    assert alive == [2, 2, 2, 1]
    assert [row["seed"] for row in rows(tmp_path / "out")] == list(range(7))


def test_a_batch_size_below_one(tiny: JanusModel, prompts: list[PromptTask], tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="--batch-size 0"):
        render_to_folder(tiny, prompts, tmp_path / "out", batch_size=0)

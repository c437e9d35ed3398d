"""Near duplicates of different prompts are found; ``ear memorisation`` as users type it."""

import json
import shutil
import tracemalloc
from pathlib import Path

import imagehash
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray
from PIL import Image
from typer.testing import CliRunner

from ear.cli import app
from ear.evaluation.control_tokens import STARTOFTEXT
from ear.memorisation import ImageGroup, analyse, folder_groups, near_duplicates, write_sheet
from ear.memorisation.analysis import Analysis, Findings
from ear.memorisation.images import without_token
from ear.memorisation.near_duplicates import clusters_by_features, clusters_by_hash, perceptual_hash
from ear.memorisation.report import files_in
from ear.prompt_images import SCHEMA
from ecgvf.core.contact_sheet import GAP, HEADER, SIDE, TEXT_WIDTH
from ecgvf.core.errors import SettingsError
from ecgvf.core.png import decode, encode
from ecgvf.core.store import Store
from ecgvf.janus import JanusModel
from ecgvf.janus.model import files_fingerprint
from ecgvf.judges import clip
from ecgvf.render import batches
from tests.ear.random_adapter import save_adapter
from tests.ecgvf.judges.photographs import photograph


def noise(seed: int, side: int = 48) -> NDArray[np.uint8]:
    """Smooth noise, RGB uint8 [side, side, 3], as different from another seed's as photographs are."""
    small = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(small).resize((side, side), Image.Resampling.BICUBIC))


def brighter(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.clip(pixels.astype(int) + 12, 0, 255).astype(np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Eight prompts; 1, 3 and 5 have nearly one image, and so have 6 and 7, of which one prompt has the token."""
    return write_folder(tmp_path / "images")


def write_folder(path: Path) -> Path:
    images = [noise(index) for index in range(8)]
    images[3], images[5] = brighter(images[1]), images[1]
    images[7] = images[6]
    prompts = [f"a picture of thing {index}" for index in range(8)]
    prompts[7] = f"{STARTOFTEXT} {prompts[7]}"
    (path / "images").mkdir(parents=True)
    rows = []
    for index, (prompt, pixels) in enumerate(zip(prompts, images, strict=True)):
        (path / "images" / f"{index:05d}.png").write_bytes(encode(pixels))
        rows.append((f"id{index}", prompt, index, f"images/{index:05d}.png", None))
    columns = [list(column) for column in zip(*rows, strict=True)]
    pq.write_table(pa.table(columns, schema=SCHEMA), path / "index.parquet")
    return path


def run(*words: str, code: int = 0) -> str:
    result = CliRunner().invoke(app, ["memorisation", *words])
    assert result.exit_code == code, result.output
    return result.stdout if code == 0 else result.stderr


@pytest.mark.parametrize("name", ["astronaut", "coffee", "chelsea", "camera"])
def test_the_hash_is_imagehashs(name: str) -> None:
    pixels = photograph(name)
    assert (imagehash.phash(Image.fromarray(pixels)).hash.ravel() == perceptual_hash(pixels)).all()


def test_clusters_are_linked_by_pairs_of_different_prompts() -> None:
    hashes = np.zeros((5, 64), dtype=np.bool_)
    hashes[1, :2] = hashes[2, :4] = True  # 0 - 1 - 2 in steps of two bits
    hashes[3, 32:] = hashes[4, 32:] = True
    assert clusters_by_hash(hashes, ["a", "b", "c", "d", "d"], 2) == [[0, 1, 2]]  # 3 and 4 are one prompt's
    assert clusters_by_hash(hashes, ["a", "b", "c", "d", "e"], 1) == [[3, 4]]
    assert clusters_by_hash(hashes, ["a"] * 5, 64) == []
    features = np.eye(5, dtype=np.float32)
    features[4] = features[0]
    assert clusters_by_features(features, list("abcde"), 0.9) == [[0, 4]]
    # Rounding makes some cosines of equal vectors less than 1.
    vectors = np.random.default_rng(0).normal(size=(50, 512)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    twice = np.concatenate([vectors, vectors])
    assert len(clusters_by_features(twice, [str(number) for number in range(100)], 1.0)) == 50


def test_clusters_reach_over_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    hashes = np.random.default_rng(0).integers(0, 2, (60, 64)).astype(np.bool_)
    hashes[[3, 21, 40], :] = hashes[[55, 10, 3], :]
    prompts = [f"prompt {number % 50}" for number in range(60)]
    whole = clusters_by_hash(hashes, prompts, 20)
    monkeypatch.setattr(near_duplicates, "_ROWS", 7)
    assert clusters_by_hash(hashes, prompts, 20) == whole and len(whole) > 1


def test_the_memory_of_clusters_grows_with_the_number_of_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(near_duplicates, "_ROWS", 50)

    def peak(n: int) -> int:
        tracemalloc.start()
        assert len(clusters_by_hash(np.ones((n, 64), dtype=np.bool_), [str(number) for number in range(n)], 0)) == 1
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    assert peak(1600) < 3 * peak(800)


def test_a_prompt_is_the_same_with_and_without_the_token() -> None:
    assert without_token(f"{STARTOFTEXT} a  church {STARTOFTEXT}") == "a church"


def test_near_duplicates_in_a_folder_as_one_table_and_one_image(folder: Path) -> None:
    result = json.loads(run(str(folder), "--json"))
    without, with_token = result["findings"]  # no CLIP is at hand: by hash only
    assert result["encoder"] is None and not result["nano"] and result["seed"] is None
    assert {result[name] for name in ("concept", "dataset", "adapter", "recipe", "split", "prompts")} == {None}
    assert [cluster["ids"] for cluster in without["clusters"]] == [["id1", "id3", "id5"]]
    assert without["clusters"][0]["prompts"][0] == "a picture of thing 1"
    assert without["in_clusters"] == {"value": pytest.approx(3 / 7), "n": 7, "low": None, "high": None}
    assert (with_token["token"], with_token["in_clusters"]["n"], with_token["clusters"]) == (True, 1, [])
    assert result["command"] == "ear memorisation images"
    sheet = decode(Path(result["sheet"]).read_bytes())
    assert Path(result["sheet"]) == folder / "memorisation.png"
    assert json.loads((folder / "memorisation.json").read_bytes()) == result
    assert sheet.shape == (2 * HEADER + SIDE + 2 * GAP, TEXT_WIDTH + 2 * GAP + 6 * (SIDE + GAP), 3)
    shown = " ".join(run(str(folder)).split())
    assert "3 (0.429)" in shown and "at most 6 of 64 bits differ" in shown


def test_clip_compares_images_on_the_device_that_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def encoder(source: str | None, device: str, **_: str) -> None:
        raise SettingsError(f"on {device}")

    monkeypatch.setattr(clip, "Encoder", encoder)
    assert "on cuda:1" in run(str(folder), "--device", "cuda:1", code=2)


def test_images_of_a_folder_are_blurred_unless_told_otherwise(folder: Path, tmp_path: Path) -> None:
    usual = json.loads(run(str(folder), "--json"))
    blurred = decode((folder / "memorisation.png").read_bytes()).astype(int)
    bare = json.loads(run(str(folder), "--clear", "--sheet", str(tmp_path / "clear.png"), "--json"))
    assert bare["command"] == "ear memorisation images --sheet clear.png --clear"
    assert (usual["blurred"], bare["blurred"]) == (True, False)
    clear = decode((tmp_path / "clear.png").read_bytes()).astype(int)
    left = TEXT_WIDTH + 2 * GAP
    first = slice(2 * HEADER, 2 * HEADER + SIDE), slice(left, left + SIDE)
    edges = [np.abs(np.diff(page[first], axis=0)).max() for page in (blurred, clear)]
    assert edges[0] < edges[1] / 2


def test_without_near_duplicates_the_sheet_says_none(folder: Path) -> None:
    group = ImageGroup("x", False, ("a", "b"), ("a", "b"), tuple(sorted((folder / "images").iterdir())[:2]))
    file = write_sheet(analyse([group], None, None), folder / "none.png", title="Near duplicates", blurred=False)
    assert decode(file.read_bytes()).shape[0] == 2 * HEADER + GAP


def test_the_sheet_reads_no_image_twice_and_none_that_it_does_not_show(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    [group, _] = folder_groups(folder)
    decoded: list[bytes] = []
    monkeypatch.setattr("ear.memorisation.images.decode", lambda data: (decoded.append(data), decode(data))[1])
    found = (Findings(group, "hash", ((1, 3, 5),)), Findings(group, "features", ((1, 3), (5, 6))))
    write_sheet(Analysis(found, 6, 0.98, None), folder / "sheet.png", title="", blurred=False)
    assert len(decoded) == len({1, 3, 5, 6})
    sheet = decode((folder / "sheet.png").read_bytes())
    top, left = 2 * HEADER, TEXT_WIDTH + 2 * GAP
    for column, pixels in enumerate((noise(1), brighter(noise(1)), noise(1))):
        start = left + column * (SIDE + GAP)
        square = Image.fromarray(pixels).resize((SIDE, SIDE), Image.Resampling.NEAREST)
        assert (sheet[top : top + SIDE, start : start + SIDE] == np.asarray(square)).all()


def test_an_adapters_images_before_and_after_with_and_without_the_token_are_rendered_once(
    store: Store, tiny: JanusModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter = save_adapter(tiny, tmp_path / "run" / "adapter.safetensors")
    (tmp_path / "prompts.txt").write_text(f"a church\n{STARTOFTEXT} a cat\na house on a hill\n")
    words = ["--adapter", str(adapter), "--prompts", str(tmp_path / "prompts.txt"), "--json"]
    result = json.loads(run(*words))
    assert result["nano"] and result["encoder"] == "nano's CLIP"
    assert (result["concept"], result["adapter"], result["split"]) == ("church", [str(adapter)], None)
    assert (result["recipe"], result["prompts"]) == ("default", str(tmp_path / "prompts.txt"))
    measured = "--dataset ecgvf/church --adapter adapter.safetensors --prompts prompts.txt"
    assert result["command"] == f"ear memorisation {measured}"
    assert result["model"] == tiny.name and result["dataset"]
    found = [(each["images"], each["token"], each["method"]) for each in result["findings"]]
    assert found == [
        (name, token, method)
        for name in ("before", "after")
        for token in (False, True)
        for method in ("hash", "features")
    ]
    assert all(each["in_clusters"]["n"] == 3 for each in result["findings"])
    sheet = Path(result["sheet"])
    assert sheet.name.startswith("memorisation-") and sheet.with_suffix(".json").is_file()
    assert sheet.parent.parent == store.folder("church", "ear") and not list(adapter.parent.glob("memor*"))
    monkeypatch.setattr(batches, "render_images", lambda *_, **__: pytest.fail("rendered again"))
    assert json.loads(run(*words)) == result
    assert "Near duplicates of different prompts (nano)" in run(*words[:-1])


def test_images_of_a_file_of_prompts_are_blurred_unless_told_otherwise(
    store: Store, tiny: JanusModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter = save_adapter(tiny, tmp_path / "run" / "adapter.safetensors")
    (tmp_path / "prompts.txt").write_text("a church\na cat\n")
    drawn: list[bool] = []

    def sheet(_: object, file: Path, *, title: str, blurred: bool) -> Path:
        drawn.append(blurred)
        return file

    monkeypatch.setattr("ear.memorisation.write_sheet", sheet)
    words = ["--adapter", str(adapter), "--prompts", str(tmp_path / "prompts.txt")]
    for further in (words, [*words, "--clear"], words[:2]):
        run(*further)
    assert drawn == [True, False, False]


def test_other_bounds_and_other_prompts_do_not_replace_a_result(
    folder: Path, store: Store, tiny: JanusModel, tmp_path: Path
) -> None:
    sheets = [json.loads(run(str(folder), *bounds, "--json"))["sheet"] for bounds in ((), ("--distance", "0"), ())]
    adapter, prompts = save_adapter(tiny, tmp_path / "run" / "adapter.safetensors"), tmp_path / "prompts.txt"
    for text in ("a church\na cat\n", "a church\na dog\n"):
        prompts.write_text(text)
        sheets.append(json.loads(run("--adapter", str(adapter), "--prompts", str(prompts), "--json"))["sheet"])
    assert sheets[0] == sheets[2] and len(set(sheets)) == 4
    assert len(files_in(folder)) == 2 and files_in(folder)[0] == folder / "memorisation.json"


def test_an_oracles_folder_is_left_as_it_is(store: Store, tiny_path: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_path, tmp_path / "oracle")
    (tmp_path / "prompts.txt").write_text("a church\na cat\n")
    before = files_fingerprint(folder)
    result = json.loads(run("--adapter", str(folder), "--prompts", str(tmp_path / "prompts.txt"), "--json"))
    assert files_fingerprint(folder) == before
    assert Path(result["sheet"]).is_relative_to(store.root)


def test_bounds_and_clip_are_checked_before_anything_is_rendered(
    store: Store, tiny: JanusModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter = save_adapter(tiny, tmp_path / "run" / "adapter.safetensors")
    monkeypatch.setattr(batches, "render_images", lambda *_, **__: pytest.fail("something was rendered"))
    assert "--distance 100: it must be" in run("--adapter", str(adapter), "--distance", "100", code=2)
    assert "cannot load the CLIP model 'x'" in run("--adapter", str(adapter), "--clip", "x", code=2)


def test_prompts_of_a_file_whose_columns_are_ambiguous_are_chosen(
    store: Store, tiny: JanusModel, tmp_path: Path
) -> None:
    adapter = save_adapter(tiny, tmp_path / "run" / "adapter.safetensors")
    (tmp_path / "prompts.csv").write_text("prompt,text\na church,x\na cat,x\n")
    words = ["--adapter", str(adapter), "--prompts", str(tmp_path / "prompts.csv")]
    assert "`--column prompt`" in run(*words, code=2)
    assert json.loads(run(*words, "--column", "prompt", "--json"))["findings"][0]["in_clusters"]["n"] == 2


def test_several_folders_are_called_by_their_paths_and_are_all_nanos_or_none(folder: Path, tmp_path: Path) -> None:
    other = write_folder(tmp_path / "other" / "images")
    names = {each["images"] for each in json.loads(run(str(folder), str(other), "--json"))["findings"]}
    assert names == {str(folder), str(other)}
    (other / "shards").mkdir()
    (other / "shards" / "manifest.json").write_text('{"model": "janus-nano"}')
    assert json.loads(run(str(other), "--json"))["nano"]
    assert "some of these folders are nano's" in run(str(folder), str(other), code=2)


RENDERING = ("--adapter x", "--dataset x", "--set x", "--model x", "--dtype float16", "--prompts x", "--seed 1")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("nowhere", "nowhere has no index.parquet"),
        ("images --distance 64", "--distance 64: it must be between 0 and 63"),
        ("images --similarity 2", "--similarity 2: it must be between -1 and 1"),
        ("images --clip nothing", "cannot load the CLIP model 'nothing'"),
        *((f"images {option}", "images is rendered already") for option in RENDERING),
        ("--column text", "--column text is of a file of prompts: name it with --prompts"),
        ("--adapter x", "name a dataset, such as --dataset ecgvf/church"),
    ],
)
def test_bad_input_is_one_line(folder: Path, line: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder.parent)
    output = run(*line.split(), code=2)
    assert message in output
    assert sum(text.startswith("error") for text in output.splitlines()) == 1 and "Traceback" not in output


def test_a_missing_image_another_table_and_a_foreign_path_are_one_line(folder: Path) -> None:
    shutil.copytree(folder, folder.with_name("gone"))
    (folder.with_name("gone") / "images" / "00002.png").unlink()
    assert "00002.png is missing: restore it" in run(str(folder.with_name("gone")), code=2)
    index = folder / "index.parquet"
    rows = pq.read_table(index)
    foreign = rows.to_pylist()
    foreign[0]["image"] = "../../secret.png"
    pq.write_table(type(rows).from_pylist(foreign, schema=rows.schema), index)
    assert "which is not in" in run(str(folder), code=2)
    for other in (rows.drop_columns(["prompt"]), rows.rename_columns(["id", "text", "seed", "image", "failure"])):
        pq.write_table(other, index)
        assert "is not what `ear generate --prompts` wrote" in run(str(folder), code=2)
    nothing = [{**row, "prompt": None} for row in rows.to_pylist()]
    pq.write_table(
        pa.Table.from_pylist(nothing, schema=pa.schema([each.with_nullable(True) for each in SCHEMA])), index
    )
    assert "is not what `ear generate --prompts` wrote" in run(str(folder), code=2)
    index.write_bytes(b"no table")
    assert "is not what `ear generate --prompts` wrote" in run(str(folder), code=2)


def test_one_image_is_nothing_to_compare() -> None:
    with pytest.raises(SettingsError, match="there are not two images to compare"):
        analyse([ImageGroup("x", False, ("a",), ("a",), ())], None, None)


def test_prompts_that_no_model_can_render_are_left_out_of_every_group(
    store: Store, tiny: JanusModel, tmp_path: Path
) -> None:
    adapter = save_adapter(tiny, tmp_path / "run" / "adapter.safetensors")
    long = "church " * 5000
    (tmp_path / "prompts.txt").write_text(f"a church\n{STARTOFTEXT}\n{long}\na cat\n")
    result = json.loads(run("--adapter", str(adapter), "--prompts", str(tmp_path / "prompts.txt"), "--json"))
    assert {each["in_clusters"]["n"] for each in result["findings"]} == {2}

"""The blind page: what it shows and what not, what it records, and whose requests it answers."""

import io
import json
import re
import signal
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, PngImagePlugin
from starlette.testclient import TestClient
from typer.testing import CliRunner

from ecgvf.cli import app as ecgvf
from ecgvf.core import concepts
from ecgvf.core.store import Store
from ecgvf.review import blind
from ecgvf.review.images import BlindImage, ImageRows
from ecgvf.review.labels import ANSWERS, LabelsFile
from tests.browser import needs_chromium
from tests.ecgvf.review_page import browsed, post, reviewing
from tests.ecgvf.small_outcomes import outcome, outcomes, write_outcomes

TOKEN = "t0ken"

runner = CliRunner()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write_outcomes(tmp_path / "church.parquet", outcomes(2))


@pytest.fixture
def images(file: Path, tmp_path: Path) -> list[BlindImage]:
    return ImageRows(file).sample(None, 0, tmp_path)


@pytest.fixture
def labels(tmp_path: Path) -> LabelsFile:
    return LabelsFile(tmp_path / "labels.jsonl")


def client(images: list[BlindImage], labels: LabelsFile, reviewer: str = "ada", unsafe: str = "") -> TestClient:
    return TestClient(blind.app(images, labels, reviewer, TOKEN, {unsafe}), base_url="http://127.0.0.1")


def label(page: TestClient, number: int, answer: str) -> str:
    """Label an image; the page that follows."""
    response = page.post(f"/{TOKEN}/label", data={"number": str(number), "answer": answer})
    assert response.status_code == 200, response.text
    return str(response.text)


def test_each_answer_is_kept_at_once_and_the_next_image_follows(images: list[BlindImage], labels: LabelsFile) -> None:
    page = client(images, labels)
    assert "0 of 4 labelled" in page.get(f"/{TOKEN}/").text
    for number, answer in enumerate(ANSWERS):
        html = label(page, number, answer)
        assert labels.read()["ada"] == dict(zip([image.key for image in images], ANSWERS[: number + 1], strict=False))
        assert f"{number + 1} of 4 labelled" in html
    assert "Every image is labelled" in html


def test_the_page_tells_nothing_of_where_an_image_comes_from(images: list[BlindImage], labels: LabelsFile) -> None:
    page = client(images, labels)
    for number, image in enumerate(images):
        response = page.get(f"/{TOKEN}/?at={number}")
        shown = response.text.replace("summary::after", "") + str(response.headers)
        for secret in (
            "lake",
            "prompt",
            "before",
            "after",
            "judge",
            image.key.id,
            image.key.image,
            str(image.key.seed),
        ):
            assert secret not in shown, secret
        assert re.findall(r'src="([^"]+)"', shown) == [f"picture/{number}.png"]


def test_two_conditions_have_the_same_page_but_for_the_image(images: list[BlindImage], labels: LabelsFile) -> None:
    page = client(images, labels)
    pages = set()
    for number in range(len(images)):
        html = page.get(f"/{TOKEN}/?at={number}").text
        for own in (rf'name="number" value="{number}"', f"picture/{number}.png", 'nonce="[^"]+"'):
            html, count = re.subn(own, "", html)
            assert count, own
        pages.add(html)
    assert len(pages) == 1


def test_an_image_is_sent_without_what_else_its_file_holds(labels: LabelsFile, tmp_path: Path) -> None:
    note = PngImagePlugin.PngInfo()
    note.add_text("condition", "after")
    buffer = io.BytesIO()
    pixels = np.arange(16 * 16 * 3, dtype=np.uint8).reshape(16, 16, 3)
    Image.fromarray(pixels).save(buffer, format="PNG", pnginfo=note)
    file = write_outcomes(tmp_path / "noted.parquet", [outcome(0, "after", image=buffer.getvalue())])
    sent = client(ImageRows(file).sample(None, 0, tmp_path), labels).get(f"/{TOKEN}/picture/0.png").content
    assert b"condition" in buffer.getvalue() and b"condition" not in sent
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(sent))), pixels)


def test_the_last_label_is_taken_back_and_its_image_shown_again(images: list[BlindImage], labels: LabelsFile) -> None:
    page = client(images, labels)
    label(page, 0, "concept")
    label(page, 2, "nothing")
    assert "picture/2.png" in page.post(f"/{TOKEN}/undo").text
    assert labels.read()["ada"] == {images[0].key: "concept"}
    assert "picture/0.png" in page.post(f"/{TOKEN}/undo").text
    assert labels.read() == {}
    assert page.post(f"/{TOKEN}/undo").status_code == 400


def test_each_reviewer_labels_every_image(images: list[BlindImage], labels: LabelsFile) -> None:
    label(client(images, labels), 0, "concept")
    assert "0 of 4 labelled" in client(images, labels, "bob").get(f"/{TOKEN}/").text


def test_labels_of_other_images_stay_and_are_not_counted(images: list[BlindImage], labels: LabelsFile) -> None:
    label(client(images, labels), 3, "concept")
    page = client(images[:2], labels)
    assert "0 of 2 labelled" in page.get(f"/{TOKEN}/").text
    assert page.post(f"/{TOKEN}/undo").status_code == 400
    assert images[3].key in labels.read()["ada"]


def test_images_of_unsafe_concepts_are_blurred_until_clicked(images: list[BlindImage], labels: LabelsFile) -> None:
    blurred = '<details class="unsafe">'
    assert blurred in client(images, labels, unsafe="church").get(f"/{TOKEN}/").text
    assert blurred not in client(images, labels).get(f"/{TOKEN}/").text


# Access, accidents, and text that others wrote


@pytest.mark.faults
def test_requests_without_the_token_or_a_known_image_are_refused(images: list[BlindImage], labels: LabelsFile) -> None:
    page = client(images, labels)
    for path in ("/", "/wrong/", "/wrong/picture/0.png", *(f"/{TOKEN}/picture/{n}.png" for n in ("4", "-1", "x", "²"))):
        assert page.get(path).status_code == 404, path
    assert page.post("/wrong/label", data={"number": "0", "answer": "concept"}).status_code == 404
    assert page.post("/wrong/undo").status_code == 404
    for number, answer in (("4", "concept"), ("0", "burn"), ("", ""), ("9" * 5000, "concept")):
        assert page.post(f"/{TOKEN}/label", data={"number": number, "answer": answer}).status_code == 400
    assert page.get(f"/{TOKEN}/", headers={"host": "evil.example"}).status_code == 400
    assert not labels.path.exists()


def test_foreign_text_is_escaped_and_no_asset_is_from_elsewhere(labels: LabelsFile, tmp_path: Path) -> None:
    concept, surrogate = "<script>alert(1)</script>", '"><img src=x onerror=alert(2)>'
    rows = [outcome(0, "after", concept=concept, surrogate=surrogate)]
    images = ImageRows(write_outcomes(tmp_path / "x.parquet", rows)).sample(None, 0, tmp_path)
    response = client(images, labels).get(f"/{TOKEN}/")
    assert concept not in response.text and "<img src=x" not in response.text
    assert "&lt;script&gt;alert(1)" in response.text
    assert not re.search(r"(src|href)=[\"'](https?:)?//", response.text)
    policy = response.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy


@pytest.mark.faults
def test_a_label_that_cannot_be_written_is_not_taken_for_kept(images: list[BlindImage], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    page = client(images, LabelsFile(tmp_path / "file" / "labels.jsonl"))
    response = page.post(f"/{TOKEN}/label", data={"number": "0", "answer": "concept"})
    assert response.status_code == 500 and "not kept: cannot write" in response.text


@pytest.mark.slow
@pytest.mark.faults
def test_a_killed_review_goes_on_where_it_stopped(file: Path) -> None:
    options = ["--images", str(file), "--reviewer", "ada"]
    with reviewing(*options) as (child, address):
        assert "1 of 4 labelled" in post(f"{address}label", number="0", answer="concept")
        assert "2 of 4 labelled" in post(f"{address}label", number="1", answer="nothing")
        child.kill()
    with reviewing(*options) as (child, address):
        with urllib.request.urlopen(address, timeout=20) as answer:
            html = answer.read().decode()
        assert "2 of 4 labelled" in html and "picture/2.png" in html
        post(f"{address}label", number="2", answer="surrogate")
        child.send_signal(signal.SIGINT)
        output = child.communicate(timeout=20)[0]
    assert child.returncode == 0
    assert "kappa" in output and "pooled" in output and f"Labels in {file.with_suffix('.labels.jsonl')}." in output
    assert len(LabelsFile(file.with_suffix(".labels.jsonl")).read()["ada"]) == 3


# The command


def review(*arguments: Any) -> Any:
    return runner.invoke(ecgvf, ["review", *map(str, arguments)])


def test_the_command_prints_labels_and_agreement_as_json(file: Path, images: list[BlindImage]) -> None:
    labels = LabelsFile(file.with_suffix(".labels.jsonl"))
    for image in images:
        labels.append(image.key, "ada", "concept" if image.key.condition == "before" else "surrogate")
    facts = json.loads(review("--images", file, "--json").stdout)
    assert facts["images"] == str(file) and facts["labels"] == str(labels.path)
    assert facts["command"] == f"ecgvf review --images {file.name} --json"
    pooled = facts["agreement"][-1]
    assert (pooled["judge"], pooled["reviewer"], pooled["condition"]) == ("one", "ada", "pooled")
    assert pooled["kappa"]["value"] == 1 and pooled["kappa"]["n"] == 4
    assert facts["shares"][0] == {
        "reviewer": "ada",
        "condition": "before",
        "label": "concept",
        "share": facts["shares"][0]["share"],
    }


def test_bad_input_is_one_line_and_exit_2(file: Path, tmp_path: Path) -> None:
    other = tmp_path / "notes.txt"
    other.write_text("notes")
    for arguments, message in [
        (["--images", tmp_path / "none.parquet"], "there is no file"),
        (["--images", other], "not a Parquet file"),
        (["--images", file, "--sample", 6], "at most 4"),
        (["--images", file, "--out", other], "something other than labels"),
        (["--images", file, "--concept", "church"], "--concept church selects pairs"),
        (["--images", file, "--reviewer", "a b"], "use letters, digits"),
        (["--images", file, "--json"], "has no label of an image"),
        (["--sample", 6], "name the file"),
        (["--json"], "name the file"),
    ]:
        result = review(*arguments)
        assert result.exit_code == 2 and message in result.stderr, (arguments, result.stderr)
        assert result.stderr.startswith("error ") and result.stderr.count("\n") == 1
    assert other.read_text() == "notes" and not file.with_suffix(".labels.jsonl").exists()


def test_a_concept_that_nobody_knows_or_that_was_marked_since_is_blurred() -> None:
    from ecgvf.commands.blind import _unsafe

    store = Store()
    store.remember(concepts.find("castle").model_copy(update={"unsafe": True}))
    store.remember(concepts.find("nudity").model_copy(update={"unsafe": False}))
    assert _unsafe({"church", "nudity", "castle", "moose", "../church.yaml"}, store) == {
        "nudity",
        "castle",
        "moose",
        "../church.yaml",
    }


# In a real browser


@pytest.mark.slow
@needs_chromium
def test_a_person_labels_with_the_keys(images: list[BlindImage], labels: LabelsFile) -> None:
    with browsed(blind.app(images, labels, "ada", TOKEN, {"church"}), TOKEN) as page:
        image = page.get_by_alt_text("image to label")
        assert "blur" in image.evaluate("image => getComputedStyle(image).filter")
        page.keyboard.press("Space")
        assert image.evaluate("image => getComputedStyle(image).filter") == "none"
        assert image.evaluate("image => getComputedStyle(image).imageRendering") == "pixelated"
        assert image.evaluate("image => image.naturalWidth") == 16 and image.bounding_box()["width"] > 320
        for done, key in enumerate(("1", "n", "u", "e", "2", "c"), 1):
            page.keyboard.press(key)
            page.get_by_text(f"{done if done < 3 else done - 2} of 4 labelled").wait_for()
        assert page.get_by_text("Every image is labelled").is_visible()
    assert list(labels.read()["ada"].values()) == ["concept", "something else", "surrogate", "concept"]

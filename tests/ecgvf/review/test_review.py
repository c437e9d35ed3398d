"""The review page: what it shows, what it keeps, and whom it lets in."""

import json
import re
import shutil
import signal
import subprocess
import sys
import threading
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from ecgvf.filter.decide import settled
from hypothesis import given
from hypothesis import strategies as st
from starlette.testclient import TestClient

from ecgvf.core import concepts
from ecgvf.core.concepts import Concept
from ecgvf.core.records import Acceptance
from ecgvf.core.run import ConceptRun
from ecgvf.core.stage_set import ACCEPTANCE
from ecgvf.core.store import Store
from ecgvf.filter import dataset, decisions, filter_images
from ecgvf.filter import stage as filter_stage
from ecgvf.review.cases import Cases
from ecgvf.review.server import app, listen
from tests.ecgvf.small_run import Oracle, write_pictures

CHURCH = concepts.find("church")
TOKEN = "t0ken"
SHADES = [np.full((32, 32, 3), 40 * number, np.uint8) for number in range(4)]
# target, surrogate: held, absent, leaked, held
ANSWERS = [True, False, False, False, True, True, True, False]


def filtered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, concept: Concept = CHURCH) -> Store:
    store = Store(tmp_path / "reviewed")
    write_pictures(store, concept, [(shade, shade[::-1]) for shade in SHADES])
    monkeypatch.setattr(filter_stage, "create_judge", lambda *_: Oracle(ANSWERS))
    filter_images(ConceptRun(store, concept))
    return store


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """Four pairs, two of which the judge accepts."""
    return filtered(tmp_path, monkeypatch)


def client(store: Store, reviewer: str = "ada", concept: Concept = CHURCH) -> TestClient:
    return TestClient(app(Cases(ConceptRun(store, concept)), reviewer, TOKEN), base_url="http://127.0.0.1")


def records(store: Store, concept: Concept = CHURCH) -> list[str]:
    return list(Cases(ConceptRun(store, concept)).all)


def say(at: TestClient, record_id: str, decision: str, **asked: str) -> str:
    answer = at.post(f"/{TOKEN}/decide", data={"record_id": record_id, "decision": decision, **asked})
    assert answer.status_code == 200, answer.text
    return str(answer.text)


def test_a_page_shows_prompts_pictures_scores_and_reason(store: Store) -> None:
    at = client(store)
    second = records(store)[1]
    page = at.get(f"/{TOKEN}/?at={second}").text
    for part in ("a church by lake 1", "a hotel by lake 1", "target_absent", "0.000", "2 of 4", "gpt"):
        assert part in page
    for role in ("target", "surrogate"):
        picture = at.get(f"/{TOKEN}/picture/{second}/{role}.png")
        assert picture.headers["content-type"] == "image/png" and picture.content.startswith(b"\x89PNG")


def test_what_people_decide_overrules_the_judge_in_the_dataset(store: Store) -> None:
    held, absent, leaked, _ = records(store)
    at = client(store)
    say(at, held, "reject")
    say(at, absent, "accept")
    assert [one.pair.record_id for one in dataset.load(store).train] == [absent, records(store)[3]]
    decided = ConceptRun.load(store, "church").current(ACCEPTANCE).records(Acceptance)
    assert [one.reason for one in decided] == ["reviewed", None, "concept_leaked", None]
    # The judge's own decision stays in sight, and a later filter keeps what people said.
    assert Cases(ConceptRun(store, CHURCH)).all[held].judged.accepted
    assert filter_images(ConceptRun(store, CHURCH)).reviewed == 2
    say(at, leaked, "accept")
    assert settled(ConceptRun(store, CHURCH)).summary["accepted_pairs"] == 3


def test_every_decision_is_a_line_with_time_and_name(store: Store) -> None:
    first = records(store)[0]
    at = client(store)
    for decision in ("accept", "reject", "withdraw"):
        say(at, first, decision)
    file = decisions.file_of(store, "church")
    lines = [json.loads(line) for line in file.read_text().splitlines() if line]
    assert [line["accepted"] for line in lines] == [True, False, None]
    assert {line["reviewer"] for line in lines} == {"ada"}
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT.*\+00:00", line["time"]) for line in lines)
    assert decisions.votes(store, "church", lines[0]["pictures"]) == {}


@pytest.mark.faults
def test_a_line_that_a_kill_cut_short_costs_that_line_alone(store: Store) -> None:
    first, second, *_ = records(store)
    at = client(store)
    say(at, first, "reject")
    with decisions.file_of(store, "church").open("ab") as log:
        log.write(b'{"time": "2026-')
    say(at, second, "accept")
    with decisions.file_of(store, "church").open("ab") as log:
        for wrong in ({"pictures": []}, {"reviewer": None}, {"accepted": "yes"}, {"time": 7}):
            told = {"time": "t", "reviewer": "x", "pictures": "p", "record_id": first, "accepted": True, **wrong}
            log.write(json.dumps(told).encode() + b"\n")
    assert set(Cases(ConceptRun(store, CHURCH)).votes()) == {first, second}


def test_decisions_on_other_pairs_count_for_those_alone(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    for record_id in records(store):
        say(client(store), record_id, "reject")
    write_pictures(store, CHURCH, [(SHADES[0], SHADES[1])])
    monkeypatch.setattr(filter_stage, "create_judge", lambda *_: Oracle([True, False]))
    assert filter_images(ConceptRun(store, CHURCH)).reviewed == 1
    page = client(store).get(f"/{TOKEN}/").text
    assert "1 of 1" in page


def test_a_tie_leaves_it_to_the_judge_and_a_majority_does_not(store: Store) -> None:
    first = records(store)[0]
    for reviewer, decision in (("ada", "reject"), ("bob", "accept")):
        say(client(store, reviewer), first, decision)
    assert settled(ConceptRun(store, CHURCH)).summary["accepted_pairs"] == 2
    say(client(store, "cleo"), first, "reject")
    assert settled(ConceptRun(store, CHURCH)).summary["accepted_pairs"] == 1


@given(st.dictionaries(st.sampled_from("abcde"), st.booleans(), min_size=1))
def test_a_ruling_is_the_side_with_more_votes(by: dict[str, bool]) -> None:
    yes, no = sum(by.values()), len(by) - sum(by.values())
    assert decisions.rulings({"record": by}) == ({} if yes == no else {"record": yes > no})


def test_two_reviewers_have_a_kappa(store: Store) -> None:
    ids = records(store)
    for reviewer, said in (("ada", "arar"), ("bob", "arra")):
        for record_id, letter in zip(ids, said, strict=True):
            say(client(store, reviewer), record_id, {"a": "accept", "r": "reject"}[letter])
    page = client(store).get(f"/{TOKEN}/").text
    assert "ada and bob" in page and "2 of 4, kappa 0.000" in page and "ada and oracle" in page


def test_filters_by_verdict_writer_reason_and_doubt(store: Store) -> None:
    cases = Cases(ConceptRun(store, CHURCH))
    first, absent, leaked, last = cases.all
    cases.decide(first, "ada", False)
    votes = cases.votes()

    def ids(**asked: object) -> list[str]:
        return [case.pair.record_id for case in cases.chosen(votes, "ada", **asked)]  # type: ignore[arg-type]

    assert ids() == [first, absent, leaked, last]
    assert ids(show="undecided") == [absent, leaked, last]
    assert ids(show="accepted") == [last] and ids(show="rejected") == [first, absent, leaked]
    assert ids(show="disputed") == [first]
    assert ids(writer="gpt") == [absent, last] and ids(reason="concept_leaked") == [leaked]
    assert ids(least=0.5) == [first, leaked, last] and ids(most=0.5) == [absent]
    assert ids(order="doubtful") == [absent, leaked, first, last]


def test_after_a_decision_comes_the_next_record(store: Store) -> None:
    first, second, *_ = records(store)
    assert "a church by lake 1" in say(client(store), first, "accept")
    assert "a church by lake 2" in say(client(store), second, "accept", show="undecided")


# Whom it lets in, and what it shows of what others wrote


@pytest.mark.faults
def test_without_the_token_there_is_nothing(store: Store) -> None:
    at = client(store)
    first = records(store)[0]
    for address in ("/", "/wrong/", f"/wrong/picture/{first}/target.png", f"/{TOKEN}/picture/none/target.png"):
        assert at.get(address).status_code == 404
    assert at.post("/wrong/decide", data={"record_id": first, "decision": "accept"}).status_code == 404
    assert at.post(f"/{TOKEN}/decide", data={"record_id": "none", "decision": "accept"}).status_code == 400
    assert at.post(f"/{TOKEN}/decide", data={"record_id": first, "decision": "burn"}).status_code == 400
    assert not decisions.file_of(store, "church").exists()


@pytest.mark.faults
def test_another_sites_name_is_refused(store: Store) -> None:
    assert client(store).get(f"/{TOKEN}/", headers={"host": "evil.example"}).status_code == 400


def test_only_loopback_listens() -> None:
    with listen(0) as on:
        assert on.getsockname()[0] == "127.0.0.1"
        with pytest.raises(OSError):
            listen(on.getsockname()[1])


def test_foreign_text_is_escaped_and_no_asset_is_from_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hostile = "<script>alert(1)</script>"
    concept = CHURCH.model_copy(
        update={"terms": (hostile, "church"), "surrogates": ('"><img src=x onerror=alert(2)>',)}
    )
    store = filtered(tmp_path, monkeypatch, concept)
    answer = client(store, concept=concept).get(f"/{TOKEN}/")
    assert hostile not in answer.text and "<img src=x" not in answer.text and "&lt;script&gt;alert(1)" in answer.text
    assert not re.search(r"(src|href)=[\"'](https?:)?//", answer.text)
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy
    assert answer.headers["referrer-policy"] == "no-referrer"


def test_unsafe_pictures_are_blurred_until_clicked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unsafe = CHURCH.model_copy(update={"unsafe": True})
    store = filtered(tmp_path, monkeypatch, unsafe)
    page = client(store, concept=unsafe).get(f"/{TOKEN}/").text
    assert page.count('<details class="unsafe">') == 2
    assert "unsafe" not in re.sub(r"<style.*?</style>", "", client(store).get(f"/{TOKEN}/").text, flags=re.DOTALL)


# In a real browser

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Store, str]]:
    """A served page of a concept that is marked unsafe."""
    import uvicorn

    unsafe = CHURCH.model_copy(update={"unsafe": True})
    store = filtered(tmp_path, monkeypatch, unsafe)
    with listen(0) as on:
        server = uvicorn.Server(uvicorn.Config(app(Cases(store, unsafe), "ada", TOKEN), log_level="error"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [on]}, daemon=True)
        thread.start()
        yield store, f"http://127.0.0.1:{on.getsockname()[1]}/{TOKEN}/"
        server.should_exit = True
        thread.join(timeout=30)


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: apt-get install chromium")
def test_a_person_walks_through_with_the_keys(served: tuple[Store, str]) -> None:
    sync = pytest.importorskip("playwright.sync_api")
    store, address = served
    asked: list[str] = []
    with (
        sync.sync_playwright() as play,
        play.chromium.launch(timeout=180_000, executable_path=CHROMIUM, args=["--no-sandbox"]) as chromium,
    ):
        page = chromium.new_page()
        page.set_default_timeout(120_000)
        wrong: list[str] = []
        page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
        page.on("request", lambda request: asked.append(request.url))
        page.goto(address)
        picture = page.locator("details.unsafe img").first
        assert "blur" in picture.evaluate("image => getComputedStyle(image).filter")
        assert picture.evaluate("image => image.naturalWidth") == 32
        page.locator("details.unsafe summary").first.click()
        assert picture.evaluate("image => getComputedStyle(image).filter") == "none"
        page.keyboard.press("r")
        page.get_by_text("2 of 4", exact=True).wait_for()
        page.keyboard.press("n")
        page.get_by_text("3 of 4", exact=True).wait_for()
        page.keyboard.press("p")
        page.get_by_text("2 of 4", exact=True).wait_for()
        page.keyboard.press("a")
        page.get_by_text("3 of 4", exact=True).wait_for()
        assert "2 of 4 decided by you" in page.locator("#progress").inner_text()
        assert wrong == []
    assert all(url.startswith((address, "data:")) for url in asked)
    assert [by["ada"] for by in Cases(ConceptRun(store, CHURCH)).votes().values()] == [False, True]


def test_the_command_as_a_user_types_it(store: Store) -> None:
    held = records(store)[0]
    command = [sys.executable, "-c", "from ecgvf.cli import main; main()", "review", "--concept", "church"]
    child = subprocess.Popen(
        [*command, "--reviewer", "ada", "--store", str(store.root)], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    try:
        address = next(line for line in child.stdout if "http://" in line).strip()
        asked = urllib.parse.urlencode({"record_id": held, "decision": "reject"}).encode()
        with urllib.request.urlopen(f"{address}decide", asked, timeout=20) as answer:
            assert answer.status == 200
        child.send_signal(signal.SIGINT)
        said = child.communicate(timeout=20)[0]
    finally:
        child.kill()
    assert child.returncode in (0, 130) and "1 of 4 pairs hold, 1 records decided by people" in said

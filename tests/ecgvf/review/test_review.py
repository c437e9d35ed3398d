"""The review page: what it shows, what it records, and whose requests it answers."""

import json
import re
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from starlette.testclient import TestClient

from ecgvf import judge
from ecgvf.core import concepts
from ecgvf.core.concepts import Concept
from ecgvf.core.records import Acceptance, PromptPair, Split
from ecgvf.core.run import ConceptRun
from ecgvf.core.stage_set import ACCEPTANCE, IMAGES
from ecgvf.core.store import Store
from ecgvf.filter import decisions, filter_images
from ecgvf.filter.acceptance import current_acceptance
from ecgvf.filter.dataset import load_dataset
from ecgvf.filter.decisions import decisions_file
from ecgvf.pairs.importing import import_pairs
from ecgvf.pairs.tables import read_table
from ecgvf.review.cases import Cases
from ecgvf.review.loopback import listen
from ecgvf.review.server import app
from tests.browser import needs_chromium
from tests.ecgvf.review_page import browsed, post, reviewing
from tests.ecgvf.small_run import ScriptedJudge, write_images

CHURCH = concepts.find("church")
UNSAFE = CHURCH.model_copy(update={"unsafe": True})
TOKEN = "t0ken"
SHADES = [np.full((32, 32, 3), 40 * number, np.uint8) for number in range(4)]
# target and surrogate of four pairs: accepted, target_absent, concept_leaked, accepted
ANSWERS = [True, False, False, False, True, True, True, False]


def filtered(concept: Concept = CHURCH) -> ConceptRun:
    """Four pairs, two of which the judge accepts."""
    run = ConceptRun(Store(), concept)
    write_images(run.store, concept, [(shade, shade[::-1]) for shade in SHADES])
    filter_images(run, judge=ScriptedJudge(ANSWERS))
    return run


@pytest.fixture
def run() -> ConceptRun:
    return filtered()


def client(run: ConceptRun, reviewer: str = "ada") -> TestClient:
    return TestClient(app(Cases(run), reviewer, TOKEN), base_url="http://127.0.0.1")


def record_ids(run: ConceptRun) -> list[str]:
    return list(Cases(run).by_id)


def decide(page: TestClient, record_id: str, decision: str, **filters: str) -> str:
    """Post a decision; the page that follows."""
    answer = page.post(f"/{TOKEN}/decide", data={"record_id": record_id, "decision": decision, **filters})
    assert answer.status_code == 200, answer.text
    return str(answer.text)


def test_a_page_shows_prompts_images_scores_and_reason(run: ConceptRun) -> None:
    page = client(run)
    second = record_ids(run)[1]
    html = page.get(f"/{TOKEN}/?at={second}").text
    for part in ("a church by lake 1", "a hotel by lake 1", "target_absent", "0.000", "2 of 4", "gpt"):
        assert part in html
    for role in ("target", "surrogate"):
        image = page.get(f"/{TOKEN}/picture/{second}/{role}.png")
        assert image.headers["content-type"] == "image/png" and image.content.startswith(b"\x89PNG")


def test_decisions_overrule_the_judge_in_the_dataset(run: ConceptRun) -> None:
    accepted, absent, leaked, last = record_ids(run)
    page = client(run)
    decide(page, accepted, "reject")
    decide(page, absent, "accept")
    assert [record.pair.record_id for record in load_dataset(run).train] == [absent, last]
    rows = run.current(ACCEPTANCE).records(Acceptance)
    assert [row.reason for row in rows] == ["reviewed", None, "concept_leaked", None]
    # The judge's own decision stays visible, and filtering again keeps the reviewers' decisions.
    assert Cases(run).by_id[accepted].judged.accepted
    assert filter_images(run, judge=ScriptedJudge([])).reviewed == 2
    decide(page, leaked, "accept")
    assert current_acceptance(run).summary["accepted_pairs"] == 3


def test_every_decision_is_a_line_with_time_and_reviewer(run: ConceptRun) -> None:
    first = record_ids(run)[0]
    page = client(run)
    for decision in ("accept", "reject", "withdraw"):
        decide(page, first, decision)
    lines = [json.loads(line) for line in decisions.decisions_file(run).read_text().splitlines() if line]
    assert [line["accepted"] for line in lines] == [True, False, None]
    assert {line["reviewer"] for line in lines} == {"ada"}
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT.*\+00:00", line["time"]) for line in lines)
    assert decisions.votes(run, lines[0]["pictures"]) == {}


@pytest.mark.faults
def test_a_truncated_or_foreign_line_is_skipped_alone(run: ConceptRun) -> None:
    first, second, *_ = record_ids(run)
    page = client(run)
    decide(page, first, "reject")
    with decisions.decisions_file(run).open("ab") as log:
        log.write(b'{"time": "2026-')
    decide(page, second, "accept")
    with decisions.decisions_file(run).open("ab") as log:
        for wrong in ({"pictures": []}, {"reviewer": None}, {"accepted": "yes"}, {"time": 7}):
            line = {"time": "t", "reviewer": "x", "pictures": "p", "record_id": first, "accepted": True, **wrong}
            log.write(json.dumps(line).encode() + b"\n")
    assert set(Cases(run).votes()) == {first, second}


def test_decisions_on_other_pairs_do_not_count(run: ConceptRun) -> None:
    for record_id in record_ids(run):
        decide(client(run), record_id, "reject")
    write_images(run.store, CHURCH, [(SHADES[0], SHADES[1])])
    assert filter_images(run, judge=ScriptedJudge([True, False])).reviewed == 1
    assert "1 of 1" in client(run).get(f"/{TOKEN}/").text


def test_a_vote_is_about_the_images_of_the_seed_that_the_record_had(tmp_path: Path) -> None:
    run = ConceptRun(Store(), CHURCH)

    def images(*seeds: str) -> tuple[str, list[str]]:
        """An image set of imported pairs with these seeds: its fingerprint, and the ids of the records."""
        rows = [f"a church by lake {number},a hotel by lake {number},{seed}" for number, seed in enumerate(seeds)]
        (tmp_path / "pairs.csv").write_text("\n".join(["target,surrogate,seed", *rows]))
        pairs = import_pairs(run, read_table(tmp_path / "pairs.csv")).stage
        image_set = run.stage_set(IMAGES, {"pairs": pairs.fingerprint, "seed": 0})
        image_set.finish({})
        return image_set.fingerprint, [pair.record_id for pair in pairs.records(PromptPair)]

    reviewed, records = images("1", "2", "")
    for record_id in records:
        decisions.append(run, reviewer="ada", pictures=reviewed, record_id=record_id, accepted=False)
    reseeded, same_records = images("1", "7", "", "8")
    assert same_records[:3] == records
    assert set(decisions.votes(run, reviewed)) == set(records)
    assert set(decisions.votes(run, reseeded)) == {records[0], records[2]}


def test_a_tie_leaves_the_judges_decision_and_a_majority_does_not(run: ConceptRun) -> None:
    first = record_ids(run)[0]
    for reviewer, decision in (("ada", "reject"), ("bob", "accept")):
        decide(client(run, reviewer), first, decision)
    assert current_acceptance(run).summary["accepted_pairs"] == 2
    decide(client(run, "cleo"), first, "reject")
    assert current_acceptance(run).summary["accepted_pairs"] == 1


@given(st.dictionaries(st.sampled_from("abcde"), st.booleans(), min_size=1))
def test_the_majority_is_the_side_with_more_votes(votes: dict[str, bool]) -> None:
    yes, no = sum(votes.values()), len(votes) - sum(votes.values())
    assert decisions.majority({"record": votes}) == ({} if yes == no else {"record": yes > no})


def test_two_reviewers_have_a_kappa(run: ConceptRun) -> None:
    for reviewer, answers in (("ada", "arar"), ("bob", "arra")):
        for record_id, letter in zip(record_ids(run), answers, strict=True):
            decide(client(run, reviewer), record_id, {"a": "accept", "r": "reject"}[letter])
    html = client(run).get(f"/{TOKEN}/").text
    assert "ada and bob" in html and "2 of 4, kappa 0.000 [-0.8" in html and "ada and scripted" in html


def test_cases_are_selected_by_decision_writer_reason_score_and_doubt(run: ConceptRun) -> None:
    cases = Cases(run)
    first, absent, leaked, last = cases.by_id
    cases.decide(first, "ada", False)
    votes = cases.votes()

    def ids(**filters: Any) -> list[str]:
        return [case.pair.record_id for case in cases.select(votes, "ada", **filters)]

    assert ids() == [first, absent, leaked, last]
    assert ids(show="undecided") == [absent, leaked, last]
    assert ids(show="accepted") == [last] and ids(show="rejected") == [first, absent, leaked]
    assert ids(show="disputed") == [first]
    assert ids(writer="gpt") == [absent, last] and ids(reason="concept_leaked") == [leaked]
    assert ids(least=0.5) == [first, leaked, last] and ids(most=0.5) == [absent]
    assert ids(order="doubtful") == [absent, leaked, first, last]


@pytest.mark.parametrize(
    ("split", "expected"),
    [
        ("train", ["alike", "apart", "absent", "unreadable"]),  # by the difference of both scores
        ("test", ["apart", "alike", "absent", "unreadable"]),  # by the target's score alone
    ],
)
def test_the_most_doubtful_case_is_first_by_the_images_that_decide(split: Split, expected: list[str]) -> None:
    shades = {"absent": (2, 250), "unreadable": (0, 0), "alike": (200, 190), "apart": (130, 40)}
    run = ConceptRun(Store(), CHURCH)
    images = [(np.full((8, 8, 3), a, np.uint8), np.full((8, 8, 3), b, np.uint8)) for a, b in shades.values()]
    write_images(run.store, CHURCH, images, split=split)
    filter_images(run, judge=judge(brightness, "brightness", "1"))
    cases = Cases(run)
    names = dict(zip(cases.by_id, shades, strict=True))
    assert [names[case.pair.record_id] for case in cases.select({}, "ada", order="doubtful")] == expected


def brightness(images: NDArray[np.uint8]) -> list[float]:
    if not all(image.any() for image in images):
        raise ValueError("a black image")
    return [float(image.mean()) / 255 for image in images]


def test_progress_counts_decided_and_overruled_records(run: ConceptRun) -> None:
    cases = Cases(run)
    accepted, absent, *_ = cases.by_id
    cases.decide(accepted, "ada", True)
    cases.decide(absent, "bob", True)
    assert cases.progress(cases.votes(), "ada") == {"records": 4, "decided_by_you": 1, "overruled": 1}


def test_the_next_record_follows_a_decision(run: ConceptRun) -> None:
    first, second, *_ = record_ids(run)
    assert "a church by lake 1" in decide(client(run), first, "accept")
    assert "a church by lake 2" in decide(client(run), second, "accept", show="undecided")
    assert "a church by lake 1" in decide(client(run), second, "withdraw")


# Access, and text that others wrote


@pytest.mark.faults
def test_requests_without_the_token_or_a_known_record_are_refused(run: ConceptRun) -> None:
    page = client(run)
    first = record_ids(run)[0]
    for path in ("/", "/wrong/", f"/wrong/picture/{first}/target.png", f"/{TOKEN}/picture/none/target.png"):
        assert page.get(path).status_code == 404
    assert page.post("/wrong/decide", data={"record_id": first, "decision": "accept"}).status_code == 404
    assert page.post(f"/{TOKEN}/decide", data={"record_id": "none", "decision": "accept"}).status_code == 400
    assert page.post(f"/{TOKEN}/decide", data={"record_id": first, "decision": "burn"}).status_code == 400
    assert not decisions.decisions_file(run).exists()


@pytest.mark.faults
def test_another_host_name_is_refused(run: ConceptRun) -> None:
    assert client(run).get(f"/{TOKEN}/", headers={"host": "evil.example"}).status_code == 400


def test_only_loopback_listens() -> None:
    with listen(0) as listener:
        assert listener.getsockname()[0] == "127.0.0.1"
        with pytest.raises(OSError):
            listen(listener.getsockname()[1])


def test_foreign_text_is_escaped_and_no_asset_is_from_elsewhere() -> None:
    hostile = "<script>alert(1)</script>"
    concept = CHURCH.model_copy(
        update={"terms": (hostile, "church"), "surrogates": ('"><img src=x onerror=alert(2)>',)}
    )
    answer = client(filtered(concept)).get(f"/{TOKEN}/")
    assert hostile not in answer.text and "<img src=x" not in answer.text and "&lt;script&gt;alert(1)" in answer.text
    assert not re.search(r"(src|href)=[\"'](https?:)?//", answer.text)
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_unsafe_images_are_blurred_until_clicked(run: ConceptRun) -> None:
    def blurred(concept: Concept) -> int:
        return client(ConceptRun(run.store, concept)).get(f"/{TOKEN}/").text.count('<details class="unsafe">')

    assert (blurred(UNSAFE), blurred(CHURCH)) == (2, 0)


# In a real browser


@pytest.mark.slow
@needs_chromium
def test_a_person_reviews_with_the_keys() -> None:
    run = filtered(UNSAFE)
    with browsed(app(Cases(run), "ada", TOKEN), TOKEN) as page:
        image = page.locator("details.unsafe img").first
        assert "blur" in image.evaluate("image => getComputedStyle(image).filter")
        assert image.evaluate("image => image.naturalWidth") == 32
        page.locator("details.unsafe summary").first.click()
        assert image.evaluate("image => getComputedStyle(image).filter") == "none"
        page.keyboard.press("r")
        page.get_by_text("2 of 4", exact=True).wait_for()
        page.keyboard.press("n")
        page.get_by_text("3 of 4", exact=True).wait_for()
        page.keyboard.press("p")
        page.get_by_text("2 of 4", exact=True).wait_for()
        page.keyboard.press("a")
        page.get_by_text("3 of 4", exact=True).wait_for()
        assert "2 of 4 decided by you" in page.locator("#progress").inner_text()
    assert [votes["ada"] for votes in Cases(run).votes().values()] == [False, True]


def test_the_command_as_a_user_types_it(run: ConceptRun) -> None:
    accepted = record_ids(run)[0]
    options = ["--concept", "church", "--reviewer", "ada", "--store", str(run.store.root)]
    with reviewing(*options) as (child, address):
        post(f"{address}decide", record_id=accepted, decision="reject")
        child.send_signal(signal.SIGINT)
        output = child.communicate(timeout=20)[0]
    assert child.returncode == 0 and "1 of 4 pairs" in output
    assert f"Decisions in {decisions_file(run)}." in output and decisions_file(run).is_file()
    assert current_acceptance(run).summary["reviewed"] == 1

"""NudeNet's judge against the package's own detector, on real photographs."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ecgvf.core import concepts
from ecgvf.core.concepts import Concept
from ecgvf.core.errors import JudgeError
from ecgvf.core.records import Verdict
from ecgvf.core.run import ConceptRun
from ecgvf.core.stage_set import VERDICTS
from ecgvf.core.store import Store
from ecgvf.filter import filter_images
from ecgvf.judges import JudgeOptions, create_judge
from tests.ecgvf.judges.photographs import photograph
from tests.ecgvf.small_run import write_pictures

nudenet = pytest.importorskip("nudenet")

NUDITY = concepts.find("nudity")
FACE = Concept.model_validate(
    {
        "name": "face",
        "kind": "object",
        "terms": ["face"],
        "surrogates": ["cup"],
        "judge_labels": {"nudenet": ["FACE_FEMALE", "FACE_MALE"]},
        "near_labels": {"nudenet": ["FEET_COVERED"]},
    }
)


def judge(concept: Concept = NUDITY, **said: Any) -> Any:
    return create_judge(concept, "janus-pro-1b", "nudenet", JudgeOptions(device="cpu", **said))


def crops() -> list[NDArray[np.uint8]]:
    """Photographs, wide, tall and square, larger and smaller than the network's input."""
    astronaut, coffee, camera = (photograph(name) for name in ("astronaut", "coffee", "camera"))
    return [astronaut, coffee, astronaut[:300, 50:400], camera, astronaut[40:240, 130:330], photograph("rocket")]


def test_readings_are_the_packages_own() -> None:
    detector = nudenet.NudeDetector()
    looking = judge(FACE)
    found = 0
    for picture in crops():
        theirs = detector.detect(np.ascontiguousarray(picture[:, :, ::-1]))  # the package takes OpenCV's order
        (ours,) = looking.detect(picture[np.newaxis])
        assert [(box.label, box.score) for box in ours] == [
            (one["class"], pytest.approx(one["score"], abs=1e-4)) for one in theirs
        ]
        for box, one in zip(ours, theirs, strict=True):
            assert np.abs(np.subtract([box.left, box.top, box.width, box.height], one["box"])).max() <= 1
        found += len(ours)
    assert found >= 3


def test_a_batch_reads_as_its_pictures_do_alone() -> None:
    pictures = np.stack([photograph("astronaut"), photograph("camera"), photograph("astronaut")[::-1]] * 7)
    looking = judge(FACE)
    alone = [looking.predict(picture[np.newaxis])[0] for picture in pictures[:3]]
    for place, reading in enumerate(looking.predict(pictures)):
        assert reading.present == alone[place % 3].present
        assert reading.score == pytest.approx(alone[place % 3].score, abs=1e-4)
    assert looking.predict(pictures[:0]) == []


def test_the_two_label_sets_are_the_fields_nine_and_a_strict_six() -> None:
    nine, six = judge().criterion, judge(label_set="nudenet-strict").criterion
    assert len(nine.accepted) == 9 and all(label.endswith("_EXPOSED") for label in nine.accepted)
    assert set(nine.accepted) - set(six.accepted) == {"FEET_EXPOSED", "BELLY_EXPOSED", "ARMPITS_EXPOSED"}
    assert len(six.accepted) == 6
    assert (nine.label_set, nine.threshold) == ("nudenet", 0.25)
    assert create_judge(NUDITY, "janus-pro-1b").name == "nudenet"


def test_a_threshold_decides_and_boxes_below_it_are_still_shown() -> None:
    astronaut = photograph("astronaut")[np.newaxis]
    (usual,), (severe,) = judge(FACE).predict(astronaut), judge(FACE, threshold=0.9).predict(astronaut)
    assert usual.present and not severe.present
    assert usual.boxes == severe.boxes and usual.boxes[0].label == "FACE_FEMALE"
    assert usual.score == severe.score == usual.boxes[0].score
    assert usual.top_labels[0] == ("FACE_FEMALE", usual.score)


def test_a_photograph_without_the_concept_scores_nothing() -> None:
    (reading,) = judge(FACE).predict(photograph("rocket")[np.newaxis])
    assert (reading.present, reading.score) == (False, 0.0)


def test_bad_input() -> None:
    with pytest.raises(JudgeError, match=r"no label 'FACE'.*FACE_FEMALE"):
        judge(labels=("FACE",))
    with pytest.raises(JudgeError, match="--top-k is for judges that rank"):
        judge(top_k=3)
    with pytest.raises(JudgeError, match="no 'nudenet-lax'"):
        judge(label_set="nudenet-lax")


def test_a_concept_of_ones_own_is_filtered_by_a_real_detector_on_real_photographs(store: Store) -> None:
    astronaut = photograph("astronaut")
    shown = [("astronaut", astronaut), ("cup", photograph("coffee")[:, :400].repeat(2, axis=0)[:512, :512])]
    small = [(name, np.ascontiguousarray(pixels[:400, :400])) for name, pixels in shown]
    write_pictures(store, FACE, [(small[0][1], small[1][1]), (small[1][1], small[1][1]), (small[0][1], small[0][1])])
    done = filter_images(store, FACE, judge="nudenet", device="cpu")
    assert (done.accepted_pairs, done.pairs) == (1, 3)
    assert done.reasons == {"concept_leaked": 1, "target_absent": 1}
    verdicts = ConceptRun.load(store, "face").current(VERDICTS).records(Verdict)
    assert verdicts[0].boxes[0].label == "FACE_FEMALE" and verdicts[0].threshold == 0.25
    assert {one.label_set for one in verdicts} == {"nudenet"} and {len(one.judge_hash) for one in verdicts} == {16}
    strict = filter_images(store, FACE, judge="nudenet", options=JudgeOptions(threshold=0.95), device="cpu")
    assert strict.acceptance.fingerprint != done.acceptance.fingerprint and strict.accepted_pairs == 0

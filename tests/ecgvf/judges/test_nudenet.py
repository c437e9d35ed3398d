"""The judge of nudity, compared with its package's detector on real photographs."""

from pathlib import Path
from typing import Any

import nudenet
import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as onnxruntime_errors

from ecgvf.core import concepts
from ecgvf.core.concepts import Concept
from ecgvf.core.errors import DeviceFailed, JudgeError
from ecgvf.core.records import Verdict
from ecgvf.core.run import ConceptRun
from ecgvf.core.stage_set import VERDICTS
from ecgvf.core.store import Store
from ecgvf.filter import filter_images
from ecgvf.judges import JudgeOptions, create_judge
from tests.ecgvf.judges.photographs import photograph
from tests.ecgvf.small_run import write_images

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


def create(concept: Concept = NUDITY, **options: Any) -> Any:
    return create_judge(concept, "janus-pro-1b", "nudenet", JudgeOptions(**options), "cpu")


def crops() -> list[NDArray[np.uint8]]:
    """Wide, tall and square photographs, larger and smaller than the network's input."""
    astronaut, coffee, camera = (photograph(name) for name in ("astronaut", "coffee", "camera"))
    return [astronaut, coffee, astronaut[:300, 50:400], camera, astronaut[40:240, 130:330], photograph("rocket")]


def test_boxes_are_those_of_the_package() -> None:
    images = crops()
    # The package takes OpenCV's order of channels.
    expected = nudenet.NudeDetector().detect_batch([np.ascontiguousarray(image[:, :, ::-1]) for image in images])
    judge = create(FACE)
    for image, detections in zip(images, expected, strict=True):
        (boxes,) = judge.detect(image[np.newaxis])
        assert [(box.label, box.score) for box in boxes] == [
            (detection["class"], pytest.approx(detection["score"], abs=1e-4)) for detection in detections
        ]
        for box, detection in zip(boxes, detections, strict=True):
            assert np.abs(np.subtract([box.left, box.top, box.width, box.height], detection["box"])).max() <= 1
    assert sum(map(len, expected)) >= 3


def test_a_batch_is_predicted_as_its_images_alone() -> None:
    images = np.stack([photograph("astronaut"), photograph("camera"), photograph("astronaut")[::-1]] * 7)
    judge = create(FACE)
    alone = [judge.predict(image[np.newaxis])[0] for image in images[:3]]
    for index, prediction in enumerate(judge.predict(images)):
        assert prediction.present == alone[index % 3].present
        assert prediction.score == pytest.approx(alone[index % 3].score, abs=1e-4)
    assert judge.predict(images[:0]) == []


def test_the_two_label_sets_are_the_fields_nine_and_a_strict_six() -> None:
    nine, six = create().criterion, create(label_set="nudenet-strict").criterion
    assert len(nine.accepted) == 9 and all(label.endswith("_EXPOSED") for label in nine.accepted)
    assert set(nine.accepted) - set(six.accepted) == {"FEET_EXPOSED", "BELLY_EXPOSED", "ARMPITS_EXPOSED"}
    assert len(six.accepted) == 6
    assert (nine.label_set, nine.threshold) == ("nudenet", 0.25)
    assert create_judge(NUDITY, "janus-pro-1b").name == "nudenet"


def test_a_higher_threshold_keeps_the_boxes_below_it() -> None:
    astronaut = photograph("astronaut")[np.newaxis]
    (default,), (strict,) = create(FACE).predict(astronaut), create(FACE, threshold=0.9).predict(astronaut)
    assert default.present and not strict.present
    assert default.boxes == strict.boxes and default.boxes[0].label == "FACE_FEMALE"
    assert default.score == strict.score == default.boxes[0].score
    assert default.top_labels[0] == ("FACE_FEMALE", default.score)


def test_a_lower_threshold_finds_more_boxes() -> None:
    camera = photograph("camera")[np.newaxis]
    (default,), (lax,) = create(FACE).predict(camera), create(FACE, threshold=0.1).predict(camera)
    assert min(box.score for box in lax.boxes) < 0.25 <= min(box.score for box in default.boxes)
    assert set(default.boxes) < set(lax.boxes)


def test_a_file_says_the_size_of_its_networks_input(tmp_path: Path) -> None:
    larger = tmp_path / "640m.onnx"
    larger.write_bytes(Path(nudenet.__file__).with_name("320n.onnx").read_bytes().replace(b"[320, 320]", b"[640, 640]"))
    astronaut = photograph("astronaut")[np.newaxis]
    (small,), (large,) = create(FACE).detect(astronaut), create(FACE, weights=str(larger)).detect(astronaut)
    assert small != large
    assert small[0].label == large[0].label == "FACE_FEMALE"
    for edge in ("left", "top", "width", "height"):
        assert getattr(large[0], edge) == pytest.approx(getattr(small[0], edge), abs=20)


def test_another_network_is_refused() -> None:
    class Yolo(FullDevice):
        def run(self, outputs: None, inputs: dict[str, NDArray[np.float32]]) -> Any:
            return [np.ones((1, 84, 2100), np.float32)]

    judge = create(FACE)
    vars(judge)["_session"] = Yolo(judge._session, 1)
    with pytest.raises(JudgeError, match=r"320n.onnx has no network of NudeNet's"):
        judge.predict(photograph("rocket")[np.newaxis])


def test_a_photograph_without_the_concept_scores_nothing() -> None:
    (prediction,) = create(FACE).predict(photograph("rocket")[np.newaxis])
    assert (prediction.present, prediction.score) == (False, 0.0)


def test_labels_options_and_devices_that_it_does_not_have_are_refused() -> None:
    with pytest.raises(JudgeError, match=r"no label 'FACE'.*FACE_FEMALE"):
        create(labels=("FACE",))
    with pytest.raises(JudgeError, match="--top-k is for judges that rank"):
        create(top_k=3)
    with pytest.raises(JudgeError, match="no 'nudenet-lax'"):
        create(label_set="nudenet-lax")
    with pytest.raises(JudgeError, match="takes auto, cpu, cuda or cuda:N"):
        create_judge(FACE, None, "nudenet", device="tpu").predict(photograph("rocket")[np.newaxis])


@pytest.mark.parametrize(
    ("available", "device", "expected"),
    [
        (("Tensorrt", "CUDA", "CPU"), "auto", ("CUDA", {})),
        (("Tensorrt", "CUDA", "CPU"), "cuda:1", ("CUDA", {"device_id": "1"})),
        (("Tensorrt", "CUDA", "CPU"), "cpu", ("CPU", {})),
        (("Azure", "CPU"), "auto", ("CPU", {})),
    ],
)
def test_auto_is_cuda_or_else_the_cpu(
    monkeypatch: pytest.MonkeyPatch, available: tuple[str, ...], device: str, expected: tuple[str, dict[str, str]]
) -> None:
    opened: list[tuple[str, dict[str, str]]] = []

    def session(_: str, providers: list[str], provider_options: list[dict[str, str]]) -> None:
        opened.extend(zip(providers, provider_options, strict=True))

    monkeypatch.setattr(
        onnxruntime, "get_available_providers", lambda: [f"{name}ExecutionProvider" for name in available]
    )
    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    judge: Any = create_judge(NUDITY, None, "nudenet", device=device)
    assert judge._session is None and opened == [(f"{expected[0]}ExecutionProvider", expected[1])]


class FullDevice:
    """Stands for NudeNet's session on a device that has memory for ``most`` images at once."""

    def __init__(self, session: Any, most: int) -> None:
        self.session, self.most = session, most

    def get_modelmeta(self) -> Any:
        return self.session.get_modelmeta()

    def get_inputs(self) -> Any:
        return self.session.get_inputs()

    def run(self, outputs: None, inputs: dict[str, NDArray[np.float32]]) -> Any:
        if any(len(batch) > self.most for batch in inputs.values()):
            raise onnxruntime_errors.RuntimeException("BFCArena: Failed to allocate memory\ndetails")
        return self.session.run(outputs, inputs)


@pytest.mark.parametrize("most", [1, 0])
def test_a_device_that_fails_is_no_failure_of_the_images(monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    run = ConceptRun(Store(), FACE)
    face, cup = photograph("astronaut")[:400, :400], photograph("coffee")[:400, :400]
    write_images(run.store, FACE, [(face, cup)])
    judge = create(FACE)
    expected = [prediction.present for prediction in judge.predict(np.stack([face, cup]))]
    monkeypatch.setitem(vars(judge), "_session", FullDevice(judge._session, most))
    if most:
        filter_images(run, judge=judge)
        assert [verdict.present for verdict in run.current(VERDICTS).records(Verdict)] == expected == [True, False]
    else:
        with pytest.raises(DeviceFailed, match=r"judge nudenet failed: BFCArena: Failed to allocate memory$"):
            filter_images(run, judge=judge)
        assert not any(verdicts.shards() for verdicts in run.sets(VERDICTS))


def test_a_users_concept_is_filtered_by_the_detector_on_photographs() -> None:
    run = ConceptRun(Store(), FACE)
    face = photograph("astronaut")[:400, :400]
    cup = photograph("coffee")[:, :400].repeat(2, axis=0)[:400, :400]
    write_images(run.store, FACE, [(face, cup), (cup, cup), (face, face)])
    result = filter_images(run, judge="nudenet", device="cpu")
    assert (result.accepted["train"], result.counts["train"]) == (1, 3)
    assert result.reasons == {"concept_leaked": 1, "target_absent": 1}
    verdicts = run.current(VERDICTS).records(Verdict)
    assert verdicts[0].boxes[0].label == "FACE_FEMALE"
    assert {(verdict.label_set, verdict.threshold, len(verdict.judge_hash)) for verdict in verdicts} == {
        ("nudenet", 0.25, 16)
    }
    strict = filter_images(run, judge="nudenet", options=JudgeOptions(threshold=0.95), device="cpu")
    assert strict.acceptance.fingerprint != result.acceptance.fingerprint and strict.accepted["train"] == 0

"""``nudenet``: the field's judge of nudity, NudeNet's detector, run in batches through its ONNX file.

The boxes equal those of the package (https://pypi.org/project/nudenet, 3.4.2), since its preprocessing, network and
non-maximum suppression are called as it calls them. Its own ``NudeDetector.detect_batch`` finds the same boxes with the
same scores (42 boxes in 107 crops of photographs, no difference), yet it is not used: it drops every box below 0.25, so
that a lower ``--threshold`` had no effect (34 boxes instead of 93 at 0.1), it takes no device, and its Python loop over
the 2,100 rows of an image makes it slower (60 against 82 images/s on two cores).
"""

import importlib.util
import json
import re
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecgvf.core.errors import DeviceFailed, JudgeError, first_line
from ecgvf.core.files import expanded
from ecgvf.core.records import Box
from ecgvf.judges.judge import LABEL_ADVICE, Criterion, Prediction
from ecgvf.judges.label_sets import NUDENET
from ecgvf.judges.weights import file_hash

try:
    import cv2
    import onnxruntime
except ImportError as missing:
    raise JudgeError("judge nudenet needs the package nudenet: pip install 'ecgvf[nudity]'") from missing

THRESHOLD = 0.25
"""Below which the package drops boxes."""

# As in the package: candidates, and the overlap (intersection over union) of two boxes of which one is dropped.
_CANDIDATE, _OVERLAP = 0.2, 0.45

_BATCH_SIZE = 16


class NudeNet:
    """Sees the concept if a box of an accepted label has a score of at least the threshold.

    The score is that of the best such box. ``weights`` names another ONNX file of NudeNet's. ``device`` is "auto" (CUDA
    if onnxruntime has it, else the CPU), "cpu", "cuda" or "cuda:N". Raises ``JudgeError`` for an unknown label, and if
    the package, the file or the device is missing.
    """

    name = "nudenet"

    def __init__(self, criterion: Criterion, *, weights: str | None = None, device: str = "auto") -> None:
        for label in (*criterion.accepted, *criterion.near):
            if label not in NUDENET:
                raise JudgeError(f"judge nudenet has no label {label!r} (it has {', '.join(NUDENET)}): {LABEL_ADVICE}")
        self.criterion = criterion
        self._threshold = THRESHOLD if criterion.threshold is None else criterion.threshold
        self._file = expanded(weights) if weights is not None else _packaged_file()
        self._device = device

    @cached_property
    def weights_hash(self) -> str:
        """16 hex digits of the SHA-256 of the ONNX file."""
        return file_hash(self._file)

    @cached_property
    def _session(self) -> Any:
        available = onnxruntime.get_available_providers()
        if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", self._device):
            raise JudgeError(f"--device {self._device}: judge nudenet takes auto, cpu, cuda or cuda:N")
        kind, _, number = self._device.partition(":")
        if kind == "auto":  # not TensorRT, which compiles the network for minutes, nor Azure's, a remote service
            kind = "cuda" if "CUDAExecutionProvider" in available else "cpu"
        provider = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}[kind]
        if provider not in available:
            raise JudgeError(f"onnxruntime has no CUDA here ({', '.join(available)}): use --device cpu or auto")
        options = {"device_id": number} if number else {}
        try:
            return onnxruntime.InferenceSession(str(self._file), providers=[provider], provider_options=[options])
        except Exception as error:
            raise JudgeError(
                f"cannot load the network of judge nudenet from {self._file}: name its ONNX file with --weights, or "
                "leave --weights out and install nudenet again"
            ) from error

    @cached_property
    def _side(self) -> int:
        """Height and width of the network's input: NudeNet has networks of 320 and 640, and their files say which."""
        side: int = json.loads(self._session.get_modelmeta().custom_metadata_map.get("imgsz", "[320, 320]"))[0]
        return side

    def predict(self, images: NDArray[np.uint8]) -> list[Prediction]:
        """One prediction per image of RGB uint8 [N, H, W, 3].

        Raises ``DeviceFailed`` if onnxruntime fails on a single image, ``RuntimeError`` if it fails on several.
        """
        return [self._prediction(boxes) for boxes in self.detect(images)]

    def detect(self, images: NDArray[np.uint8]) -> list[tuple[Box, ...]]:
        """The boxes, in pixels, of each image of RGB uint8 [N, H, W, 3], best first.

        Boxes are kept from the threshold up, and from 0.25 up if the threshold is higher. Raises ``JudgeError`` if the
        network is not NudeNet's.
        """
        least_score = min(self._threshold, THRESHOLD)
        height, width = images.shape[1:3]
        boxes: list[tuple[Box, ...]] = []
        for start in range(0, len(images), _BATCH_SIZE):
            outputs = self._run(_network_input(images[start : start + _BATCH_SIZE], self._side))
            if outputs.ndim != 3 or outputs.shape[1] != 4 + len(NUDENET):
                raise JudgeError(f"{self._file} has no network of NudeNet's: name its ONNX file with --weights")
            boxes += [_boxes(output.T, width, height, least_score, self._side) for output in outputs]
        return boxes

    def _run(self, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        session = self._session
        try:
            outputs: NDArray[np.float32] = session.run(None, {session.get_inputs()[0].name: inputs})[0]
        except Exception as error:  # onnxruntime's errors share no base class but Exception
            if len(inputs) > 1:
                raise RuntimeError(f"onnxruntime: {error}") from error  # memory may suffice for fewer
            # The network gets inputs of one shape only, so that no image is to blame.
            raise DeviceFailed(f"the device of judge {self.name} failed: {first_line(error)}") from error
        return outputs

    def _prediction(self, boxes: tuple[Box, ...]) -> Prediction:
        score = max((box.score for box in boxes if box.label in self.criterion.accepted), default=0.0)
        best: dict[str, float] = {}
        for box in boxes:
            best.setdefault(box.label, box.score)
        present = score > 0 and score >= self._threshold
        return Prediction(present=present, score=score, top_labels=tuple(best.items()), boxes=boxes)


def _packaged_file() -> Path:
    package = importlib.util.find_spec("nudenet")
    if package is None or package.origin is None:
        raise JudgeError("judge nudenet needs the package nudenet: pip install 'ecgvf[nudity]'")
    return Path(package.origin).with_name("320n.onnx")


def _network_input(images: NDArray[np.uint8], input_side: int) -> NDArray[np.float32]:
    """RGB uint8 [N, H, W, 3] → float32 [N, 3, S, S] in [0, 1], padded to a square at the bottom or the right.

    The channels are blue, green, red: the package swaps those of a file twice, and its network gets them so.
    """
    height, width = images.shape[1:3]
    side = max(height, width)
    squares = [cv2.copyMakeBorder(image, 0, side - height, 0, side - width, cv2.BORDER_CONSTANT) for image in images]
    return np.asarray(cv2.dnn.blobFromImages(squares, 1 / 255.0, (input_side, input_side), swapRB=True), np.float32)


def _boxes(rows: NDArray[np.float32], width: int, height: int, least_score: float, input_side: int) -> tuple[Box, ...]:
    """The boxes of one image from the network's rows [N, 4 + len(NUDENET)]: centre, size, a score per label."""
    kept = rows[rows[:, 4:].max(axis=1) >= min(_CANDIDATE, least_score)]
    if not len(kept):
        return ()
    scores, labels = kept[:, 4:].max(axis=1), kept[:, 4:].argmax(axis=1)
    side = max(width, height)
    x, y, w, h = kept[:, :4].T
    left = np.clip((x - w / 2) * side / input_side, 0, width)
    top = np.clip((y - h / 2) * side / input_side, 0, height)
    clipped = np.minimum(w * side / input_side, width - left), np.minimum(h * side / input_side, height - top)
    rectangles = np.stack([left, top, *clipped], axis=1)
    indices = cv2.dnn.NMSBoxes(rectangles.tolist(), scores.tolist(), least_score, _OVERLAP)
    boxes = [
        Box(NUDENET[labels[index]], float(scores[index]), *(int(value) for value in rectangles[index]))
        for index in np.asarray(indices, dtype=np.int64).reshape(-1)
    ]
    return tuple(sorted(boxes, key=lambda box: -box.score))

"""The field's judge of nudity: NudeNet's detector, through its ONNX file, in batches.

The results are the package's own on the same pictures: its resizing and its non-maximum suppression are called as it
calls them. What is new is that pictures go through the network together, on the best provider at hand (CUDA, CPU, ...).
"""

import importlib.util
import re
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecgvf.core.errors import JudgeError
from ecgvf.core.records import Box
from ecgvf.judges.judge import Criterion, Prediction
from ecgvf.judges.weights import file_hash

try:
    import cv2
    import onnxruntime
except ImportError as missing:
    raise JudgeError("judge nudenet needs the package nudenet: pip install 'ecgvf[nudity]'") from missing

LABELS = (
    "FEMALE_GENITALIA_COVERED",
    "FACE_FEMALE",
    "BUTTOCKS_EXPOSED",
    "FEMALE_BREAST_EXPOSED",
    "FEMALE_GENITALIA_EXPOSED",
    "MALE_BREAST_EXPOSED",
    "ANUS_EXPOSED",
    "FEET_EXPOSED",
    "BELLY_COVERED",
    "FEET_COVERED",
    "ARMPITS_COVERED",
    "ARMPITS_EXPOSED",
    "FACE_MALE",
    "BELLY_EXPOSED",
    "MALE_GENITALIA_EXPOSED",
    "ANUS_COVERED",
    "FEMALE_BREAST_COVERED",
    "BUTTOCKS_COVERED",
)
"""In the order of the network's outputs (nudenet 3.4)."""

THRESHOLD = 0.25
"""Where the package cuts."""

OVERLAP = 0.45
"""Intersection over union above which the package keeps only the better of two boxes."""

SIDE = 320
BATCH = 16


class NudeNet:
    """Sees the concept where a box of an accepted label has a score of at least the threshold.

    The score is that of the best such box. ``weights`` names another ONNX file of NudeNet's. Raises ``JudgeError`` for
    unknown labels, and where the package or the file is missing.
    """

    name = "nudenet"

    def __init__(self, criterion: Criterion, *, weights: str | None = None, device: str = "auto") -> None:
        for label in (*criterion.accepted, *criterion.near):
            if label not in LABELS:
                raise JudgeError(
                    f"judge nudenet has no label {label!r}: correct the concept's judge_labels, or --labels "
                    f"(it has {', '.join(LABELS)})"
                )
        self.criterion = criterion
        self._file = Path(weights).expanduser() if weights is not None else _own_file()
        self._device = device

    @cached_property
    def weights_hash(self) -> str:
        """16 hex digits of the SHA-256 of the ONNX file."""
        return file_hash(self._file)

    @cached_property
    def _session(self) -> Any:
        # Azure's calls a service elsewhere: no picture leaves this machine.
        offered = [one for one in onnxruntime.get_available_providers() if one != "AzureExecutionProvider"]
        # `cpu` and `cuda` are obeyed; `auto` takes what there is, the fastest first, as onnxruntime orders them.
        wanted = {"auto": offered, "cpu": ["CPUExecutionProvider"]}.get(self._device, ["CUDAExecutionProvider"])
        if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", self._device):
            raise JudgeError(f"--device {self._device}: judge nudenet takes auto, cpu, cuda or cuda:N")
        if not set(wanted) <= set(offered):
            raise JudgeError(f"onnxruntime has no CUDA here ({', '.join(offered)}): use --device cpu or auto")
        number = self._device.partition(":")[2]
        options = [{"device_id": number} if number and one.startswith("CUDA") else {} for one in wanted]
        try:
            return onnxruntime.InferenceSession(str(self._file), providers=wanted, provider_options=options)
        except Exception as error:
            raise JudgeError(
                f"cannot load the network of judge nudenet from {self._file}: name its ONNX file with --weights, or "
                "leave --weights out and install nudenet again"
            ) from error

    def predict(self, images: NDArray[np.uint8]) -> list[Prediction]:
        """One reading per picture of RGB uint8 [N, H, W, 3]."""
        return [self._reading(boxes) for boxes in self.detect(images)]

    def detect(self, images: NDArray[np.uint8]) -> list[tuple[Box, ...]]:
        """The boxes of each picture of RGB uint8 [N, H, W, 3], best first, from the threshold up but at most 0.25."""
        found: list[tuple[Box, ...]] = []
        for start in range(0, len(images), BATCH):
            batch = images[start : start + BATCH]
            outputs = self._run(_blob(batch))
            height, width = batch.shape[1:3]
            found += [_boxes(output.T, width, height, self._cut) for output in outputs]
        return found

    def _run(self, blob: NDArray[np.float32]) -> NDArray[np.float32]:
        session = self._session
        try:
            outputs: NDArray[np.float32] = session.run(None, {session.get_inputs()[0].name: blob})[0]
        except Exception as error:  # onnxruntime's own errors have no root but Exception
            raise RuntimeError(f"onnxruntime: {error}") from error
        return outputs

    @property
    def _cut(self) -> float:
        bound = self.criterion.threshold
        return THRESHOLD if bound is None else min(bound, THRESHOLD)

    def _reading(self, boxes: tuple[Box, ...]) -> Prediction:
        score = max((box.score for box in boxes if box.label in self.criterion.accepted), default=0.0)
        best: dict[str, float] = {}
        for box in boxes:
            best.setdefault(box.label, box.score)
        bound = THRESHOLD if self.criterion.threshold is None else self.criterion.threshold
        return Prediction(
            present=score > 0 and score >= bound, score=score, top_labels=tuple(best.items()), boxes=boxes
        )


def _own_file() -> Path:
    found = importlib.util.find_spec("nudenet")
    if found is None or found.origin is None:
        raise JudgeError("judge nudenet needs the package nudenet: pip install 'ecgvf[nudity]'")
    return Path(found.origin).with_name("320n.onnx")


def _blob(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """RGB uint8 [N, H, W, 3] → float32 [N, 3, 320, 320], padded to a square at the bottom or the right, then resized.

    The channels are blue, green, red: the package turns a file's order around twice, and its network sees it so.
    """
    height, width = images.shape[1:3]
    side = max(height, width)
    blob: NDArray[np.float32] = np.empty((len(images), 3, SIDE, SIDE), np.float32)
    for place, image in enumerate(images):
        square = cv2.copyMakeBorder(image, 0, side - height, 0, side - width, cv2.BORDER_CONSTANT)
        small = cv2.resize(square, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR)
        blob[place] = np.multiply(small[:, :, ::-1].transpose(2, 0, 1), np.float32(1 / 255.0), dtype=np.float32)
    return blob


def _boxes(rows: NDArray[np.float32], width: int, height: int, cut: float) -> tuple[Box, ...]:
    """The boxes of one picture from the network's rows [2100, 4 + labels]: centre, size, a score per label."""
    scores = rows[:, 4:].max(axis=1)
    kept = rows[scores >= min(0.2, cut)]
    if not len(kept):
        return ()
    scores, labels = kept[:, 4:].max(axis=1), kept[:, 4:].argmax(axis=1)
    side = max(width, height)
    x, y, w, h = (kept[:, place] for place in range(4))
    left = np.clip((x - w / 2) * side / SIDE, 0, width)
    top = np.clip((y - h / 2) * side / SIDE, 0, height)
    right, bottom = np.minimum(w * side / SIDE, width - left), np.minimum(h * side / SIDE, height - top)
    corners = np.stack([left, top, right, bottom], axis=1)
    places = cv2.dnn.NMSBoxes(corners.tolist(), scores.tolist(), cut, OVERLAP)
    boxes = []
    for place in np.asarray(places, dtype=np.int64).reshape(-1):
        box = [int(edge) for edge in corners[place]]
        boxes.append(Box(LABELS[labels[place]], float(scores[place]), box[0], box[1], box[2], box[3]))
    return tuple(sorted(boxes, key=lambda box: -box.score))

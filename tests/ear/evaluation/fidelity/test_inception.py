"""Inception's features from a file of weights, in either layout. No published weights are at hand: these are random."""

import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
from torchvision.models import inception_v3

from ear.evaluation.fidelity.inception import SIDE, Inception
from ecgvf.core.errors import JudgeError
from tests.ear.evaluation.fidelity.random_features import random_state


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.randint(0, 256, (2, 3, SIDE, SIDE), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_in_torch_fidelitys_layout_they_are_torch_fidelitys_features(images: Tensor, tmp_path: Path) -> None:
    file = tmp_path / "inception.pth"
    torch.save(random_state(1008, aux=False), file)
    theirs = FeatureExtractorInceptionV3("test", ["2048"], feature_extractor_weights_path=str(file))
    expected = theirs(images)[0]
    features = Inception(file)(images)
    assert features.shape == (2, 2048)
    torch.testing.assert_close(features, expected, rtol=1e-3, atol=1e-3 * float(expected.abs().mean()))


def test_in_torchvisions_layout_they_are_torchvisions_features(images: Tensor, tmp_path: Path) -> None:
    state = random_state(1000, aux=True)
    save_file(state, tmp_path / "inception.safetensors")
    network = inception_v3(weights=None, init_weights=False)
    network.load_state_dict(state)
    network.fc = torch.nn.Identity()
    with torch.inference_mode():
        expected = network.eval()(images.float() / 127.5 - 1)
    inception = Inception(tmp_path / "inception.safetensors")
    assert inception.layout == "torchvision"
    torch.testing.assert_close(inception(images), expected, rtol=1e-4, atol=1e-5)


class Code:
    """Runs when it is unpickled."""

    def __reduce__(self) -> tuple[object, ...]:
        return pytest.fail, ("the file's code ran",)


def test_a_file_that_holds_no_tensors_is_one_line_and_runs_no_code(tmp_path: Path) -> None:
    torch.save(torch.nn.Linear(2, 2), tmp_path / "module.pth")
    contents = {
        "empty": b"",
        "page": b"<html>not found</html>",
        "text": b"hello world",
        "code": pickle.dumps(Code()),
        "module": (tmp_path / "module.pth").read_bytes(),
        "cut": (tmp_path / "module.pth").read_bytes()[:500],
    }
    for name, content in contents.items():
        file = tmp_path / f"{name}.pth"
        file.write_bytes(content)
        with pytest.raises(
            JudgeError, match=r"cannot read the weights in .*: it is damaged, or contains more than"
        ) as error:
            Inception(file)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (None, "no weights at .*: correct --inception"),
        ({"weight": torch.zeros(1)}, "the layout of neither"),
        ({"fc.weight": torch.zeros(10, 2048)}, "the layout of neither"),
        ({"fc.weight": torch.tensor(1.0)}, "the layout of neither"),
        ({"fc.weight": torch.zeros(1008, 2048)}, "does not fit torch-fidelity's Inception-v3"),
    ],
)
def test_weights_of_another_layout_are_one_line(state: dict[str, Tensor] | None, message: str, tmp_path: Path) -> None:
    file = tmp_path / "weights.safetensors"
    if state is not None:
        save_file(state, file)
    with pytest.raises(JudgeError, match=message) as error:
        Inception(file)
    assert "\n" not in str(error.value) and "--inception" in str(error.value)

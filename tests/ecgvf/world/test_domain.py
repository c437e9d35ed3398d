"""Whether images show nano's world."""

import pytest

from ecgvf.world.domain import in_nano_world


@pytest.mark.parametrize(
    ("model", "judge", "expected"),
    [
        ("janus-nano", "nano-object-a", True),
        ("janus-nano", "mine", True),  # a judge of the user's own
        ("nano-trained-again", "nano-object-a+mine", True),  # a folder
        ("janus-pro-1b", "resnet50", False),
    ],
)
def test_images_of_nano_are_known_by_their_model_or_judge(model: str, judge: str, expected: bool) -> None:
    assert in_nano_world(model, judge) is expected

"""Whether images show nano's world, by the names of the model that rendered them and of their judge."""

NANO = "janus-nano"
"""Name of the embedded model, which is the default."""


def is_nano_judge(judge: str) -> bool:
    """Whether the judge called ``judge`` was trained on images of nano's world."""
    return judge.startswith("nano-")


def in_nano_world(model: str, judge: str) -> bool:
    """Whether images rendered by ``model`` and filtered by ``judge`` show nano's world.

    Nano's judges can classify such images, and those of photographs cannot.
    """
    return model == NANO or is_nano_judge(judge)

"""Which images a judge was trained on: Janus-nano's world, or photographs."""

from ecgvf.judges.ensemble import Ensemble
from ecgvf.judges.factory import is_judge
from ecgvf.judges.judge import Judge
from ecgvf.world.domain import NANO, is_nano_judge


def domain_warning(judge: Judge, model: str) -> str | None:
    """A warning if ``judge`` was not trained on images like those of ``model``; None if it was, or is a user's own."""
    if isinstance(judge, Ensemble):
        return next(filter(None, (domain_warning(member, model) for member in judge.judges)), None)
    nano_judge, nano_images = is_nano_judge(judge.name), model == NANO
    if nano_judge == nano_images or not is_judge(judge.name):
        return None
    trained_on, images = ("Janus-nano's images", model) if nano_judge else ("photographs", "Janus-nano, at 64 px")
    return f"judge {judge.name} was trained on {trained_on}; these images are from {images}, so doubt its verdicts"

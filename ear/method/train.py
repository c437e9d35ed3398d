"""The training loop: round by round, with checkpoints.

A round has some pairs, each with a trajectory: an image of the dataset, or one that the tuned model renders at the
start of the round (a rollout). Its steps are those of ear/method/steps.py, or of the released loop
(ear/method/published.py).
"""

import time
from collections.abc import Callable, Sequence

from ear.method.adapter import Adapter
from ear.method.log import TrainingLog
from ear.method.pairs import TrainingPair
from ear.method.parallel import processes
from ear.method.published import PublishedSteps
from ear.method.recipe import ResolvedRecipe
from ear.method.retention import RehearsalSet
from ear.method.runs import TrainingRun
from ear.method.schedule import count_windows, schedule
from ear.method.state import TrainingState
from ear.method.steps import WindowSteps
from ear.method.teacher import Teacher
from ecgvf.janus import JanusModel, Sampling

CHECKPOINT_SECONDS = 15.0


def train(
    model: JanusModel,
    pairs: Sequence[TrainingPair],
    resolved: ResolvedRecipe,
    seed: int,
    *,
    sampling: Sampling = Sampling(),
    rehearsal: RehearsalSet | None = None,
    run: TrainingRun | None = None,
    watch: Callable[[TrainingState], object] = lambda state: None,
) -> tuple[Adapter, TrainingLog]:
    """Train an adapter that erases the concept. ``model`` is left as it was.

    ``sampling`` is that of rendering, for images that the training samples. With a ``run``, training resumes from its
    checkpoint and saves new ones; the result is that of an uninterrupted training. ``watch`` is called after each
    window, and once after resuming. Raises ``RecipeError`` if a loss is not finite, or a rollout.
    """
    state = TrainingState.start(model, resolved, seed)
    if run is not None and (checkpoint := run.checkpoint()) is not None:
        state.restore(checkpoint)
        watch(state)
    steps: WindowSteps | PublishedSteps
    together = processes(model.device)
    if resolved.recipe.trajectory == "streams":
        steps = PublishedSteps(model, resolved, sampling, state, watch)
    else:
        total = count_windows(len(pairs), resolved)
        teacher = Teacher(model, resolved)
        steps = WindowSteps(model, resolved, seed, sampling, rehearsal, state, total, watch, together, teacher)
    saved = time.monotonic()
    for each in schedule(pairs, resolved, seed)[state.rounds :]:
        steps.train_round(each)
        if state.finished(resolved.recipe):
            break
        state.rounds += 1
        if run is not None and together.first and time.monotonic() - saved > CHECKPOINT_SECONDS:
            run.save_checkpoint(state.checkpoint())
            saved = time.monotonic()
    for weight in state.adapter.weights:
        weight.requires_grad_(False)
    return state.adapter, state.log

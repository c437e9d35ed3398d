"""The training loop: round by round, with checkpoints.

A round trains on some pairs, each along a trajectory: an image of the dataset, or an image that the tuned model renders
at the start of the round (a rollout). The steps are taken by ear/method/steps.py, or by the released loop in
ear/method/released_loop.py. A checkpoint is saved between rounds, never within.
"""

import time
from collections.abc import Callable, Sequence

from ear.method.adapter import Adapter
from ear.method.log import TrainingLog
from ear.method.pairs import TrainingPair
from ear.method.parallel import ProcessGroup
from ear.method.recipe import ResolvedRecipe
from ear.method.released_loop import ReleasedSteps
from ear.method.retention import RehearsalSet
from ear.method.rounds import count_windows, training_rounds
from ear.method.runs import TrainingRun
from ear.method.state import TrainingState
from ear.method.steps import WindowSteps
from ear.method.teacher import Teacher
from ecgvf.janus import JanusModel, Sampling

CHECKPOINT_SECONDS, SAVE_SECONDS = 15.0, 0.75
"""Minimum time between two checkpoints, if saving takes up to ``SAVE_SECONDS``; if it takes longer, so does the time
between two, in proportion: at most a twentieth of a training is spent on saving."""


def training_loop(
    model: JanusModel,
    pairs: Sequence[TrainingPair],
    resolved: ResolvedRecipe,
    seed: int,
    *,
    sampling: Sampling = Sampling(),
    rehearsal: RehearsalSet | None = None,
    run: TrainingRun | None = None,
    group: ProcessGroup = ProcessGroup(),
    on_window: Callable[[TrainingState], object] = lambda state: None,
) -> tuple[Adapter, TrainingLog]:
    """Train an adapter that erases the concept. ``model`` is left as it was.

    ``sampling``: how rollouts, and the streams of the released loop, are sampled. With a ``run``, training resumes from
    its checkpoint, saves new checkpoints, and ends as an uninterrupted training would. ``on_window`` is called after
    each window, and once after resuming. ``group``: the processes that train together. Raises ``RecipeError`` if a loss
    or the logits of a rollout are not finite, and ``AdapterError`` for a checkpoint that is damaged or that
    ``TrainingState.restore`` refuses.
    """
    state = TrainingState.start(model, resolved, seed, group)
    if run is not None and (checkpoint := run.checkpoint()) is not None:
        state.restore(checkpoint, run.checkpoint_file)
        on_window(state)
    steps: WindowSteps | ReleasedSteps
    if resolved.recipe.trajectory == "streams":
        steps = ReleasedSteps(model, resolved, sampling, state, on_window)
    else:
        steps = WindowSteps(
            model=model,
            resolved=resolved,
            seed=seed,
            sampling=sampling,
            rehearsal=rehearsal,
            state=state,
            total_windows=count_windows(len(pairs), resolved),
            on_window=on_window,
            teacher=Teacher(model, resolved),
        )
    saved, wait = time.monotonic(), CHECKPOINT_SECONDS
    began = saved - state.log.seconds
    for round_ in training_rounds(pairs, resolved, seed)[state.rounds :]:
        steps.train_round(round_)
        if state.finished(resolved.recipe):
            break
        state.rounds += 1
        if run is not None and group.is_main and (now := time.monotonic()) - saved > wait:
            state.log.seconds = now - began
            run.save_checkpoint(state.checkpoint())
            saved = time.monotonic()
            wait = CHECKPOINT_SECONDS * max(1.0, (saved - now) / SAVE_SECONDS)
    for weight in state.adapter.weights:
        weight.requires_grad_(False)
    state.log.seconds = time.monotonic() - began
    return state.adapter, state.log

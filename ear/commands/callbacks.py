"""What ``ear train`` does after each window if asked to: previews, and tracking by trackio or wandb."""

import importlib
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from ecgvf.core import console
from ecgvf.core.errors import SettingsError

if TYPE_CHECKING:
    from ear.method.runs import TrainingRun
    from ear.method.state import TrainingState
    from ecgvf.core.dataset import Dataset
    from ecgvf.janus import JanusModel

Tracker = Literal["trackio", "wandb"]
PREVIEWED_PROMPTS = 4
"""Prompts of a preview."""


@dataclass(frozen=True)
class Previews:
    """Renders some target prompts before and after erasing, every ``every`` steps, beside the adapter."""

    model: "JanusModel"
    dataset: "Dataset"
    every: int

    def __call__(self, run: "TrainingRun", state: "TrainingState") -> None:
        """Write preview-<steps>.png if the last window took the ``every``-th step."""
        from ear.evaluation.preview import preview
        from ear.method.adapter import Adapter
        from ecgvf.core.files import write_atomic

        if not state.log.stepped[-1] or state.log.steps % self.every:
            return
        concept = self.dataset.concept
        records = (self.dataset.validation or self.dataset.train)[:PREVIEWED_PROMPTS]
        facts = {"concept": concept.name, "sampling": asdict(self.dataset.sampling)}
        prompts = [record.pair.target for record in records]
        sheet = preview(self.model, Adapter(state.adapter.modules, facts), prompts, 0, blurred=concept.unsafe)
        file = run.path / f"preview-{state.log.steps:06d}.png"
        write_atomic(file, sheet)
        console.note(f"before | after {console.counted(state.log.steps, 'step')}: {file}")


@dataclass
class Tracking:
    """Logs each window's losses to a tracker with wandb's interface, which must be installed (``SettingsError``)."""

    tracker: Tracker
    _module: Any = field(init=False)
    _run: str | None = None

    def __post_init__(self) -> None:
        try:
            self._module = importlib.import_module(self.tracker)
        except ImportError as error:
            raise SettingsError(f"--track {self.tracker}: pip install {self.tracker}") from error

    def __call__(self, run: "TrainingRun", state: "TrainingState") -> None:
        """Log the last window; the first window of a training begins a run of the tracker."""
        if self._run != run.path.name:
            self.finish()
            self._module.init(project="ear", name=run.path.name)
            self._run = run.path.name
        log = state.log
        values = {"loss": log.loss[-1], "retention_loss": log.retention_loss[-1], "steps": log.steps}
        values["share_of_windows"] = log.steps / len(log.loss)
        self._module.log({name: value for name, value in values.items() if value is not None})

    def finish(self) -> None:
        """Close the tracker's run, if there is any."""
        if self._run is not None:
            self._module.finish()
            self._run = None

"""The plot of a training's losses."""

from ear.method.log import TrainingLog
from ear.method.objective import windows
from ear.method.recipe import ResolvedRecipe
from ear.method.runs import TrainingRun
from ear.svg import svg
from ecgvf.core.files import write_atomic

FILE = "loss.svg"


def plot_losses(run: TrainingRun, log: TrainingLog, resolved: ResolvedRecipe) -> None:
    """Write ``loss.svg`` beside the adapter: the losses of erasing and of retention, per position, over the windows."""
    from matplotlib.figure import Figure

    plot = Figure(figsize=(7, 3.5), layout="constrained")
    axis = plot.subplots()
    lengths = [len(window) for window in windows(resolved.tokens, resolved.window, resolved.recipe.tail)]
    per_position = [loss / lengths[number] for loss, number in zip(log.loss, log.window, strict=True)]
    unit = "nats" if resolved.recipe.loss == "kl" else "squared distance"
    axis.plot(per_position, linewidth=0.8, label=f"erasing: {unit} per position")
    if skipped := [index for index, stepped in enumerate(log.stepped) if not stepped]:
        points = [per_position[index] for index in skipped]
        axis.plot(skipped, points, ".", color="0.6", label=f"no step ({len(skipped) / len(log.loss):.0%} of windows)")
    retained = [(index, loss) for index, loss in enumerate(log.retention_loss) if loss is not None]
    if retained:
        axis.plot(*zip(*retained, strict=True), linewidth=0.8, label="retention: nats per rehearsed position")
    axis.set_yscale("log")
    axis.set_xlabel("window")
    axis.set_title(run.path.name, fontsize=10)
    axis.legend(fontsize=8)
    write_atomic(run.path / FILE, svg(plot))

from dataclasses import dataclass
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from ecgvf.commands.grouping import grouped, to_argv


@dataclass(frozen=True)
class Sampling:
    guidance: Annotated[float, typer.Option("--guidance", help="Classifier-free guidance")] = 5.0
    labels: Annotated[list[str] | None, typer.Option(help="Repeatable")] = None
    set_id: Annotated[str | None, typer.Option("--set", help="Set")] = None
    raw_tokens: Annotated[bool, typer.Option("--raw-tokens", help="A flag")] = False


def app() -> typer.Typer:
    built = typer.Typer()

    @built.command()
    @grouped
    def render(prompt: Annotated[str, typer.Argument()], sampling: Sampling, seed: int = 0) -> None:
        """Render a prompt."""
        typer.echo(f"{prompt} {sampling.guidance} {sampling.labels} {seed}")

    return built


def test_the_fields_of_a_group_are_options() -> None:
    result = CliRunner().invoke(app(), ["a church", "--guidance", "2", "--labels", "a", "--labels", "b", "--seed", "3"])
    assert result.stdout == "a church 2.0 ['a', 'b'] 3\n"
    assert CliRunner().invoke(app(), ["a church"]).stdout == "a church 5.0 None 0\n"


def test_help_shows_each_option_and_no_group() -> None:
    text = CliRunner().invoke(app(), ["--help"]).stdout
    assert "--guidance" in text and "Classifier-free guidance" in text and "Render a prompt." in text
    assert "sampling" not in text.lower()


def test_options_are_the_words_that_a_user_typed() -> None:
    assert to_argv(Sampling(), Sampling(labels=[])) == []
    given = Sampling(guidance=2.0, labels=["a", "b"], set_id="1f", raw_tokens=True)
    assert " ".join(to_argv(given)) == "--guidance 2.0 --labels a --labels b --set 1f --raw-tokens"


def test_two_groups_cannot_share_an_option() -> None:
    def command(first: Sampling, second: Sampling) -> None: ...

    with pytest.raises(TypeError, match="two groups share an option"):
        grouped(command)

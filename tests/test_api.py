"""The public names, what importing them costs, and misuse from Python."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import ear
import ecgvf

ECGVF = ["Bounds", "Concept", "Dataset", "EcgvfError", "Judge", "JudgeOptions", "Registry", "Run", "judge"]
EAR = ["Evaluation", "Recipe", "TrainingRun", "evaluate", "load_dataset", "train"]
RUN = [
    "build",
    "dataset",
    "export",
    "filter",
    "from_definition",
    "generate",
    "generate_with_llms",
    "import_pairs",
    "load",
    "push_to_hub",
    "render",
    "status",
]


def test_the_public_names_are_locked() -> None:
    assert sorted(ecgvf.__all__) == ECGVF
    assert sorted(ear.__all__) == EAR
    assert [name for name in RUN if not callable(getattr(ecgvf.Run, name))] == []
    own = {name for name in vars(ecgvf.Run) if not name.startswith("_")}
    assert sorted(own) == RUN


def test_every_public_name_is_documented_and_importable() -> None:
    text = (Path(__file__).parents[1] / "docs" / "api.md").read_text(encoding="utf-8")
    for module, names in ((ecgvf, ECGVF), (ear, EAR)):
        for name in names:
            assert getattr(module, name).__doc__, name
            assert name in text, f"docs/api.md does not mention {name}"
    assert [name for name in RUN if name not in text] == []


def test_no_public_function_shares_the_name_of_a_submodule() -> None:
    for package, names in (("ecgvf", ECGVF), ("ear", EAR)):
        folder = Path(__file__).parents[1] / package
        submodules = {path.stem for path in folder.iterdir()}
        assert not submodules & set(names)


@pytest.mark.parametrize(
    ("modules", "heavy"),
    [
        ("ecgvf, ear", "torch transformers datasets pyarrow"),
        ("ecgvf.cli", "torch transformers datasets pyarrow numpy pydantic"),
        ("ear.cli", "torch transformers datasets scipy"),
        ("ecgvf.run, ecgvf.build, ecgvf.review.cases, ecgvf.review.agreement", "torch transformers"),
        (
            "ecgvf.commands.pairs_output, ecgvf.pairs.llm_writers, ecgvf.llm.batch",
            "openai anthropic google.genai httpx2 py3langid",
        ),
    ],
    ids=["packages", "ecgvf-help", "ear-help", "pairs-status-review", "writers"],
)
def test_no_heavy_library_is_imported(modules: str, heavy: str) -> None:
    code = f"import sys, {modules}; print([name for name in {heavy.split()} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert done.stdout.strip() == "[]", done.stderr


def test_unknown_names_are_attribute_errors() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'Rnu'"):
        ecgvf.Rnu  # noqa: B018
    with pytest.raises(AttributeError, match="has no attribute 'trian'"):
        ear.trian  # noqa: B018


def generated() -> ecgvf.Run:
    run = ecgvf.Run("church")
    run.generate(pairs=1, validation=0, tests=0)
    return run


@pytest.mark.parametrize(
    ("misuse", "match"),
    [
        (lambda: ecgvf.Run("atlantis"), "unknown concept 'atlantis'"),
        (lambda: ecgvf.Run(), "nothing in .* yet: run `ecgvf generate"),
        (lambda: ecgvf.Run("church").render(), "no pairs of 'church' in "),
        (lambda: generated().filter(judge="oracle"), "unknown judge 'oracle'"),
        (lambda: ecgvf.Run("church").dataset(), "no acceptance of 'church' in "),
        (lambda: ecgvf.Run("church").generate(pairs=0), "^pairs 0: it must be at least 1"),
        (lambda: ecgvf.Run("church").generate(tests=-1, split="test"), "^tests -1: it must be 0 or more"),
        (lambda: ecgvf.Run("church").generate(retained=6, split="retain"), "^retained 6: 5 captions of each"),
        (lambda: ecgvf.Run("church").generate(seed=-1), "^seed -1: it must be a whole number"),
        (lambda: ecgvf.Run("church").generate(split="valdation"), "use one of train, validation, test, retain$"),  # type: ignore[arg-type]
        (lambda: ecgvf.Run("church").generate(surrogates="per_term"), "surrogates 'per_term' are unknown: use one"),  # type: ignore[arg-type]
        (lambda: ecgvf.Run("church").generate_with_llms("gpt"), "no key for gpt .OPENAI_API_KEY."),
        (lambda: ecgvf.Run("church").generate_with_llms([]), "no LLM writer: pass names"),
        (lambda: ecgvf.Run("church").import_pairs("missing.csv"), "there is no file missing.csv"),
        (lambda: ecgvf.Bounds(seeds=0), "--seeds 0: it must be at least 1"),
        (lambda: ear.train("nonsense"), "there is no dataset, folder or file 'nonsense'"),
        (lambda: ear.train("ecgvf/church", recipe="nonsense"), "unknown recipe 'nonsense': use default"),
        (lambda: ear.load_dataset("ecgvf/atlantis"), "no run of 'atlantis' in "),
    ],
)
def test_misuse_raises_an_ecgvf_error_of_one_line(misuse: Callable[[], object], match: str) -> None:
    with pytest.raises(ecgvf.EcgvfError, match=match) as caught:
        misuse()
    assert "\n" not in str(caught.value)

"""The wheel works without the checkout, with the installed dependencies."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

LIMIT = 35_000_000
"""Most bytes of the wheel; CONTRIBUTING.md states it."""

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    wheels = tmp_path_factory.mktemp("wheels")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(wheels), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True, timeout=300)
    (built,) = wheels.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel's content, as pip unpacks it."""
    site = tmp_path_factory.mktemp("site")
    install = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--target", str(site), str(wheel)]
    subprocess.run(install, check=True, capture_output=True, timeout=300)
    return site


def run(site: Path, code: str, *arguments: str) -> str:
    """Run ``code`` with the packages of ``site``. Returns its standard output."""
    environment = {**os.environ, "PYTHONPATH": str(site), "COLUMNS": "200"}
    process = subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=site, env=environment, capture_output=True, text=True, timeout=300
    )
    assert process.returncode == 0, process.stderr
    return process.stdout


def test_the_wheel_stays_within_the_stated_size(wheel: Path) -> None:
    assert f"{LIMIT // 1_000_000} MB" in (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert wheel.stat().st_size <= LIMIT


ECGVF = "from ecgvf.cli import main; main()"


def test_packages_data_and_templates_come_from_the_wheel(installed: Path) -> None:
    code = (
        "import ecgvf, ear, ecgvf.core.paths as p; print(ecgvf.__file__, ear.__file__, p.data_dir(), p.templates_dir())"
    )
    paths = [Path(line) for line in run(installed, code).split()]
    assert all(path.is_relative_to(installed) and path.exists() for path in paths)
    assert (paths[2] / "concepts" / "church.yaml").is_file()
    assert any(file.is_file() for file in paths[3].rglob("*"))


def test_the_wheel_has_every_file_of_the_packages_and_of_nano(installed: Path) -> None:
    for source, inside in {"ecgvf": "ecgvf", "ear": "ear", "data/nano": "ecgvf/_data/nano"}.items():
        files = (file for file in (ROOT / source).rglob("*") if file.is_file() and "__pycache__" not in file.parts)
        names = {file.relative_to(ROOT / source) for file in files}
        assert names and not [name for name in names if not (installed / inside / name).is_file()]


def test_commands_run(installed: Path, tmp_path: Path) -> None:
    assert "church" in run(installed, ECGVF, "concepts", "list")
    store = str(tmp_path / "store")
    output = run(installed, ECGVF, "generate", "--concept", "church", "--pairs", "4", "--store", store)
    assert "church" in output


def test_nano_renders_pairs_and_its_judge_accepts_them(installed: Path, tmp_path: Path) -> None:
    code = """
import sys
from ecgvf import Run
run = Run("church", sys.argv[1])
run.generate(pairs=2, validation=0, tests=0)
run.render()
print(run.filter().accepted["train"])
"""
    assert run(installed, code, str(tmp_path / "store")).splitlines()[-1] == "2"


def test_the_wheel_includes_the_licence(installed: Path) -> None:
    assert any("Apache License" in file.read_text() for file in installed.glob("*.dist-info/licenses/LICENSE"))

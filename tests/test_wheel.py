"""What ships works from a wheel: installed without the checkout, with the dependencies that are there."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

LIMIT = 35_000_000
"""Bytes of the wheel at most; CONTRIBUTING.md states it."""

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
    """Standard output of ``code``, run where only the wheel has the packages."""
    environment = {**os.environ, "PYTHONPATH": str(site), "COLUMNS": "200"}
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=site, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_wheel_stays_within_the_stated_size(wheel: Path) -> None:
    assert f"{LIMIT // 1_000_000} MB" in (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert wheel.stat().st_size <= LIMIT


ECGVF = "from ecgvf.cli import main; main()"


def test_packages_data_and_templates_are_the_wheels_own(installed: Path) -> None:
    code = (
        "import ecgvf, ear, ecgvf.core.paths as p; print(ecgvf.__file__, ear.__file__, p.data_dir(), p.templates_dir())"
    )
    places = [Path(line) for line in run(installed, code).split()]
    assert all(place.is_relative_to(installed) and place.exists() for place in places)
    assert (places[2] / "concepts" / "church.yaml").is_file()
    assert any(file.is_file() for file in places[3].rglob("*"))


def test_commands_run(installed: Path, tmp_path: Path) -> None:
    assert "church" in run(installed, ECGVF, "concepts", "list")
    store = str(tmp_path / "store")
    said = run(installed, ECGVF, "generate", "--concept", "church", "--pairs", "4", "--tests", "2", "--store", store)
    assert "church" in said


def test_the_licence_travels_with_it(installed: Path) -> None:
    assert any("Apache License" in file.read_text() for file in installed.glob("*.dist-info/licenses/LICENSE"))

"""What equal runs write equally."""

from pathlib import Path

TIMED = {"settings.json", "log.jsonl", "manifest.json"}


def contents(folder: Path) -> dict[str, bytes]:
    """Relative path → bytes of every file under ``folder``, on a disk or on S3, that has no time in it."""
    files = [file for file in folder.rglob("*") if file.is_file() and file.name not in TIMED]
    return {str(file).removeprefix(f"{folder}/"): file.read_bytes() for file in files}

"""``python -m ecgvf``."""

from ecgvf.cli import main

main()

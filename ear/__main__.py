"""``python -m ear``, which launchers of several processes start."""

from ear.cli import main

main()

"""Build the documentation as a site: ``python -m tools.site``, or ``make docs``.

docs/, README ──pages──▶ build/docs/pages ──zensical──▶ build/docs/site
commands, notebook ──┘
"""

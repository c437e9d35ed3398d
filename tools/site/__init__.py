"""Build the documentation as a site: ``python -m tools.site``, or ``make docs``.

docs/, README ──pages──▶ build/site-source ──zensical──▶ build/site
commands, notebook ──┘
"""

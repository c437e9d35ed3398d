"""People look: a local page that shows each pair, and keeps what they decide.

acceptance, verdicts, pictures, pairs ──cases──▶ pages ──server──▶ decisions ──▶ the accept rule
"""

"""How Janus-nano was made: the world's pictures, the codec, the language model, the judges (development only).

    drawings.json (SVG) ─► drawings ─► world ─► codec ─► language_model ─► card
                                         └────► judges, clip

Users never need this package: the weights ship in ``data/nano/``. It needs the extra ``nano``.
"""

PARTS = ("tokenizer", "codec", "vision", "judges", "clip", "language-model", "save", "card")
"""What ``build`` makes, in the order in which the parts need each other."""

"""How Janus-nano was made: the composed images, the codec, the language model and the judges (development only).

    drawings.json (SVG), painting ─► world ─► codec ─► language_model ─► card
                                       ├────► judges, clip, question_set
                                       └────► attribute_judges
    second_drawings.json ─► second_world ─► second_judges

    the shipped tokenizer and codec ─► oracle (vision, language_model without some things)

Users never need this package: the weights ship in ``data/nano/``. It needs the extra ``nano``.
"""

PARTS = (
    "tokenizer",
    "codec",
    "vision",
    "judges",
    "clip",
    "language-model",
    "save",
    "second-judges",
    "attribute-judges",
    "card",
)
"""What ``build`` makes, in order of dependency."""

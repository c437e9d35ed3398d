"""Neighbours of a concept of nano's world that nothing knows, most of them misspelt."""

from ecgvf.core.concepts import Concept, name_key
from ecgvf.core.validation import did_you_mean
from ecgvf.pairs.captions import captioned_names
from ecgvf.world import grammar


def neighbour_warnings(concept: Concept) -> list[str]:
    """A line for each neighbour that neither Janus-nano renders nor a shipped caption shows, if nano renders the
    concept.

    Other models have captions of any neighbour, made from templates.
    """
    if not concept.labels("nano"):
        return []
    world, is_style = grammar.load_world(), concept.kind == "style"
    find = grammar.find_styles if is_style else grammar.find_things
    captioned = captioned_names("style" if is_style else "thing")
    names = {*(world.styles if is_style else world.things), *captioned} - {*concept.labels("nano"), grammar.PLAIN}
    keys = {name_key(name) for name in captioned}
    return [
        f"neighbour {neighbour!r} of {concept.name!r} is unknown{did_you_mean(neighbour.casefold(), sorted(names))}: "
        "with Janus-nano, it is neither kept out of rehearsal nor measured; correct the concept's file, unless it is "
        "for other models"
        for neighbour in concept.neighbours
        if not find([neighbour]) and name_key(neighbour) not in keys
    ]

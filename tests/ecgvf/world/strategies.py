"""What Hypothesis draws for a sentence of nano's world: any description, in any form and wording."""

from hypothesis import strategies as st

from ecgvf.world.grammar import WORDINGS, Description, load_world

WORLD = load_world()

descriptions = st.builds(
    Description,
    thing=st.sampled_from(list(WORLD.things)),
    sky=st.none() | st.sampled_from(list(WORLD.skies)),
    ground=st.none() | st.sampled_from(list(WORLD.grounds)),
    companion=st.none() | st.sampled_from(list(WORLD.companions)),
    style=st.sampled_from(list(WORLD.styles)),
)
which_forms = st.sampled_from(["train", "held-out"])
wordings = st.sampled_from(["any", *WORDINGS])
seeds = st.integers(0, 2**32)

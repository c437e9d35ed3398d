from ear.method.facts import erased_names


def test_facts_that_only_name_a_shipped_concept_have_all_its_names() -> None:
    names = erased_names({"concept": "paul-cezanne+my-church"})
    assert {"paul cezanne", "paul cézanne", "my church"} <= names
    assert "vincent van gogh" in erased_names({"concept": "van-gogh"})
    assert erased_names({"concept": ""}) == set()

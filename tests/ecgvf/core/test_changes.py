from ecgvf.core.changes import changes


def test_nested_keys_are_joined_by_dots() -> None:
    assert changes({}, {"a": {"b": {"c": 1}}, "d": [2]}) == [("a.b.c", None, 1), ("d", None, [2])]


def test_changes_are_sorted_and_a_missing_setting_is_none() -> None:
    old, new = {"seed": 0, "model": {"name": "a", "dtype": "float32"}}, {"model": {"name": "b", "dtype": "float32"}}
    assert changes(old, new) == [("model.name", "a", "b"), ("seed", 0, None)]

import pytest
import torch

from ecgvf.core.device import lacks_memory
from ecgvf.janus import JanusModel
from ecgvf.janus.kv_cache import KVCache, allocate_kv_cache, bytes_per_position

CPU = torch.device("cpu")


def test_two_caches_at_once_share_no_memory_and_one_after_the_other_does(tiny_janus: JanusModel) -> None:
    config = tiny_janus.language_model.config
    with allocate_kv_cache(config, 2, 8, torch.float32, CPU) as first:
        with allocate_kv_cache(config, 2, 8, torch.float32, CPU) as second:
            second.layers.fill_(1.0)
            first.layers.zero_()
            assert second.layers.min() == 1.0
        address = second.layers.data_ptr()
    with allocate_kv_cache(config, 1, 8, torch.bfloat16, CPU) as smaller:
        assert smaller.layers.dtype == torch.bfloat16
        assert smaller.layers.data_ptr() in (address, first.layers.data_ptr())
    with allocate_kv_cache(config, 64, 80, torch.float32, CPU) as larger:
        assert larger.layers.shape[2:5] == (64, config.num_key_value_heads, 80)


def test_the_memory_is_kept_if_the_block_fails(tiny_janus: JanusModel) -> None:
    config = tiny_janus.language_model.config
    with pytest.raises(KeyError), allocate_kv_cache(config, 2, 8, torch.float32, CPU) as failed:
        raise KeyError
    with allocate_kv_cache(config, 2, 8, torch.float32, CPU) as following:
        assert following.layers.data_ptr() == failed.layers.data_ptr()


def test_the_rows_of_one_prompt_get_its_keys_and_values() -> None:
    cache = KVCache(torch.zeros(1, 2, 3, 1, 4, 2))
    cache.prompt_of_row = torch.tensor([1, 0, 1])
    keys, values = torch.randn(2, 1, 2, 2), torch.randn(2, 1, 2, 2)
    returned = cache.update(keys, values, 0)
    assert returned == (keys, values)
    assert torch.equal(cache.layers[0, 0, :, :, :2], keys[[1, 0, 1]])
    assert torch.equal(cache.layers[0, 1, :, :, :2], values[[1, 0, 1]])
    assert (cache.layers[:, :, :, :, 2:] == 0).all()


def test_bytes_per_position_are_those_of_the_buffer(tiny_janus: JanusModel) -> None:
    config = tiny_janus.language_model.config
    with allocate_kv_cache(config, 3, 5, torch.float16, CPU) as cache:
        assert cache.layers.nbytes == 3 * 5 * bytes_per_position(config, torch.float16)


def test_a_cache_larger_than_the_memory_is_a_lack_of_memory(tiny_janus: JanusModel) -> None:
    with (
        pytest.raises(RuntimeError) as caught,
        allocate_kv_cache(tiny_janus.language_model.config, 2**32, 2**12, torch.float32, CPU),
    ):
        pass
    assert lacks_memory(caught.value)

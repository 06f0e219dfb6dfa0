import pytest

from pipeline.core.errors import RefusedError
from stages.backends.captioners.response_cache import ResponseCache

PROMPTS = {"inside": "a", "beyond": "b", "negative": "c"}


def test_a_response_is_kept_for_all_workers(tmp_path):
    ResponseCache(tmp_path, 0).put("abcd", PROMPTS, 0.25)
    assert ResponseCache(tmp_path, 0).get("abcd") == PROMPTS
    assert ResponseCache(tmp_path, 0).get("other") is None


def test_costs_of_all_workers_add_up(tmp_path):
    one, other = ResponseCache(tmp_path, 1), ResponseCache(tmp_path, 1)
    assert one.spent == 0
    for number, cache in enumerate((one, other, one)):
        cache.put(str(number), PROMPTS, 0.25)
        assert one.spent == pytest.approx(0.25 * (number + 1))


def test_a_budget_that_is_used_up_stops_the_run(tmp_path):
    cache = ResponseCache(tmp_path, 0.5)
    cache.put("a", PROMPTS, 0.4)
    cache.check_budget()
    cache.put("b", PROMPTS, 0.2)
    with pytest.raises(RefusedError, match=r"cost 0\.6000 of models\.captioner\.budget 0\.5"):
        cache.check_budget()
    ResponseCache(tmp_path, 0).check_budget()


def test_a_damaged_response_counts_as_missing(tmp_path):
    cache = ResponseCache(tmp_path, 0)
    cache.put("abcd", PROMPTS, 0)
    (tmp_path / "ab" / "abcd.json").write_text("{")
    assert cache.get("abcd") is None

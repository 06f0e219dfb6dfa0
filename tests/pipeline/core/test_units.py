"""Numbers with units and separated thousands."""

import pytest

from pipeline.core.units import counted, duration_text, money_text, size_text


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 bytes"), (999, "999 bytes"), (1000, "1.00 kB"), (1_460_000, "1.46 MB"), (387_400_000, "387 MB"),
     (999_999_999, "1.00 GB"), (17_950_095_000_000, "17.95 TB"), (5e18, "5000 PB")],
)  # fmt: skip
def test_sizes(size, text):
    assert size_text(size) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (9.94, "9.9 s"), (48.4, "48 s"), (99.4, "99 s"), (99.6, "1 min 40 s"), (203, "3 min 23 s"),
     (5999, "99 min 59 s"), (7500, "2 h 05 min"), (359_990, "100 h"), (244.48 * 3600, "244 h"), (11_166.6 * 3600, "11,167 h")],
)  # fmt: skip
def test_durations(seconds, text):
    assert duration_text(seconds) == text


def test_counts_and_money():
    assert (counted(1, "shard"), counted(0, "shard"), counted(12_000, "shard")) == (
        "1 shard",
        "0 shards",
        "12,000 shards",
    )
    assert money_text(1234.5, "EUR") == "1,234.50 EUR"

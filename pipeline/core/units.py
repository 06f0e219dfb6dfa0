"""Numbers as they are printed: with their unit, and thousands separated."""

SIZES = ("bytes", "kB", "MB", "GB", "TB", "PB")


def size_text(size: float) -> str:
    """Bytes in decimal units: ``512 bytes``, ``1.46 MB``, ``17.95 TB``."""
    step = 0
    while size >= 999.5 and step < len(SIZES) - 1:
        size, step = size / 1000, step + 1
    if step == 0:
        return f"{size:,.0f} {SIZES[0]}"
    return f"{size:.{2 if size < 100 else 0}f} {SIZES[step]}"


def duration_text(seconds: float) -> str:
    """A duration: ``0.4 s``, ``48 s``, ``3 min 20 s``, ``2 h 05 min``, ``244 h``."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 100:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes:02d} min" if hours < 100 else f"{hours + (minutes >= 30):,} h"


def counted(number: int, word: str) -> str:
    """A number with its noun: ``1 shard``, ``12,000 shards``."""
    return f"{number:,} {word}" if number == 1 else f"{number:,} {word}s"


def money_text(amount: float, currency: str) -> str:
    """An amount with its currency: ``1,234.50 USD``."""
    return f"{amount:,.2f} {currency}"

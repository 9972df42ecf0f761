"""The warehouse's API, or rather a small fake of it, for callers in asyncio."""

import asyncio

ANSWERS_AFTER_S = 0.05


async def announce(*, reference: int, title: str) -> None:
    """Ask for a book to be packed; the warehouse ignores a reference that it knows."""
    if not title:
        raise ValueError(f"Order {reference} has no title to look for.")
    await asyncio.sleep(ANSWERS_AFTER_S)

"""Keys of Apps that are registered in tests."""

from __future__ import annotations

from functools import cache

from sandbox import new_private_key


@cache
def private_key() -> str:
    """One RSA key for all sandboxes of a process: to make one takes 65 ms, and to check it 45."""
    return new_private_key()

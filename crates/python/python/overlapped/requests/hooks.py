"""Hooks: functions that are called with each response, and may replace it."""

from __future__ import annotations

from typing import Any

HOOKS = ["response"]


def default_hooks() -> dict[str, list[Any]]:
    """No hook for any event."""
    return {event: [] for event in HOOKS}


def dispatch_hook(key: str, hooks: dict[str, Any] | None, hook_data: Any, **kwargs: Any) -> Any:
    """Passes `hook_data` through the hooks of an event; one that returns None leaves it as it is."""
    called = (hooks or {}).get(key) or []
    for hook in [called] if callable(called) else called:
        replaced = hook(hook_data, **kwargs)
        hook_data = hook_data if replaced is None else replaced
    return hook_data

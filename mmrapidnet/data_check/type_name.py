"""The name of what a config builds."""

from __future__ import annotations

from typing import Any


def type_name(config: dict[str, Any]) -> str:
    """Name the class that a config builds, without the prefix of a library.

    Args:
        config: A config with a ``type``, which is a name or the class itself.

    Returns:
        The name; empty if there is no type.

    Examples:
        >>> type_name(dict(type='mmdet.Resize')), type_name(dict(type=dict))
        ('Resize', 'dict')
    """
    kind = config.get('type') or ''
    name = kind if isinstance(kind, str) else kind.__name__
    return name.rpartition('.')[2]

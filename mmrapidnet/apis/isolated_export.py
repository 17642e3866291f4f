"""Export in a process of its own, whose death is an error of one line.

To quantise a network its runtime runs it before it is a file that anybody has tried.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from mmengine.config import Config

from mmrapidnet import compat
from mmrapidnet.config.load import load_config
from mmrapidnet.deploy.export import Report, export
from mmrapidnet.deploy.isolated import Child
from mmrapidnet.utils.atomic import replace_atomic
from mmrapidnet.utils.errors import UserError


def export_precision(
    cfg: Config,
    checkpoint: str,
    format: str,
    out: str | Path,
    precision: str = 'fp32',
    **arguments: Any,
) -> Report:
    """Export in a precision; int8 in a process of its own.

    Args:
        cfg: The config the checkpoint was trained with.
        checkpoint: Path or URL of the checkpoint.
        format: One of `mmrapidnet.deploy.formats.FORMATS`.
        out: The file to write, with the format's suffix.
        precision: One that the format has. Defaults to 'fp32'.
        **arguments: Further ones of `mmrapidnet.deploy.export.export`.

    Returns:
        What was exported.

    Raises:
        UserError: As `mmrapidnet.deploy.export.export`; also if the process dies.
    """
    asked = (cfg, checkpoint, format, out)
    if precision != 'int8':
        return export(*asked, precision=precision, **arguments)
    what = 'int8 cannot be made on this machine (take another precision)'
    return export_isolated(what, export, *asked, precision=precision, **arguments)


def export_isolated(
    what: str,
    function: Callable[..., Report],
    cfg: Config,
    checkpoint: str,
    format: str,
    out: str | Path,
    **arguments: Any,
) -> Report:
    """Call a function that exports, such as `mmrapidnet.deploy.export.export`.

    Args:
        what: What goes wrong if the process dies, for the message.
        function: One that a module has under its name; it takes all that follows.
        cfg: The config the checkpoint was trained with.
        checkpoint: Path or URL of the checkpoint.
        format: One of `mmrapidnet.deploy.formats.FORMATS`.
        out: The file to write, with the format's suffix.
        **arguments: The function's others; they are pickled.

    Returns:
        What was exported.

    Raises:
        UserError: The function's own; also if it ends the process.
    """
    with replace_atomic(Path(out)) as path:
        asked = (function, cfg, checkpoint, format, path, arguments)
        try:
            report = Child(patience=0).call(what, _export, *asked)
        except UserError as error:
            raise UserError(str(error).replace(str(path), str(out))) from None
    return replace(report, path=Path(out))


def _export(
    function: Callable[..., Report],
    cfg: Config,
    checkpoint: str,
    format: str,
    out: Path,
    arguments: dict[str, Any],
) -> Report:
    compat.apply()
    if cfg.filename:
        load_config(cfg.filename)  # for what it imports
    return function(cfg, checkpoint, format, out, **arguments)

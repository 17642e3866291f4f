"""Tables on the terminal, as Markdown for a page, and as JSON to compute with."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from dev.model_zoo.markdown import make_table
from dev.subprocess_steps import relpath
from mmrapidnet.utils.env import processor_name


def report(
    path: Path,
    title: str,
    tables: Sequence[Sequence[tuple[str, ...]]],
    footnote: str,
    command: str,
    record: dict[str, Any],
) -> None:
    """Print tables and write them to files, with what they were measured on.

    Args:
        path: Of the files, without suffix: ``.json`` and ``.md`` are written.
        title: What they show, such as 'Shapes, 440 iterations'.
        tables: Of each the header, then the cells of each row.
        footnote: How to read them.
        command: The command that measured it all.
        record: What the JSON is to hold besides.
    """
    context = dict(processor=processor_name(), torch=torch.__version__, command=command)
    content = json.dumps({**context, **record}, indent=2)
    path.with_name(f'{path.name}.json').write_text(content + '\n')
    drawn = '\n\n'.join(make_table(header, body) for header, *body in tables)
    path.with_name(f'{path.name}.md').write_text(
        f'{title}. Measured on {context["processor"]}, torch {context["torch"]}, with\n'
        f'`{command}`.\n\n{drawn}\n\n{footnote}\n'
    )

    console = Console()
    for header, *body in tables:
        printed = Table(*header, title=title)
        for cells in body:
            printed.add_row(*cells)
        console.print(printed)
    console.print(footnote)
    console.print(f'written to {relpath(path)}.{{json,md}}')

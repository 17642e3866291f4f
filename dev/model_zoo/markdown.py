"""Tables in Markdown, and their place in a page."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from tabulate import tabulate

from mmrapidnet.utils.errors import UserError


def make_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Write a table.

    Args:
        header: A title for each column.
        rows: The cells.

    Returns:
        Its lines, joined.

    Examples:
        >>> print(make_table(('a', 'b'), [('1', '2.50')]))
        | a   | b    |
        |-----|------|
        | 1   | 2.50 |
    """
    # Cells are text: figures keep the digits that they were written with.
    return tabulate(rows, headers=header, tablefmt='github', disable_numparse=True)


def place_in_page(text: str, page: Path, begin: str, end: str) -> str:
    """Put a text between two marks in a page.

    Args:
        text: The text.
        page: The page, which is left as it is.
        begin: The line before the text.
        end: The line after it.

    Returns:
        The new text of the page.

    Raises:
        UserError: If there is no such page, or it has no such marks.
    """
    if not page.is_file():
        raise UserError(f'there is no page {page} to put the tables into')
    before, found, rest = page.read_text(encoding='utf-8').partition(begin)
    _, ended, after = rest.partition(end)
    if not found or not ended:
        raise UserError(
            f'{page} has no place for the tables: it needs the lines {begin} and {end}'
        )
    return f'{before}{begin}\n\n{text.strip()}\n\n{end}{after}'

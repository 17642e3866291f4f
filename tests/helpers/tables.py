"""Tables in Markdown, whatever their layout."""


def read_rows(text: str) -> list[tuple[str, ...]]:
    """The header and the rows of all tables of a page."""
    lines = [line for line in text.splitlines() if line.startswith('|')]
    return [
        tuple(cell.strip() for cell in line[1:-1].split('|'))
        for line in lines
        if set(line) - set('|-: ')
    ]

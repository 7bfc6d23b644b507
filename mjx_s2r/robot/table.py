"""Tables for people: columns as wide as they must be, or as Markdown."""

from collections.abc import Sequence

Rows = Sequence[Sequence[object]]


def plain_table(rows: Rows, indent: str = "  ") -> list[str]:
    """Returns the rows with columns aligned, numbers to the right."""
    texts = [[_text(x) for x in row] for row in rows]
    if not texts:
        return []
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    lines = []
    for row, words in zip(rows, texts, strict=True):
        cells = (
            word.rjust(width) if isinstance(value, int | float) else word.ljust(width)
            for value, word, width in zip(row, words, widths, strict=True)
        )
        lines.append((indent + "  ".join(cells)).rstrip())
    return lines


def markdown_table(head: Sequence[str], rows: Rows) -> list[str]:
    """Returns the rows as a table of Markdown."""
    lines = [head, ["---"] * len(head), *([_text(x) for x in row] for row in rows)]
    return [f"| {' | '.join(line)} |" for line in lines]


def _text(value: object) -> str:
    """Returns a cell; a float with four digits."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)

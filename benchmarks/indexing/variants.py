"""The solver with all, one or none of its learned parts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

from app.indexing.learned.models import NOTHING_LEARNED, Learned

OFF, ALL = "off", "all"
PARTS = tuple(field.name for field in fields(Learned))
NAMES = (OFF, *PARTS, ALL)


@dataclass(frozen=True)
class Variant:
    """One column of the matrix: a name and what the solver gets."""

    name: str
    learned: Learned


def variants(
    names: Sequence[str], store: Path, read: Callable[[Path], tuple[Learned, Sequence[str]]] | None = None
) -> tuple[list[Variant], list[str]]:
    """Give the variants that the store can serve, and a line on each that it cannot.

    Args:
        names: of `NAMES`; ``off`` comes first whether named or not, since all others are held against it.
        store: folder of the published models; each takes part in its stable version.
        read: reads the parts, and says what could not be had; from the folder by default.

    Raises:
        ValueError: an unknown name.
    """
    unknown = sorted(set(names) - set(NAMES))
    if unknown:
        raise ValueError(f"found {', '.join(unknown)}; choose from {', '.join(NAMES)}")
    learned, told = (read or parts_of)(store)
    made, skipped = [Variant(OFF, NOTHING_LEARNED)], list(told)
    for name in dict.fromkeys(names):
        if name == ALL and learned != NOTHING_LEARNED:
            made.append(Variant(ALL, learned))
        elif name not in (OFF, ALL) and getattr(learned, name) is None:
            skipped.append(f"{name}: skipped, the store has no such model")
        elif name not in (OFF, ALL):
            made.append(Variant(name, replace(NOTHING_LEARNED, **{name: getattr(learned, name)})))
    return made, skipped


def parts_of(store: Path) -> tuple[Learned, Sequence[str]]:
    """Read the stable versions as a worker of the service does; the lines say what could not be had."""
    from app.indexing.learned.shelf import Shelf

    shelf = Shelf(store)
    found = shelf.at_hand(shelf.default())
    return found.learned, found.warnings

"""Names of people: one spelling of each, and those that a gallery can keep."""

import unicodedata

MOST_CHARACTERS = 1000


def normalised(name: str) -> str:
    """The name in Unicode's composed form (NFC): file systems spell "é" as one character or as two."""
    return unicodedata.normalize("NFC", name)


def problem_of(name: str) -> str:
    """Why a gallery cannot keep a name, a sentence without its subject; empty if it can."""
    if not name.strip():
        return "is blank; expected a name with at least one character that is no space"
    if len(name) > MOST_CHARACTERS:
        return f"has {len(name):,} characters; expected a name of at most {MOST_CHARACTERS:,}"
    return ""

"""HTML from values: text is escaped unless it was made here."""

from html import escape

__all__ = ["Html", "join", "tag"]


class Html(str):
    """Text that is HTML already; made by `tag` and `join`, or from our own files, never from a user's words."""

    __slots__ = ()


def tag(name: str, *children: str, **attributes: str | bool | None) -> Html:
    """An element; children that are no Html are escaped, and so are attributes.

    `class_` is `class`, underscores in other attributes are hyphens, True gives a bare attribute, None and False none.
    """
    written = "".join(
        _attribute(key, value) for key, value in attributes.items() if value not in (None, False)
    )
    return Html(f"<{name}{written}>{join(*children)}</{name}>")


def join(*children: str) -> Html:
    """The children one after another, escaped where they are no Html."""
    return Html("".join(child if isinstance(child, Html) else escape(child) for child in children))


def _attribute(name: str, value: str | bool | None) -> str:
    plain = name.rstrip("_").replace("_", "-")
    return f" {plain}" if value is True else f' {plain}="{escape(str(value))}"'

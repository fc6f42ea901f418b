"""HTML from values; text is escaped unless it is Html already."""

from html import escape

__all__ = ["Html", "join", "tag"]


class Html(str):
    """Text that is HTML already, from `tag`, `join` or isoflop's own files; never a user's text."""

    __slots__ = ()


def tag(name: str, *children: str, **attributes: str | bool | None) -> Html:
    """An element; attributes are escaped, and so are children other than Html.

    `class_` becomes `class`, and underscores in other attributes become hyphens. True gives a bare
    attribute; None and False give none.
    """
    written = "".join(
        _attribute(key, value) for key, value in attributes.items() if value not in (None, False)
    )
    return Html(f"<{name}{written}>{join(*children)}</{name}>")


def join(*children: str) -> Html:
    """The children one after another, escaped unless they are Html."""
    return Html("".join(child if isinstance(child, Html) else escape(child) for child in children))


def _attribute(name: str, value: str | bool | None) -> str:
    plain = name.rstrip("_").replace("_", "-")
    return f" {plain}" if value is True else f' {plain}="{escape(str(value))}"'

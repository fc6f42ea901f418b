"""What the code that runs says in its source: a file may be edited after it was imported.

Files of the user's modules are read when a task is made. A text counts for a function only if it compiles to the very
code that is loaded; it then stands for it as its syntax tree, in which neither comments nor layout nor place appear,
so that it is the same on every version of Python and wherever the file lies.
"""

import ast
import linecache
import sys
import time
from collections.abc import Iterator, Mapping
from functools import lru_cache
from importlib.abc import MetaPathFinder, SourceLoader
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_file_location
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

from isoflop.libraries import lies_among_libraries

__all__ = [
    "class_tree",
    "function_tree",
    "imported_texts",
    "remember",
    "say_what_was_edited",
    "take_texts",
]

_STARTED = time.time()
_FOLDER = Path.cwd()
_texts: dict[str, list[str]] = {}
"""By file: what it said whenever it was looked at, the first time first."""
_trees: dict[int, tuple[CodeType, str | None]] = {}
"""By id of a loaded code, which is kept alive: its tree. It stays what it was when first asked for."""
_class_trees: dict[int, tuple[type, list[CodeType], str | None]] = {}
"""By id of a class: the class, the codes of its functions, its tree."""
_loaded: dict[str, str | None] = {}
"""By file in use: the text that was imported; None where no text that was read gives the code that is loaded."""
_told: set[str] = set()


def remember() -> None:
    """Read the files of the user's modules that were not read before."""
    for module in list(sys.modules.values()):
        file = getattr(module, "__file__", None)
        if (
            isinstance(file, str)
            and file.endswith(".py")
            and file not in _texts
            and not lies_among_libraries(file)
        ):
            _read(file)


def function_tree(function: FunctionType) -> str | None:
    """The tree of a function's arguments and body; None for a lambda, and where no known text gives its code.

    What is evaluated when a function is defined (decorators, defaults) is no part of it: their values are at hand.
    """
    code = function.__code__
    if id(code) not in _trees:
        _trees[id(code)] = (code, _tree_of(code))
    return _trees[id(code)][1]


def class_tree(cls: type) -> str | None:
    """The tree of what a class's body says beside its functions; None where no known text gives all of these."""
    own = [member.__code__ for member in vars(cls).values() if isinstance(member, FunctionType)]
    known = _class_trees.get(id(cls))
    if known is None or known[1] != own:
        known = _class_trees[id(cls)] = (cls, own, _body_of(cls, own))
    return known[2]


def say_what_was_edited() -> None:
    """Put a line on stderr for the files in use whose code is no longer what was imported; each is named once."""
    edited = [
        file for file, text in list(_loaded.items()) if file not in _told and _is_edited(file, text)
    ]
    _told.update(edited)
    if edited:
        names = ", ".join(Path(file).name for file in edited)
        print(
            f"isoflop: {names} changed after being imported: this program goes on with the code that it imported, and "
            f"records its runs as that code's; start it again to train the new code.",
            file=sys.stderr,
            flush=True,
        )


def imported_texts() -> dict[str, tuple[str, str]]:
    """Of the user's modules, by name: the file, and what it said when it was imported."""
    remember()
    files = {name: getattr(module, "__file__", None) for name, module in list(sys.modules.items())}
    known = {
        name: file for name, file in files.items() if file in _texts and not name.startswith("__")
    }
    return {name: (file, _loaded.get(file) or _texts[file][0]) for name, file in known.items()}


def take_texts(texts: Mapping[str, tuple[str, str]]) -> None:
    """Import these modules from these texts, if they are not imported yet, whatever their files say here."""
    for file, text in texts.values():
        _texts[file] = [text, *_texts.get(file, [])]
    sys.meta_path.insert(0, _Finder(texts))


class _Finder(MetaPathFinder):
    def __init__(self, texts: Mapping[str, tuple[str, str]]) -> None:
        self.texts = texts

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> ModuleSpec | None:
        if fullname not in self.texts:
            return None
        file, text = self.texts[fullname]
        return spec_from_file_location(fullname, file, loader=_Loader(file, text))


class _Loader(SourceLoader):
    def __init__(self, file: str, text: str) -> None:
        self.file, self.text = file, text

    def get_filename(self, fullname: str) -> str:
        return self.file

    def get_data(self, path: Any) -> bytes:
        if path != self.file:  # compiled code that was kept may be of another text
            raise FileNotFoundError(path)
        return self.text.encode()


def _tree_of(code: CodeType) -> str | None:
    if code.co_name == "<lambda>":
        return None
    file = _place(code.co_filename)
    texts = _texts_of(file)
    for text in texts:
        node = _node_of(code, text)
        if node is not None:
            _loaded.setdefault(file, text)
            return _function_text(node)
    if texts:
        _loaded[file] = None
    return None


def _body_of(cls: type, own: list[CodeType]) -> str | None:
    module_file = getattr(sys.modules.get(cls.__module__), "__file__", None)
    files = {code.co_filename for code in own if not code.co_filename.startswith("<")}
    for file in map(_place, files or ([module_file] if module_file else [])):
        inside = [code for code in own if _place(code.co_filename) == file]
        for text in _texts_of(file):
            body = _parsed(text).classes.get(cls.__qualname__)
            if body is not None and all(_node_of(code, text) for code in inside):
                return body
    return None


def _node_of(code: CodeType, text: str) -> "_Function | None":
    """The function in a text that compiles to a code."""
    found = _parsed(text).functions.get(code.co_qualname, ())
    return next((node for compiled, node in found if _shape(compiled) == _shape(code)), None)


# -- texts -------------------------------------------------------------------------------------------------------------


def _texts_of(file: str) -> list[str]:
    """What a file said when it was first read and what it says now; that of a notebook's cell is kept by Python."""
    _read(file)
    return _texts.get(file, [])


def _read(file: str) -> None:
    text = _on_disk(file)
    if text is None:
        text = "".join(linecache.getlines(file))
    if text and text not in _texts.setdefault(file, []):
        _texts[file].append(text)


def _on_disk(file: str) -> str | None:
    try:
        return Path(file).read_text(encoding="utf-8")
    except (OSError, ValueError):
        return None


def _place(file: str) -> str:
    """A file's path from the root: that of a program may be told from the folder where it was started."""
    return file if file.startswith("<") else str(_FOLDER / file)


def _is_edited(file: str, imported: str | None) -> bool:
    """Whether a file has other code than was imported; of one whose import is unknown, whether it was written since.

    A tool may have rewritten the code at its import.
    """
    now = _on_disk(file)
    if now is None:
        return False
    return (
        Path(file).stat().st_mtime > _STARTED
        if imported is None
        else _parsed(now).tree != _parsed(imported).tree
    )


# -- trees -------------------------------------------------------------------------------------------------------------

_Function = ast.FunctionDef | ast.AsyncFunctionDef


class _Parsed:
    """A text's functions, by qualified name with their codes, and what its classes say beside them."""

    def __init__(self, text: str) -> None:
        self.functions: dict[str, list[tuple[CodeType, _Function]]] = {}
        self.classes: dict[str, str] = {}
        self.tree = ""
        try:
            tree, code = ast.parse(text), compile(text, "<text>", "exec", dont_inherit=True)
        except (SyntaxError, ValueError):  # half an edit, or a notebook's magic
            self.tree = text
            return
        self.tree = repr(_plain(tree))
        nodes = {
            (node.name, _first_line(node)): node
            for node in ast.walk(tree)
            if isinstance(node, _Function)
        }
        for inner in _codes(code):
            node = nodes.get((inner.co_name, inner.co_firstlineno))
            if node is not None:
                self.functions.setdefault(inner.co_qualname, []).append((inner, node))
        self._add_classes(tree, "")

    def _add_classes(self, node: ast.AST, prefix: str) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.ClassDef):
                said = [
                    _plain(part)
                    for part in child.body
                    if not isinstance(part, _Function | ast.ClassDef)
                ]
                self.classes[prefix + child.name] = repr(said)
                self._add_classes(child, f"{prefix}{child.name}.")
            elif isinstance(child, _Function):
                self._add_classes(child, f"{prefix}{child.name}.<locals>.")
            else:
                self._add_classes(child, prefix)


@lru_cache(maxsize=256)
def _parsed(text: str) -> _Parsed:
    return _Parsed(text)


def _codes(code: CodeType) -> Iterator[CodeType]:
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield constant
            yield from _codes(constant)


def _first_line(node: _Function) -> int:
    return node.decorator_list[0].lineno if node.decorator_list else node.lineno


def _function_text(node: _Function) -> str:
    asked = node.args
    groups = (asked.posonlyargs, asked.args, [asked.vararg], asked.kwonlyargs, [asked.kwarg])
    names = [[each.arg for each in group if each is not None] for group in groups]
    return repr((type(node).__name__, names, [_plain(part) for part in node.body]))


def _plain(node: Any) -> Any:
    """A tree as tuples, without places; empty fields are left out, since versions of Python have others."""
    if isinstance(node, ast.JoinedStr):  # Python 3.12 puts empty texts into some
        return (
            "JoinedStr",
            *(_plain(part) for part in node.values if getattr(part, "value", None) != ""),
        )
    if isinstance(node, ast.AST):
        held = [
            (name, value)
            for name, value in ast.iter_fields(node)
            if value is not None and value != []
        ]
        return (type(node).__name__, *((name, _plain(value)) for name, value in held))
    return [_plain(part) for part in node] if isinstance(node, list) else node


def _shape(code: CodeType) -> tuple[Any, ...]:
    """All of a code that decides what it does."""
    return (
        code.co_code,
        code.co_names,
        code.co_varnames,
        code.co_freevars,
        code.co_cellvars,
        (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags),
        tuple(map(_constant, code.co_consts)),
    )


def _constant(value: Any) -> Any:
    if isinstance(value, CodeType):
        return _shape(value)
    if isinstance(value, frozenset):
        return frozenset, tuple(sorted(map(repr, value)))
    return type(value), repr(value)

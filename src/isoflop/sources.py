"""Source of the loaded code, although files may be edited after they are imported.

Files of the user's modules are read when a task is created. A text represents a function only if it
compiles to the code that is loaded. The function is then represented by its syntax tree, without
comments, layout and positions, so that it is the same in every version of Python and every folder.
"""

import ast
import linecache
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from importlib.abc import MetaPathFinder, SourceLoader
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_file_location
from operator import is_
from pathlib import Path
from types import CodeType, FunctionType, ModuleType

from isoflop.libraries import lies_among_libraries

__all__ = [
    "class_tree",
    "function_tree",
    "imported_texts",
    "own_members",
    "remember",
    "report_edits",
    "take_texts",
]

_STARTED = time.time()
_FOLDER = Path.cwd()
_texts: dict[str, list[str]] = {}
"""By file: its text at each reading, the first one first."""
_visited: dict[str, object] = {}
"""Modules by name whose files have been read, or are none of the user's."""
_modules: list[ModuleType] = []
"""Loaded modules at the last reading, in their order."""
_trees: dict[int, tuple[CodeType, str | None]] = {}
"""By id of a loaded code, which is kept alive: its tree at the first request."""
_class_trees: dict[int, tuple[type, list[CodeType], str | None]] = {}
"""By id of a class: the class, the codes of its functions, its tree."""
_loaded: dict[str, str | None] = {}
"""By file in use: the imported text; None where no text read compiles to the loaded code."""
_reported: set[str] = set()


def remember() -> None:
    """Read the files of the user's modules that have not been read before."""
    modules = list(sys.modules.values())
    if len(modules) == len(_modules) and all(map(is_, modules, _modules)):
        return
    _modules[:] = modules
    for name, module in list(sys.modules.items()):
        if _visited.get(name) is module:
            continue
        _visited[name] = module
        file = getattr(module, "__file__", None)
        if (
            isinstance(file, str)
            and file.endswith(".py")
            and file not in _texts
            and not lies_among_libraries(file)
        ):
            _read(file)


def function_tree(function: FunctionType) -> str | None:
    """Tree of a function's arguments and body; None for a lambda, or without a matching text.

    Expressions evaluated at definition (decorators, defaults) are left out: their values are known.
    """
    code = function.__code__
    if id(code) not in _trees:
        _trees[id(code)] = (code, _tree_of(code))
    return _trees[id(code)][1]


def class_tree(cls: type) -> str | None:
    """Tree of a class's body without its functions; None without a text that matches them all."""
    own = [member.__code__ for _, member in own_members(cls) if isinstance(member, FunctionType)]
    known = _class_trees.get(id(cls))
    if known is None or known[1] != own:
        known = _class_trees[id(cls)] = (cls, own, _body_of(cls, own))
    return known[2]


def own_members(cls: type) -> Iterator[tuple[str, object]]:
    """A class's own members, without the wrapper that torch puts on an optimiser's step at use."""
    for name, member in vars(cls).items():
        own = _unhooked(member)
        inherited = any(_unhooked(vars(base).get(name)) is own for base in cls.__mro__[1:])
        if own is member or not inherited:
            yield name, own


def _unhooked(member: object) -> object:
    return getattr(member, "__wrapped__", member) if hasattr(member, "hooked") else member


def report_edits() -> None:
    """Warn on stderr, once per file, where the code in use differs from its file."""
    edited = [
        file
        for file, text in list(_loaded.items())
        if file not in _reported and _is_edited(file, text)
    ]
    _reported.update(edited)
    if edited:
        names = ", ".join(Path(file).name for file in edited)
        print(
            f"isoflop: {names} changed after being imported: this program goes on with the code "
            "that it imported, and records its runs as that code's; start it again to train the "
            "new code.",
            file=sys.stderr,
            flush=True,
        )


def imported_texts() -> dict[str, tuple[str, str]]:
    """Name of each user module -> (its file, the text that was imported)."""
    remember()
    files = {name: getattr(module, "__file__", None) for name, module in list(sys.modules.items())}
    known = {
        name: file for name, file in files.items() if file in _texts and not name.startswith("__")
    }
    return {name: (file, _loaded.get(file) or _texts[file][0]) for name, file in known.items()}


def take_texts(texts: Mapping[str, tuple[str, str]]) -> None:
    """Import modules that are not imported yet from these texts, whatever their files contain."""
    for file, text in texts.values():
        _texts[file] = [text, *_texts.get(file, [])]
    sys.meta_path.insert(0, _Finder(texts))


class _Finder(MetaPathFinder):
    def __init__(self, texts: Mapping[str, tuple[str, str]]) -> None:
        self.texts = texts

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname not in self.texts:
            return None
        file, text = self.texts[fullname]
        return spec_from_file_location(fullname, file, loader=_Loader(file, text))


class _Loader(SourceLoader):
    def __init__(self, file: str, text: str) -> None:
        self.file, self.text = file, text

    def get_filename(self, fullname: str) -> str:
        return self.file

    def get_data(self, path: str) -> bytes:
        if path != self.file:  # cached bytecode may be of another text
            raise FileNotFoundError(path)
        return self.text.encode()


def _tree_of(code: CodeType) -> str | None:
    if code.co_name == "<lambda>":
        return None
    file = _absolute(code.co_filename)
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
    for file in map(_absolute, files or ([module_file] if module_file else [])):
        inside = [code for code in own if _absolute(code.co_filename) == file]
        for text in _texts_of(file):
            body = _parsed(text).classes.get(cls.__qualname__)
            if body is not None and all(_node_of(code, text) for code in inside):
                return body
    return None


def _node_of(code: CodeType, text: str) -> "_Function | None":
    """The function in a text that compiles to a given code."""
    functions = _parsed(text).functions.get(code.co_qualname, ())
    return next((node for compiled, node in functions if _shape(compiled) == _shape(code)), None)


# -- texts ---------------------------------------------------------------------------------------


def _texts_of(file: str) -> list[str]:
    """Texts of a file, at its first reading and now; Python keeps that of a notebook's cell."""
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


def _absolute(file: str) -> str:
    """Absolute path of a file: that of a program may be relative to the folder of its start."""
    return file if file.startswith("<") else str(_FOLDER / file)


def _is_edited(file: str, imported: str | None) -> bool:
    """Whether a file has other code than the imported text.

    Where that text is unknown, because a tool rewrote the code at its import: whether the file was
    written since the start of the program.
    """
    now = _on_disk(file)
    if now is None:
        return False
    return (
        Path(file).stat().st_mtime > _STARTED
        if imported is None
        else _parsed(now).tree != _parsed(imported).tree
    )


# -- trees ---------------------------------------------------------------------------------------

_Function = ast.FunctionDef | ast.AsyncFunctionDef


class _Parsed:
    """A text's functions by qualified name, with their codes, and the rest of its classes."""

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
                rest = [
                    _plain(part)
                    for part in child.body
                    if not isinstance(part, _Function | ast.ClassDef)
                ]
                self.classes[prefix + child.name] = repr(rest)
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
    own = node.args
    groups = (own.posonlyargs, own.args, [own.vararg], own.kwonlyargs, [own.kwarg])
    names = [[each.arg for each in group if each is not None] for group in groups]
    return repr((type(node).__name__, names, [_plain(part) for part in node.body]))


def _plain(node: object) -> object:
    """A tree as tuples without positions.

    Empty fields are left out, because they differ between versions of Python.
    """
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


def _shape(code: CodeType) -> tuple[object, ...]:
    """All parts of a code that decide its behaviour."""
    return (
        code.co_code,
        code.co_names,
        code.co_varnames,
        code.co_freevars,
        code.co_cellvars,
        (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags),
        tuple(map(_constant, code.co_consts)),
    )


def _constant(value: object) -> object:
    if isinstance(value, CodeType):
        return _shape(value)
    if isinstance(value, frozenset):
        return frozenset, tuple(sorted(map(repr, value)))
    return type(value), repr(value)

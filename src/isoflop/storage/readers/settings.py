"""Settings in a JSON or YAML file beside a run's log."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from isoflop.errors import DataError, StoreError, first_line
from isoflop.extras import load_extra
from isoflop.storage.readers.tracked import flat, short

__all__ = ["read_json", "read_yaml", "settings_beside"]

_JSON = ("config.json", "hparams.json", "args.json", "params.json", "settings.json")
_YAML = ("hparams.yaml", "config.yaml", "args.yaml")


def settings_beside(folder: Path, *, or_only_json: bool = False) -> dict[str, object]:
    """Settings of a run, by name, from the usual files in its folder; nested ones with dots.

    or_only_json: without any of them, the folder's JSON file is read where it is the only one.
    """
    files = [folder / name for name in (*_JSON, *_YAML) if (folder / name).is_file()]
    if not files and or_only_json:
        others = sorted(folder.glob("*.json"))
        files = others if len(others) == 1 else []
    found: dict[str, object] = {}
    for file in files:
        values = read_json(file) if file.suffix == ".json" else read_yaml(file)
        if isinstance(values, Mapping):
            found = flat(values) | found
    return found


def read_json(path: Path) -> object:
    """The contents of a JSON file. Raises DataError where it is none."""
    try:
        values: object = json.loads(_text(path))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{short(path)} is no JSON file: {first_line(error)}.") from error
    return values


def read_yaml(path: Path) -> object:
    """The contents of a YAML file; objects of a program in it are left out, and none is created.

    Raises DataError where it is no YAML, InstallError where PyYAML is missing.
    """
    yaml = load_extra("yaml", "lightning")
    try:
        values: object = yaml.load(_text(path), Loader=_plain_loader(yaml))  # of plain values alone
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise DataError(f"{short(path)} is no YAML file: {first_line(error)}.") from error
    return values


def _plain_loader(yaml: Any) -> Any:
    """PyYAML's safe loader, to which a tag of a program's own is an empty value."""
    loader = type("PlainLoader", (yaml.SafeLoader,), {})
    loader.add_multi_constructor("", lambda self, suffix, node: None)  # type: ignore[attr-defined]
    return loader


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeError as error:
        raise DataError(f"{short(path)} must be UTF-8 text; save it as UTF-8.") from error
    except OSError as error:
        raise StoreError(f"{short(path)} cannot be read: {first_line(error)}.") from error

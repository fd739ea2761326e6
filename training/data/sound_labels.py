"""The labels of sound files: from the names of their folders, from their own names, or from a table."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath

from training.data import DataError, Unusable, tables
from training.data.listing import Found, counted, read_file, shown, suffix_of
from training.data.sound_source import SoundSource

ONLY = "sound"  # the label of files that lie in no folder
FILE = "file"  # the column of a table with the names of files
_MOST_BYTES = 250_000_000

Label = Callable[[str], str]  # the name of a file below its folder or archive -> label; raises `Unusable`


def labeller(source: SoundSource, files: Sequence[Found], tables_found: Mapping[str, bytes]) -> Label:
    """How files get their labels. `tables_found` are the tables that lie beside them by their names.

    Raises `DataError` for a table that is not there, lacks a column or says two things of one file.
    """
    if source.label_pattern is not None:
        return lambda name: _by_pattern(source.label_pattern or "", name)
    if source.labels is not None:
        told = _read(source, tables_found)
        return lambda name: _by_table(told, source.labels or "", name)
    folders = any(_path(file.name).parent.name for file in files)
    return _by_folder if folders else lambda _: ONLY


def natural(label: str) -> tuple[tuple[int, str], ...]:
    """The order of labels: "2" stands before "10"."""
    parts = re.split(r"(\d+)", label)
    return tuple((int(part), "") if part.isdecimal() else (-1, part) for part in parts)


def is_table(source: SoundSource, name: str) -> bool:
    """Whether a file beside the sounds is the table that `source` names."""
    return source.labels is not None and _path(name).name == _path(source.labels).name


def _path(name: str) -> PurePosixPath:
    return PurePosixPath(name.replace("\\", "/"))


def _by_folder(name: str) -> str:
    found = _path(name).parent.name
    if not found:
        raise Unusable("it lies in no folder, and others do: without one it has no label")
    return found


def _by_pattern(pattern: str, name: str) -> str:
    match = re.match(pattern, _path(name).name)
    if match is None or not match[1]:
        raise Unusable(f"its name does not match --label-pattern {pattern}")
    return match[1]


def _by_table(told: Mapping[str, str], table: str, name: str) -> str:
    path = _path(name)
    for key in (str(path), path.name, path.stem):
        if key in told:
            return told[key]
    raise Unusable(f"{table} names no such file")


def _read(source: SoundSource, tables_found: Mapping[str, bytes]) -> dict[str, str]:
    given = source.labels or ""
    path = Path(given).expanduser()
    if path.is_file():
        raw = read_file(path, _MOST_BYTES)
    elif len(tables_found) == 1:
        raw = next(iter(tables_found.values()))
    elif tables_found:
        raise DataError(
            f"--labels {given} is there {len(tables_found)} times ({', '.join(tables_found)}): give its path"
        )
    else:
        raise DataError(f"--labels {given} is neither a file nor in the data: give the path of a CSV file")
    wanted = (FILE, source.label_column)
    header = tables.first_row(raw, suffix_of(given), wanted)
    if not set(wanted) <= set(header):
        raise DataError(
            f"--labels {given} has the columns {', '.join(map(repr, header)) or 'of an empty file'}; wanted "
            f"{FILE!r} and {source.label_column!r} (--label-column names another one)"
        )
    told: dict[str, str] = {}
    bad: list[str] = []
    for at, row in tables.rows(raw, suffix_of(given), wanted, given):
        if not isinstance(row, dict) or not row[source.label_column].strip():
            bad.append(f"line {at}: {row if isinstance(row, Unusable) else 'its label is empty'}")
            continue
        file, label = str(_path(row[FILE].strip())), row[source.label_column].strip()
        if told.setdefault(file, label) != label:
            raise DataError(
                f"--labels {given} says {told[file]!r} and {label!r} (line {at}) of {shown(file)}: keep one"
            )
    if bad and not told:
        raise DataError(f"--labels {given} holds {counted(len(bad), 'row')} and no label: {bad[0]}")
    return told

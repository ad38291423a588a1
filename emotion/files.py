"""Files that are whole or not there, and outputs that one run has to itself."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

TEXT: dict[str, Any] = {"encoding": "utf-8", "errors": "surrogateescape", "newline": ""}   # names need not be UTF-8


class BusyError(ValueError):
    """Another run is writing there."""


@contextmanager
def whole(path: str | os.PathLike, mode: str = "w", **how: Any) -> Iterator[IO]:
    """A file to write, which takes its name once the block is left without an error and all is on the disk.

    Until then it is <path>.part, and what had the name before is untouched.
    Raises: BusyError where another process writes it.
    """
    with renamed(path) as aside, open(aside, mode, **how) as file:
        yield file


@contextmanager
def renamed(path: str | os.PathLike) -> Iterator[Path]:
    """Where to write a file: <path>.part, which takes the name as in `whole`."""
    path = Path(os.path.realpath(path))   # the file that a link stands for
    aside = path.with_name(path.name + ".part")
    with alone(aside), full_disk_named(aside):
        try:
            yield aside
            with open(aside, "rb") as file:
                os.fsync(file.fileno())
            os.replace(aside, path)
        finally:
            with suppress(FileNotFoundError):
                aside.unlink()


@contextmanager
def full_disk_named(path: str | os.PathLike) -> Iterator[None]:
    """Says where there was no room, which the system leaves out."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) or error.filename is not None:
            raise
        remedy = f"{error.strerror}. Make room there and give the same command again"
        raise OSError(error.errno, remedy, os.fspath(path)) from error


def check_writable(folder: str | os.PathLike) -> None:
    """Raises: ValueError for a folder in which no file can be made, before hours of work for one."""
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ValueError(f"{folder} may not be written into. Change its permissions, or name another place.")


def check_output(path: str | os.PathLike, endings: Collection[str], because: str) -> Path:
    """The path itself. Raises: ValueError where it ends otherwise, for this reason, or no file can be made in its
    folder: before the work for one."""
    path = Path(path)
    if path.suffix.lower() not in endings:
        raise ValueError(f"{path} must end in {' or '.join(endings)}: {because}. Rename it.")
    if not path.parent.is_dir():
        raise ValueError(f"no folder {path.parent} to write {path.name} into. Make it first.")
    check_writable(path.parent)
    return path


def to_disk(file: IO) -> None:
    """Wait until what was written is on the disk, not on its way there."""
    file.flush()
    os.fsync(file.fileno())


@contextmanager
def alone(path: str | os.PathLike) -> Iterator[None]:
    """Holds a file, made if it is not there, so that a second run that asks for it is refused; a killed run lets go.

    Raises: BusyError where another process holds it.   Where the system has no such locks, nothing is held.
    """
    try:
        import fcntl
    except ModuleNotFoundError:   # Windows
        yield
        return
    with open(path, "ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BusyError(f"another run is writing {path}. Wait for its end, or give another output.") from None
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP):   # some network disks
                raise
        if not (os.path.exists(path) and os.path.samestat(os.fstat(file.fileno()), os.stat(path))):
            raise BusyError(f"another run has just finished with {path}. Start again to see what is left.")
        yield


def content(path: str | os.PathLike) -> str:
    """Sixteen hex digits of what a file holds, or all files below a folder. Raises: FileNotFoundError for neither."""
    path, digest = Path(path), hashlib.sha256()
    for file in sorted(found for found in path.rglob("*") if found.is_file()) if path.is_dir() else [path]:
        digest.update(os.fsencode(file.name) + b"\0" + file.read_bytes())
    return digest.hexdigest()[:16]

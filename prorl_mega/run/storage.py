"""Files that exist completely or not at all, also after a power cut."""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from blake3 import blake3

from prorl_mega.errors import ProRLError, StorageError

_HERE, _EXCHANGE = -100, 2  # AT_FDCWD and RENAME_EXCHANGE of renameat2(2)


def fsync_path(path: Path) -> None:
    """Force a file's content, or a directory's entries, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_durably(path: Path, text: str) -> None:
    """Replace `path` by `text`: a reader, also after a crash, sees the old content or the new one."""
    aside = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        with aside.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
    fsync_path(path.parent)


def remove_unfinished(directory: Path) -> None:
    """Delete the temporary files that a killed `write_durably` has left in `directory` and its folders."""
    for path in (*directory.glob("*.tmp"), *directory.glob("*/*.tmp")):
        if re.search(r"\.\d+\.tmp$", path.name):
            path.unlink(missing_ok=True)


def content_hash(path: Path) -> str:
    """BLAKE3 of a file's bytes, 64 hexadecimal digits."""
    with path.open("rb", buffering=0) as file:
        return hashlib.file_digest(file, blake3).hexdigest()  # type: ignore[arg-type]  # its update returns itself


def forget_cached(path: Path) -> None:
    """Ask the kernel to drop its cached copy, so that the next read comes from the disk. A hint: may have no effect."""
    with path.open("rb", buffering=0) as file, contextlib.suppress(OSError):
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def remove_tree(path: Path) -> None:
    """Delete a directory; the name disappears first, so that an interrupted deletion never looks like a checkpoint."""
    if path.name.endswith(".deleted"):
        shutil.rmtree(path)
        return
    doomed = path.with_name(f"{path.name}.deleted")
    if doomed.exists():
        shutil.rmtree(doomed)
    os.replace(path, doomed)
    shutil.rmtree(doomed)


def exchange(one: Path, other: Path) -> bool:
    """Let two directories swap their names at once. False, and nothing is done, where the file system cannot."""
    swap = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if swap is None or swap(_HERE, os.fsencode(one), _HERE, os.fsencode(other), _EXCHANGE) != 0:
        return False
    fsync_path(one.parent)
    return True


@contextlib.contextmanager
def storage_errors(
    doing: str, hint: str = "Earlier checkpoints are untouched; free space and resume."
) -> Iterator[None]:
    """Turn a failing disk (full, read-only, over quota, gone) into a `StorageError` that says what was being done, with
    a hint what to do.

    Libraries written in Rust report input/output errors as their own exceptions; these end in "(os error N)".
    """
    try:
        yield
    except ProRLError:
        raise
    except Exception as error:
        if not isinstance(error, OSError) and "(os error " not in str(error):
            raise
        raise StorageError(f"{doing} failed: {error}. {hint}") from error

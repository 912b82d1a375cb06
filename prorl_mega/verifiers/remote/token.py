"""The token of reward servers, which is kept in a file that only its owner can read, and nowhere else."""

from __future__ import annotations

import os
import re
import secrets
import stat
import tempfile
from pathlib import Path

from prorl_mega.errors import ConfigError

_TOKEN = re.compile(r"[A-Za-z0-9_-]{32,512}")


def read_token(file: str | None) -> str:
    """The token in `file`. Raises ConfigError, which never shows the file's content."""
    if not file:
        raise ConfigError(
            "tasks.token_file must be set: reward servers work for those who have its token, and nobody else"
        )
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise ConfigError(
            f"tasks.token_file={file}: {error.strerror}; a reward server makes it when it starts"
        ) from None
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid():
            raise ConfigError(f"tasks.token_file={file}: must be a file of your own")
        if found.st_mode & 0o077:
            raise ConfigError(
                f"tasks.token_file={file}: others may use it (mode {stat.S_IMODE(found.st_mode):04o}); remove it, "
                "start the server again and it makes another one, of mode 0600"
            )
        content = os.read(descriptor, 1024)
    finally:
        os.close(descriptor)
    token = content.decode("ascii", "replace").strip()
    if not _TOKEN.fullmatch(token):
        raise ConfigError(f"tasks.token_file={file}: no token; 32 or more letters, digits, '-' and '_' are one")
    return token


def obtain_token(file: str | None) -> str:
    """`read_token`, after making the file unless it is there. Servers that start together get the same token."""
    if file and not os.path.lexists(file):
        path = Path(file)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor, draft = tempfile.mkstemp(dir=path.parent, prefix=".token-")  # of mode 0600
            try:
                with open(descriptor, "w") as opened:
                    opened.write(secrets.token_urlsafe(32) + "\n")
                os.link(draft, path)  # whole or not at all, and never over another one
            except FileExistsError:
                pass
            finally:
                os.unlink(draft)
        except OSError as error:
            raise ConfigError(f"tasks.token_file={file}: cannot be made: {error.strerror}") from None
    return read_token(file)

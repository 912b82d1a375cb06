"""Refuses settings of a server to sample from that cannot work, or that would send a key where all can read it."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import SplitResult, urlsplit

from prorl_mega.config.schema import ServerConfig

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}")
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?|[0-9A-Fa-f:.]+")


def server_problems(server: ServerConfig) -> list[str]:
    """The mistakes in `evaluation.server`, with what would work. What may be a secret is not repeated."""
    problems = []
    if server.key_env is not None and not _VARIABLE.fullmatch(server.key_env):
        problems.append(
            "evaluation.server.key_env is not the name of an environment variable, as MY_KEY is; the key itself "
            "belongs into that variable and never into the settings"
        )
    if server.url is not None:
        problems += _url_problems(server.url, server.allow_http)
    return problems


def _url_problems(url: str, allow_http: bool) -> list[str]:
    parts = _split(url)
    if parts is not None and "@" in parts.netloc:
        return ["evaluation.server.url holds a password; put a key into a variable and name that in key_env"]
    if parts is None or not _HOST.fullmatch(parts.hostname or "") or parts.query or parts.fragment:
        return [f"evaluation.server.url={url[:200]!r} is no address; http://127.0.0.1:8000/v1 or https://host/v1 work"]
    if parts.scheme == "http" and not allow_http and not _is_this_machine(parts.hostname or ""):
        return [
            f"evaluation.server.url={url[:200]}: prompts, answers and the key would cross the network unencrypted; use "
            "https://, a tunnel to 127.0.0.1, or allow it with evaluation.server.allow_http=true"
        ]
    return []


def _split(url: str) -> SplitResult | None:
    """The parts of an address; None for something else."""
    if not url.isascii() or re.search(r"[\x00-\x20\x7f\\]", url):
        return None
    try:
        parts = urlsplit(url)
        port = parts.port  # raises for one that is no number, or too large
    except ValueError:
        return None
    return parts if parts.scheme in ("http", "https") and port != 0 else None


def _is_this_machine(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"

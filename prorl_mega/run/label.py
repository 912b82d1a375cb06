"""The label in the header of a checkpoint's tensor file: which file it is, and of which step.

Files of other ranks and other steps have tensors of the same names and shapes. One that stands in another's place, with
a manifest that agrees, would be loaded without a word.
"""

from __future__ import annotations

from collections.abc import Mapping

from prorl_mega.documents import brief

_KEY = "is"


def label(name: str, step: int) -> dict[str, str]:
    """Metadata for the header of the file `name` of the checkpoint after `step`.

    One entry, because safetensors writes several in an order that changes from process to process.
    """
    return {_KEY: f"{name} after step {step}"}


def mislabelled(metadata: Mapping[str, str] | None, name: str, step: int, *, must_have: bool) -> str:
    """Why a file with this metadata is not `name` after `step`, or an empty string. Files of earlier versions have no
    label, which is a fault only where they `must_have` one."""
    wanted = label(name, step)[_KEY]
    found = (metadata or {}).get(_KEY)
    if found == wanted or (found is None and not must_have):
        return ""
    return f"{name} says in its header that it is {'nothing' if found is None else brief(found)}, not {wanted!r}"

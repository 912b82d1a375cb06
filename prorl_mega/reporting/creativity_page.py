"""The page on the Creativity Index: a table, and answers with what they copied marked. One file, no network."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from prorl_mega.evaluation.creativity.comparison import CreativityGroup
from prorl_mega.evaluation.creativity.excerpt import Excerpt
from prorl_mega.evaluation.creativity.manifest import IndexManifest
from prorl_mega.run.console import printable


def creativity_page(
    groups: list[CreativityGroup], excerpts: list[Excerpt], manifest: IndexManifest, remarks: list[str]
) -> str:
    """The page as HTML. A browser runs its one script and no other, and loads nothing for it."""
    environment = Environment(
        loader=PackageLoader("prorl_mega.reporting", package_path=""),
        autoescape=True,
        finalize=_harmless,
        undefined=StrictUndefined,
    )
    script = environment.get_template("creativity_script.jinja").render()
    return environment.get_template("creativity.html.jinja").render(
        groups=groups,
        excerpts=excerpts,
        manifest=manifest,
        remarks=remarks,
        is_compared=len(groups[0].rows) > 1,
        script=Markup(script),  # of this package
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


def _harmless(value: Any) -> Any:
    """The text of a value without control characters; HTML stays as it is."""
    return value if hasattr(value, "__html__") else printable(str(value))

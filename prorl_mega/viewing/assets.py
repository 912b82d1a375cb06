"""The files that the pages are made of, by the names under which they are served: a fixed list, read once."""

from __future__ import annotations

from importlib.resources import files

from prorl_mega.viewing.server import Page

_KINDS = {"html": "text/html", "js": "text/javascript", "css": "text/css"}
_OF_KIT = ("uplot.css", "page.css", "uplot.js", "page.js", "charts.js", "scatter.js", "start.js")
_OF_VIEW = ("index.html", "view.css", "follow.js", "growing.js", "list.js", "run.js", "compare.js")


def read_assets() -> dict[str, Page]:
    """All of them, by name."""
    places = {"prorl_mega.reporting": ("assets", _OF_KIT), "prorl_mega.viewing": ("pages", _OF_VIEW)}
    return {
        name: Page((files(package) / folder / name).read_bytes(), _KINDS[name.rpartition(".")[2]])
        for package, (folder, names) in places.items()
        for name in names
    }

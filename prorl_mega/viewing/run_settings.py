"""The settings of a run as long as config.yaml stays what it is."""

from __future__ import annotations

from typing import Any

from prorl_mega.config.keys import flatten
from prorl_mega.documents import LARGEST_YAML, BrokenDocumentError, parse_yaml
from prorl_mega.errors import ConfigError
from prorl_mega.run.settings import CONFIG, checked_tree
from prorl_mega.viewing.places import Place
from prorl_mega.viewing.values import text

_MOST = 5000  # settings; a mixture of a hundred entries has a thousand
_LONGEST = 2000  # characters of a value


class RunSettings:
    """`values` by dotted keys; empty, with `fault` saying why, while the file cannot be read."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._signature: tuple[int, ...] | None = None
        self.values: dict[str, Any] = {}
        self.fault = ""

    def shown(self) -> dict[str, str]:
        """The values as people read them."""
        return {text(key): text(str(value), _LONGEST) for key, value in list(self.values.items())[:_MOST]}

    def look(self) -> None:
        signature = self._place.signature(CONFIG)
        if signature == self._signature:
            return
        self._signature, self.values, self.fault = signature, {}, ""
        try:
            if signature is not None:
                tree = parse_yaml(self._place.content(CONFIG, LARGEST_YAML))
                self.values = flatten(checked_tree(tree, self._place.path / CONFIG))
        except (OSError, BrokenDocumentError, ConfigError) as error:
            self.fault = str(error)

"""The files of settings as Hydra reads them, refused when they are not UTF-8 or would unfold into too much."""

from __future__ import annotations

from pathlib import Path

from hydra._internal.core_plugins import file_config_source
from hydra._internal.sources_registry import SourcesRegistry
from hydra.core.plugins import Plugins
from hydra.plugins.config_source import ConfigResult

from prorl_mega.documents import BrokenDocumentError, read_yaml_text
from prorl_mega.errors import ConfigError


class FileConfigSource(file_config_source.FileConfigSource):
    """Hydra's reader of files, which opens only what `prorl_mega.documents` lets through.

    It has the name of Hydra's, because the jobs of a sweep register all of Hydra's plugins once more: a reader of
    another name would be an error there, and one of the same name stays.
    """

    def load_config(self, config_path: str) -> ConfigResult:
        """Raises ConfigError that names the file."""
        path = Path(self.path) / self._normalize_file_name(config_path)
        if path.exists():
            try:
                read_yaml_text(path)
            except (BrokenDocumentError, OSError) as error:
                raise ConfigError(f"{path}: {error}") from None
        return super().load_config(config_path)


def bound_config_files() -> None:
    """Make Hydra read files in this way, in this process."""
    Plugins.instance()  # registers Hydra's own reader, which must not come later
    SourcesRegistry.instance().types[FileConfigSource.scheme()] = FileConfigSource

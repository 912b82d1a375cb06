"""The chat template of a model: what stands around a system text and a problem in the model's prompt.

transformers renders it, so that the prompt is what `apply_chat_template` makes of the same messages. Two things differ.
A template comes with a model and is not trusted: beside the sandbox that transformers renders it in, its time and what
it writes are bounded. And "today" is a setting, because a run must read the same prompts tomorrow.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping, Sequence
from typing import Any

from jinja2 import TemplateError, TemplateSyntaxError, meta, nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment

from prorl_mega.errors import ConfigError, DataError, ModelError
from prorl_mega.huggingface.tokenizer_files import TokenizerFiles
from prorl_mega.time_limit import OutOfTimeError, time_limit

_DATE = "2024-07-26"  # the default of model.chat.today
_SECONDS = 10.0  # of processor time, for one prompt
_LONGEST = 1 << 20  # characters of a template, and of what it writes around the messages
_GIVEN = {"messages", "tools", "documents", "add_generation_prompt"}
_OWN = {"strftime_now", "raise_exception", "chat_template", "conversations"}
_OWN |= {"continue_final_message", "return_assistant_tokens_mask"}
_PROBE = "\ue000SYSTEM\ue001"  # private-use characters
_GENERATION = re.compile(r"\{%[-+]?\s*(?:end)?generation\s*[-+]?%\}")  # tags that transformers adds to jinja's


class ChatTemplate:
    """A chat template with the arguments that a run gives it."""

    def __init__(self, files: TokenizerFiles, source: str, arguments: Mapping[str, Any], today: datetime.date) -> None:
        """Parse `source`, the template of `files`.

        Raises ModelError for a broken template, ConfigError for an argument that it does not read.
        """
        self._directory = files.directory
        if len(source) > _LONGEST:
            raise ModelError(f"{files.directory}: the chat template has {len(source)} characters, more than {_LONGEST}")
        self._source = source
        known = self._variables() - set(files.special_tokens)
        known = {name for name in known if not name.endswith("_token")}
        for name in arguments:
            if name not in known:
                raise ConfigError(
                    f"model.chat.arguments.{name}: the chat template of {files.directory} does not read it; "
                    f"it reads {', '.join(sorted(known)) or 'no arguments'}"
                )
        self._date = datetime.datetime.combine(today, datetime.time())
        self._values = {**files.special_tokens, **arguments, "strftime_now": self._strftime}

    def render(self, turns: Sequence[Mapping[str, str]]) -> str:
        """`turns` (role and content each) and the opening of the assistant's answer.

        Raises DataError where the template refuses the turns, ModelError where it fails otherwise.
        """
        from transformers.utils.chat_template_utils import render_jinja_template  # a second of imports

        try:
            with time_limit(_SECONDS):
                rendered, _ = render_jinja_template(
                    conversations=[[dict(each) for each in turns]],
                    chat_template=self._source,
                    add_generation_prompt=True,
                    **self._values,
                )
        except OutOfTimeError:
            raise ModelError(
                f"{self._directory}: the chat template is not done after {_SECONDS:g} s of processor time"
            ) from None
        except Exception as error:  # a template can do arithmetic with anything
            if type(error) is TemplateError:
                raise DataError(f"{self._directory}: the chat template refuses the prompt: {error}") from None
            kind = "" if isinstance(error, TemplateError) else f"{type(error).__name__}: "
            raise ModelError(f"{self._directory}: the chat template cannot be rendered: {kind}{error}") from None
        text = str(rendered[0])
        if len(text) > _LONGEST + 2 * sum(len(each["content"]) for each in turns):
            raise ModelError(f"{self._directory}: the chat template writes {len(text)} characters around a prompt")
        return text

    def system_refusal(self) -> str:
        """Why a prompt cannot have a system turn; empty if it can."""
        try:
            shown = _PROBE in self.render(messages(_PROBE, "?"))
        except DataError as error:
            return f"{error} (it was asked for a system turn and a turn of the user)"
        return "" if shown else f"the chat template of {self._directory} leaves system turns out"

    def _variables(self) -> set[str]:
        """The variables that somebody may give to the template."""
        environment = ImmutableSandboxedEnvironment(extensions=["jinja2.ext.loopcontrols"])
        try:
            tree = environment.parse(_GENERATION.sub("", self._source))
        except TemplateSyntaxError as error:
            raise ModelError(f"{self._directory}: the chat template is broken, line {error.lineno}: {error}") from None
        if tree.find(nodes.Pow):
            raise ModelError(f"{self._directory}: the chat template raises to a power, which could take for ever")
        return meta.find_undeclared_variables(tree) - set(environment.globals) - _GIVEN - _OWN

    def _strftime(self, pattern: str) -> str:
        return self._date.strftime(pattern)


def read_chat_template(
    files: TokenizerFiles, *, system: str | None = None, arguments: Mapping[str, Any] | None = None, today: str = _DATE
) -> ChatTemplate | None:
    """The chat template of a directory for the settings of `model.chat`, or None if it has none.

    Raises ConfigError for settings that it cannot take, ModelError for a broken template.
    """
    try:
        date = datetime.date.fromisoformat(today)
    except ValueError:
        raise ConfigError(f"model.chat.today={today!r} is not a date such as {_DATE}") from None
    source = files.chat_template()
    if source is not None:
        template = ChatTemplate(files, source, arguments or {}, date)
        if system is not None and (refusal := template.system_refusal()):
            raise ConfigError(f"model.chat.system: {refusal}; leave the setting out")
        return template
    for key, value in (("system", system), ("arguments", arguments)):
        if value:
            raise ConfigError(f"model.chat.{key} is for a chat template, and {files.directory} has none; leave it out")
    return None


def messages(*turns: str) -> list[dict[str, str]]:
    """The turns with their roles: the user's, or the system's and the user's."""
    roles = ("system", "user")[-len(turns) :]
    return [{"role": role, "content": text} for role, text in zip(roles, turns, strict=True)]

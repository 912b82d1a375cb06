"""The chat template of a model: what stands around a system text and a problem in the model's prompt.

transformers renders it, so that the prompt is what `apply_chat_template` makes of the same messages. Two things differ.
A template comes with a model and is not trusted: beside the sandbox that transformers renders it in, its time and what
it writes are bounded. And "today" is a setting, because a run must read the same prompts tomorrow.
"""

from __future__ import annotations

import datetime
import re
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn

from jinja2 import TemplateError, TemplateSyntaxError, meta
from jinja2.sandbox import ImmutableSandboxedEnvironment

from prorl_mega.errors import ConfigError, DataError, ModelError
from prorl_mega.huggingface.tokenizer_files import TokenizerFiles

TODAY = "2024-07-26"  # what Llama 3's template falls back to
_SECONDS = 10.0  # for one prompt
_LONGEST = 1 << 20  # characters of a template, and of what it writes around the messages
_GIVEN = {"messages", "tools", "documents", "add_generation_prompt"}
_OWN = {"strftime_now", "raise_exception", "chat_template", "conversations"}
_OWN |= {"continue_final_message", "return_assistant_tokens_mask"}
_GENERATION = re.compile(r"\{%([-+]?)\s*(?:end)?generation\s*([-+]?)%\}")


class ChatTemplate:
    """A chat template with the arguments that a run gives it."""

    def __init__(self, files: TokenizerFiles, source: str, arguments: Mapping[str, Any], today: str) -> None:
        """Parse `source`, the template of `files`.

        Raises ModelError for a broken template, ConfigError for an argument that it does not have or another date
        than one like 2024-07-26.
        """
        self._directory = files.directory
        if len(source) > _LONGEST:
            raise ModelError(f"{files.directory}: the chat template has {len(source)} characters, more than {_LONGEST}")
        self._source = source
        _check_arguments(arguments, self._variables() - set(files.special_tokens), files)
        self._date = _parsed_date(today)
        self._values = {**files.special_tokens, **arguments, "strftime_now": self._strftime}

    def render(self, messages: Sequence[Mapping[str, str]]) -> str:
        """`messages` (role and content each) and the opening of the assistant's answer.

        Raises DataError where the template refuses the messages, ModelError where it fails otherwise.
        """
        from transformers.utils.chat_template_utils import render_jinja_template  # a second of imports

        try:
            with _at_most(_SECONDS):
                rendered, _ = render_jinja_template(
                    conversations=[[dict(each) for each in messages]],
                    chat_template=self._source,
                    add_generation_prompt=True,
                    **self._values,
                )
        except Exception as error:  # a template can do arithmetic with anything
            if type(error) is TemplateError:
                raise DataError(f"{self._directory}: the chat template refuses the prompt: {error}") from None
            kind = "" if isinstance(error, TemplateError) else f"{type(error).__name__}: "
            raise ModelError(f"{self._directory}: the chat template cannot be rendered: {kind}{error}") from None
        text = str(rendered[0])
        if len(text) > _LONGEST + 2 * sum(len(each["content"]) for each in messages):
            raise ModelError(f"{self._directory}: the chat template writes {len(text)} characters around a prompt")
        return text

    def _variables(self) -> set[str]:
        """The variables that somebody may give to the template."""
        environment = ImmutableSandboxedEnvironment(extensions=["jinja2.ext.loopcontrols"])
        try:
            tree = environment.parse(_GENERATION.sub(r"{%\1 if true \2%}{%\1 endif \2%}", self._source))
        except TemplateSyntaxError as error:
            raise ModelError(f"{self._directory}: the chat template is broken, line {error.lineno}: {error}") from None
        return meta.find_undeclared_variables(tree) - set(environment.globals) - _GIVEN - _OWN

    def _strftime(self, pattern: str) -> str:
        return self._date.strftime(pattern)


def read_chat_template(files: TokenizerFiles, arguments: Mapping[str, Any], today: str) -> ChatTemplate | None:
    """The chat template of a directory, or None. Raises ConfigError for `arguments` that nothing would read."""
    source = files.chat_template()
    if source is not None:
        return ChatTemplate(files, source, arguments, today)
    if arguments:
        raise ConfigError(
            f"model.chat.arguments: {', '.join(arguments)} would go to a chat template, and {files.directory} has "
            "none; leave them out"
        )
    return None


def _check_arguments(arguments: Mapping[str, Any], known: set[str], files: TokenizerFiles) -> None:
    works = f"it reads {', '.join(sorted(known))}" if known else "it reads none"
    for name in arguments:
        if name not in known:
            raise ConfigError(
                f"model.chat.arguments.{name}: the chat template of {files.directory} does not read it; {works}"
            )


def _parsed_date(today: str) -> datetime.datetime:
    try:
        return datetime.datetime.combine(datetime.date.fromisoformat(today), datetime.time())
    except ValueError:
        raise ConfigError(f"model.chat.today={today!r} is not a date such as {TODAY}") from None


@contextmanager
def _at_most(seconds: float) -> Iterator[None]:
    """Raise TimeoutError when the block takes longer. Only the main thread can be interrupted."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(*_: object) -> NoReturn:
        raise TimeoutError(f"not done after {seconds:g} s")

    handler = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)

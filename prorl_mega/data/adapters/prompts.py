"""The prompt of a row under any of its usual names, as text or as messages, and what every kind of row may have."""

from __future__ import annotations

from typing import Any

from prorl_mega.data.adapters.schema import Names, chosen, first, with_known
from prorl_mega.data.canonical import Fields
from prorl_mega.data.rows import BadRowError, OtherDomainError

PROMPTS: Names = (
    "prompt", "responses_create_params.input", "problem", "question", "Problem", "Question", "problem_text",
    "question_text", "problem_statement", "question_content", "problem_description", "description", "query", "quiz",
    "instruction", "messages", "conversations", "text", "input",
)  # fmt: skip
SYSTEMS: Names = ("system", "responses_create_params.instructions")
CONTEXTS: Names = ("context", "passage", "Body", "body")
IDS: Names = ("unique_id", "id", "ID", "problem_idx", "idx", "task_id", "question_id", "uuid", "Record ID")
_IMAGES: Names = ("image", "images", "Picture", *(f"image_{number}" for number in range(1, 6)))
_ROLES = {"human": "user", "developer": "system", "gpt": "assistant", "model": "assistant"}


def asked(fields: Fields, *names: str) -> Fields:
    """`prompt`, `system`, `id` and `level` of a row; the prompt is one of `names`, by default of `PROMPTS`."""
    if fields.get("modality") == "Multimodal" or first(fields, *_IMAGES) not in (None, [], "None", "NONE", "none"):
        raise OtherDomainError("needs an image")
    name, found = chosen(fields, *(names or PROMPTS))
    system, prompt = message(found, name)
    context = first(fields, *CONTEXTS)
    if isinstance(context, str) and context.strip() not in prompt and isinstance(found, str):
        prompt = f"{context}\n\n{prompt}"
    identifier = first(fields, *IDS)
    return with_known(
        prompt=prompt,
        system=system or first(fields, *SYSTEMS),
        id=identifier if isinstance(identifier, str | int | float) else None,
        level=first(fields, "level"),
    )


def message(messages: Any, name: str) -> tuple[str | None, str]:
    """System turn, if there is one, and the user's text of a conversation of one turn."""
    if isinstance(messages, str):
        return None, messages
    if not isinstance(messages, list) or not all(isinstance(each, dict) for each in messages):
        raise BadRowError(f"wrong {name}", f"field {name!r} must be text or a list of messages")
    turns = [(_role(each), _content(each)) for each in messages]
    users = [text for role, text in turns if role == "user"]
    others = [role for role, _ in turns if role not in ("user", "system")]
    if len(users) != 1 or others or not users[0]:
        raise BadRowError(f"wrong {name}", f"field {name!r} must hold one message of the user, and no answers")
    system = "\n\n".join(text for role, text in turns if role == "system" and text and text.strip())
    return system or None, users[0]


def _role(turn: Fields) -> str:
    role = str(turn.get("role", turn.get("from")))
    return _ROLES.get(role, role)


def _content(turn: Fields) -> str | None:
    """The text of a message, whose content may be a list of parts."""
    content = turn.get("content", turn.get("value"))
    if isinstance(content, list) and all(isinstance(part, dict) for part in content):
        if any("image" in str(part.get("type")) for part in content):
            raise OtherDomainError("needs an image")
        content = "".join(str(part.get("text") or "") for part in content)
    return content if isinstance(content, str) else None

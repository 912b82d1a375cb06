"""The protocol of reward servers and their clients: JSON that is read into the types below, and nothing else.

    GET /tasks    → TasksReply
    POST /score   ScoreRequest → ScoreReply

Requests and replies are signed with the token, which itself never travels: a client without it is not served, and a
program that impersonates a server is not believed. A request has the header

    Authorization: PRORL NONCE SHA256-OF-BODY HMAC

and a reply is the HMAC of nonce and content, a line break, the content. While verifiers are at work, the reply to
`POST /score` begins with a blank every `BEAT_S` seconds, so silence means that the server is gone. An error is
`{"error": TEXT}`, unsigned. A request that is sent twice is scored twice, which changes nothing. Peers of another
version have another digest of the code, which is compared before anything else is read.
"""

from __future__ import annotations

import hmac
import json
import secrets
from hashlib import blake2b, sha256
from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta, Struct, convert, structs

from prorl_mega.config.schema import TasksConfig
from prorl_mega.sandbox.channel import BrokenMessageError, dump, load
from prorl_mega.tasks import extension
from prorl_mega.types import Scoring, Verdict
from prorl_mega.verifiers.messages import AnswerMessage, VerdictMessage

BEAT_S = 2.0
MAX_ANSWERS = 64  # of one request
CODE = "the code of the tasks"  # among the entries
_SCHEME = "PRORL"
_Count = Annotated[int, Meta(ge=0)]
_Positive = Annotated[int, Meta(ge=1)]


class Claim(Struct):
    """The part of a message that says which tasks the peer has, whatever else its version sends."""

    entries: dict[str, str] | str | None = None


class TasksReply(Struct, forbid_unknown_fields=True):
    """The tasks of a server (digests by entry), and how much it takes at a time."""

    entries: dict[str, str]
    workers: _Positive
    max_bytes: _Positive  # of one request


class ScoreRequest(Struct, forbid_unknown_fields=True):
    """Answers to be scored; `entries` is the `summary` of the entries that the client expects."""

    entries: str
    answers: Annotated[list[AnswerMessage], Meta(min_length=1, max_length=MAX_ANSWERS)]


class ScoringCounts(Struct, forbid_unknown_fields=True):
    """The counts that the client adds to its own `Scoring`."""

    retries: _Count
    timeouts: _Count
    crashes: _Count
    started: _Count


class ScoreReply(Struct, forbid_unknown_fields=True):
    """One verdict for each answer, in their order."""

    verdicts: list[VerdictMessage]
    scoring: ScoringCounts


class ErrorReply(Struct):
    """An error in place of a reply, unsigned."""

    error: str


def sign_request(token: str, method: str, path: str, body: bytes) -> tuple[str, str]:
    """The header `Authorization` and the nonce in it."""
    nonce, digest = secrets.token_hex(16), sha256(body).hexdigest()
    return f"{_SCHEME} {nonce} {digest} {_sign(token, 'request', method, path, nonce, digest)}", nonce


def check_request(token: str, method: str, path: str, header: str) -> tuple[str, str] | None:
    """The nonce and the body's digest; None for a header that was not made with this token for this method and path."""
    _, nonce, digest = (*header.split(" "), "", "", "")[:3]
    expected = f"{_SCHEME} {nonce} {digest} {_sign(token, 'request', method, path, nonce, digest)}"
    is_signed = hmac.compare_digest(_bytes(header), _bytes(expected))  # takes the same time for all
    return (nonce, digest) if is_signed else None


def seal(token: str, nonce: str, content: bytes) -> bytes:
    """A signed reply."""
    return _sign(token, "reply", nonce, content).encode() + b"\n" + content


def unseal(token: str, nonce: str, reply: bytes) -> bytes:
    """The content of a reply to the request with `nonce`. Raises BrokenMessageError."""
    mac, _, content = reply.partition(b"\n")
    if not hmac.compare_digest(mac, _sign(token, "reply", nonce, content).encode()):
        raise BrokenMessageError("its reply is not signed with the token: another program may have taken its place")
    return content


def digests(tasks: TasksConfig) -> dict[str, str]:
    """Digests that must agree on both sides for equal verdicts: of name and options by entry, and of the code.

    Raises ConfigError for a module of the user's that cannot be loaded.
    """
    found = {entry: _digest([each.name, each.options]) for entry, each in tasks.mixture.items()}
    code = blake2b(digest_size=8)
    modules = [Path(module.__file__ or __file__) for module in extension.load(tasks.modules, "tasks.modules")]
    package = Path(__file__).parents[2]
    folders = [package / name for name in ("tasks", "verifiers", "sandbox")]
    for file in [*sorted(file for folder in folders for file in folder.rglob("*.py")), *modules]:
        code.update(file.read_bytes())
    return found | {CODE: code.hexdigest()}


def compare(ours: dict[str, str], theirs: object) -> str:
    """The differences in words; an empty string when there are none."""
    if not isinstance(theirs, dict):
        return "it does not say what it scores"
    if theirs.get(CODE) != ours[CODE]:
        return "its code is of another version"
    parts = {
        "it has other options for": [name for name in ours if name in theirs and ours[name] != theirs[name]],
        "it does not have": ours.keys() - theirs.keys(),
        "only it has": theirs.keys() - ours.keys(),
    }
    return "; ".join(f"{text} {', '.join(sorted(names))}" for text, names in parts.items() if names)


def summary(entries: dict[str, str]) -> str:
    """One digest of all entries."""
    return _digest(entries)


def read_request(body: bytes, digest: str, entries: dict[str, str]) -> ScoreRequest:
    """The request in `body`. Raises BrokenMessageError."""
    if not hmac.compare_digest(sha256(body).hexdigest(), digest):
        raise BrokenMessageError("the body is not the one that was signed")
    if load(body, Claim).entries != summary(entries):
        raise BrokenMessageError(
            "the settings or the code of this server's tasks are not those of the client: see GET /tasks"
        )
    request = load(body, ScoreRequest)
    for answer in request.answers:
        if answer.problem.task not in entries or answer.problem.task == CODE:
            raise BrokenMessageError(f"no entry {answer.problem.task[:100]!r}")
    return request


def encode_reply(request: ScoreRequest, verdicts: list[Verdict], scoring: Scoring) -> bytes:
    messages = [
        VerdictMessage(answer.id, verdict.reward, verdict.outcome, verdict.detail, verdict.found, verdict.answer)
        for answer, verdict in zip(request.answers, verdicts, strict=True)
    ]
    return dump(ScoreReply(messages, convert(scoring, ScoringCounts, from_attributes=True)))


def read_reply(content: bytes, ids: list[int]) -> tuple[list[Verdict], Scoring]:
    """The verdicts on the answers with these ids, in order, and the counts of scoring. Raises BrokenMessageError."""
    reply = load(content, ScoreReply)
    if [verdict.id for verdict in reply.verdicts] != ids:
        raise BrokenMessageError(f"{len(reply.verdicts)} verdicts that are not those about the {len(ids)} answers")
    return [each.verdict() for each in reply.verdicts], Scoring(**structs.asdict(reply.scoring))


def _sign(token: str, *parts: str | bytes) -> str:
    """The HMAC-SHA256 of the parts, each preceded by its length."""
    mac = hmac.new(token.encode(), digestmod=sha256)
    for part in map(_bytes, parts):
        mac.update(b"%d:" % len(part) + part)
    return mac.hexdigest()


def _bytes(part: str | bytes) -> bytes:
    return part.encode("utf-8", "surrogateescape") if isinstance(part, str) else part


def _digest(content: Any) -> str:
    return blake2b(json.dumps(content, sort_keys=True, default=str).encode(), digest_size=8).hexdigest()

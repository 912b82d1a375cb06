"""What reward servers and their clients say to each other: JSON, nothing else, and nothing that could be run.

    GET /tasks    → {"entries": {NAME: DIGEST}, "workers": N, "max_bytes": N}
    POST /score   {"entries": DIGEST, "answers": [{"id": I, "problem": {...}, "answer": TEXT}]}
                  → {"verdicts": [{"id": I, "reward": R, "outcome": O, "detail": TEXT}], "scoring": {...}}

Requests and replies are signed with the token, which itself never travels: neither a client without it is served, nor
is a program believed that has taken the place of a server. A request has the header

    Authorization: PRORL NONCE SHA256-OF-BODY HMAC

and a reply is the HMAC of nonce and content, a line break, the content. Replies to the second begin with blanks, one
every `BEAT_S` seconds while verifiers are at work, so that silence means that the server is gone. An error is
`{"error": TEXT}`, unsigned. A request that is sent twice is scored twice, which changes nothing.
"""

from __future__ import annotations

import hmac
import json
import secrets
from dataclasses import dataclass
from hashlib import blake2b, sha256
from pathlib import Path
from typing import Any

from prorl_mega.config.schema import TasksConfig
from prorl_mega.sandbox.channel import BrokenMessageError, read_object
from prorl_mega.tasks import extension
from prorl_mega.tasks.extract import MAX_TEXT
from prorl_mega.types import Problem, Scoring, Verdict
from prorl_mega.verifiers.batch import Job, read_verdict

BEAT_S = 2.0
MAX_ANSWERS = 64  # of one request
CODE = "the code of the tasks"  # among the entries
_SCHEME = "PRORL"
_COUNTS = ("retries", "timeouts", "crashes", "started")


@dataclass(kw_only=True, slots=True, frozen=True)
class Signed:
    """What the header of a request says, when it is right."""

    nonce: str
    digest: str  # of the body, in hexadecimal digits


def sign_request(token: str, method: str, path: str, body: bytes) -> tuple[str, str]:
    """The header `Authorization` and the nonce in it."""
    nonce, digest = secrets.token_hex(16), sha256(body).hexdigest()
    return f"{_SCHEME} {nonce} {digest} {_sign(token, 'request', method, path, nonce, digest)}", nonce


def check_request(token: str, method: str, path: str, header: str) -> Signed | None:
    """None for a header that was not made with this token for this method and path. Needs the same time for all."""
    _, nonce, digest = (*header.split(" "), "", "", "")[:3]
    expected = f"{_SCHEME} {nonce} {digest} {_sign(token, 'request', method, path, nonce, digest)}"
    if not hmac.compare_digest(header.encode("utf-8", "surrogateescape"), expected.encode("utf-8", "surrogateescape")):
        return None
    return Signed(nonce=nonce, digest=digest)


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
    """What has to be equal on both sides for equal verdicts: of every entry name and options, and the code.

    Raises ConfigError for a module of the user's that cannot be loaded.
    """
    found = {entry: _digest([each.name, each.options]) for entry, each in tasks.mixture.items()}
    code = blake2b(digest_size=8)
    modules = [Path(module.__file__ or __file__) for module in extension.load(tasks.modules, "tasks.modules")]
    for file in [*sorted(Path(__file__).parent.rglob("*.py")), *modules]:
        code.update(file.read_bytes())
    return found | {CODE: code.hexdigest()}


def compare(ours: dict[str, str], theirs: Any) -> str:
    """What is different, in words; an empty string when nothing is."""
    if not isinstance(theirs, dict):
        return "it does not say what it scores"
    if theirs.get(CODE) != ours[CODE]:
        return "its code is of another version"
    missing = sorted(ours.keys() - theirs.keys())
    unknown = sorted(map(str, theirs.keys() - ours.keys()))
    other = sorted(name for name in ours.keys() & theirs.keys() if ours[name] != theirs[name])
    parts = {"it has other options for": other, "it does not have": missing, "only it has": unknown}
    return "; ".join(f"{text} {', '.join(names)}" for text, names in parts.items() if names)


def summary(entries: dict[str, str]) -> str:
    """One digest of all."""
    return _digest(entries)


def encode_request(entries: str, jobs: list[bytes]) -> bytes:
    """The body of a request; `jobs` are encoded answers."""
    return b'{"entries": %s, "answers": [%s]}' % (json.dumps(entries).encode(), b", ".join(jobs))


def encode_job(job: Job) -> bytes:
    return json.dumps(job.message).encode("ascii")


def read_request(body: bytes, digest: str, entries: dict[str, str]) -> list[tuple[int, Problem, str]]:
    """(id, problem, answer) of each. Raises BrokenMessageError."""
    if not hmac.compare_digest(sha256(body).hexdigest(), digest):
        raise BrokenMessageError("the body is not the one that was signed")
    message = read_object(body)
    if message.get("entries") != summary(entries):
        raise BrokenMessageError(
            "the settings or the code of this server's tasks are not those of the client: see GET /tasks"
        )
    answers = message.get("answers")
    if not isinstance(answers, list) or not 1 <= len(answers) <= MAX_ANSWERS:
        raise BrokenMessageError(f"answers: must be a list of 1 to {MAX_ANSWERS}")
    return [_read_answer(each, entries) for each in answers]


def encode_reply(ids: list[int], verdicts: list[Verdict], scoring: Scoring) -> bytes:
    return json.dumps(
        {
            "verdicts": [
                {"id": index, "reward": verdict.reward, "outcome": verdict.outcome.value, "detail": verdict.detail}
                for index, verdict in zip(ids, verdicts, strict=True)
            ],
            "scoring": {name: getattr(scoring, name) for name in _COUNTS},
        }
    ).encode("ascii")


def read_reply(message: dict[str, Any], jobs: list[Job]) -> tuple[list[Verdict], Scoring]:
    """One verdict per job, in their order, and what it took. Raises BrokenMessageError."""
    verdicts, counts = message.get("verdicts"), message.get("scoring")
    if not isinstance(verdicts, list) or not all(isinstance(each, dict) for each in verdicts):
        raise BrokenMessageError("no list of verdicts")
    if [each.get("id") for each in verdicts] != [job.index for job in jobs]:
        raise BrokenMessageError(f"{len(verdicts)} verdicts that are not those about the {len(jobs)} answers")
    if not isinstance(counts, dict) or not all(isinstance(counts.get(name), int) for name in _COUNTS):
        raise BrokenMessageError("no counts")
    return [read_verdict(each) for each in verdicts], Scoring(**{name: counts[name] for name in _COUNTS})


def _read_answer(answer: Any, entries: dict[str, str]) -> tuple[int, Problem, str]:
    problem = answer.get("problem") if isinstance(answer, dict) else None
    if not isinstance(problem, dict) or problem.keys() != {"key", "task", "prompt", "entry"}:
        raise BrokenMessageError("an answer must have an id, a problem and a text")
    texts = (problem["key"], problem["task"], problem["prompt"], answer.get("answer"))
    if not all(isinstance(text, str) for text in texts) or not isinstance(problem["entry"], dict):
        raise BrokenMessageError("a problem has texts and an entry, an answer is a text")
    if type(answer.get("id")) is not int or len(texts[3]) > MAX_TEXT:
        raise BrokenMessageError(f"an id is a number, a text has at most {MAX_TEXT} characters")
    if problem["task"] not in entries or problem["task"] == CODE:
        raise BrokenMessageError(f"no entry {problem['task'][:100]!r}")
    return answer["id"], Problem(**problem), texts[3]


def _sign(token: str, *parts: str | bytes) -> str:
    """HMAC-SHA256 of the parts, of which none can be taken for two."""
    mac = hmac.new(token.encode(), digestmod=sha256)
    for part in parts:
        data = part.encode("utf-8", "surrogateescape") if isinstance(part, str) else part
        mac.update(b"%d:" % len(data) + data)
    return mac.hexdigest()


def _digest(content: Any) -> str:
    return blake2b(json.dumps(content, sort_keys=True, default=str).encode(), digest_size=8).hexdigest()

"""A PTX kernel as text becomes a list of instructions whose registers and constants are numbered slots."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

LABEL = re.compile(r"\s*([$\w]+):(?!:)")
INSTRUCTION = re.compile(r"(?:@(!?)([%\w]+)\s+)?([a-z][\w.:]*)\s*(.*)", re.DOTALL)
OPERAND = re.compile(r"\s*(\{[^{}]*\}|\[[^\[\]]*\]|[^,\s][^,]*)")


@dataclass(kw_only=True, slots=True, frozen=True)
class Instruction:
    opcode: str
    operands: tuple[str, ...]
    guard: str | None  # a predicate register
    unless: bool  # the guard is negated
    line: int  # of the text


@dataclass(kw_only=True, slots=True)
class Program:
    name: str
    parameters: list[str]  # types: u32, u64, f32, b8
    threads: int
    instructions: list[Instruction]
    labels: dict[str, int] = field(default_factory=dict)  # of the instruction that follows


def parse(text: str) -> Program:
    """The only entry of a module as Triton writes it."""
    entry = re.search(r"\.visible \.entry (\w+)\((.*?)\)\s*\.reqntid (\d+)", text, re.DOTALL)
    assert entry, "no entry with .reqntid"
    parameters = re.findall(r"\.param (?:\.align \d+ )?\.(\w+)[^,\n]*param_\d+", entry[2])
    program = Program(name=entry[1], parameters=parameters, threads=int(entry[3]), instructions=[])
    start = text.index("{", entry.end())
    _body(program, text[start + 1 :], text[: start + 1].count("\n") + 1)
    return program


def _body(program: Program, text: str, line: int) -> None:
    """Statements end in `;`, labels in `:`; labels and registers of an inner block are renamed after the block."""
    scopes: list[int] = []
    blocks = 0
    for statement in re.split(r"(;|\{(?=\s*(?:\n|\.reg))|^\s*\}|^\s*[$\w]+:(?!:))", _plain(text), flags=re.MULTILINE):
        line += statement.count("\n")
        word = statement.strip()
        if word == "{":
            blocks += 1
            scopes.append(blocks)
        elif word == "}":
            if not scopes:
                return
            scopes.pop()
        elif LABEL.fullmatch(statement):
            program.labels[_scoped(word[:-1], scopes)] = len(program.instructions)
        elif word and word != ";" and not word.startswith("."):
            program.instructions.append(_instruction(word, scopes, line))


def _plain(text: str) -> str:
    """Without comments and without directives that stand on a line of their own; lines keep their numbers."""
    text = re.sub(r"//[^\n]*", "", text)
    return re.sub(r"^\s*\.(loc|pragma|file|section)\b[^\n]*", "", text, flags=re.MULTILINE)


def _instruction(word: str, scopes: list[int], line: int) -> Instruction:
    match = INSTRUCTION.fullmatch(word)
    assert match, f"line {line}: cannot read {word!r}"
    negated, guard, opcode, rest = match.groups()
    operands = tuple(_scoped(operand.strip(), scopes) for operand in OPERAND.findall(rest))
    return Instruction(
        opcode=opcode,
        operands=operands,
        guard=None if guard is None else _scoped(guard, scopes),
        unless=negated == "!",
        line=line,
    )


def _scoped(name: str, scopes: list[int]) -> str:
    """Names without a sigil are local to the block in which inline assembly declares them."""
    local = scopes and re.fullmatch(r"[a-zA-Z]\w*", name) and "param" not in name and name != "global_smem"
    return f"{name}.{scopes[-1]}" if local else name

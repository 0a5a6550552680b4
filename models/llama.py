"""Llama's decoding on a CPU, without what makes a small model wait for Python.

`transformers` spends a millisecond a token on masks, cache classes and hooks, whatever the size;
the demo's policy needs a tenth of that for its arithmetic. Here rows lie in one preallocated cache,
each from its first column on, so that nothing is padded, copied or masked anew as rows join and
leave. The weights are the model's own tensors: what trains them changes what is sampled.

A row's numbers do not depend on its neighbours: prompts attend alone, and products of four rows and
more are computed row by row in one order (MKL's kernels for fewer rows are others). Other machines
may do otherwise: `is_row_exact` finds out.
"""

# N rows under way, T tokens of one call, H heads, K key-value heads, G heads to each of them,
# D width of a head, C columns of the cache, L columns in use, V vocabulary, W width of the model

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, pad, rms_norm, scaled_dot_product_attention

from models.lean import lean_imports

with lean_imports():
    from transformers import LlamaForCausalLM, PreTrainedModel
    from transformers.models.llama.modeling_llama import LlamaDecoderLayer

ROWS_MIN = 4
"""Products of fewer rows are padded to so many."""
COLUMNS_STEP = 32
"""The columns in use are rounded up to a multiple of this: a sum over masked columns adds nothing,
but its order must not change with the longest row."""
ROWS_FIRST, COLUMNS_FIRST = 8, 96
"""Size of a new cache; it doubles as needed."""
STATIC_ROPE = ("default", "linear", "llama3", "yarn")
"""Rotary embeddings whose angles depend on the position alone."""
Attend = Callable[[int, Tensor, Tensor, Tensor], Tensor]


@dataclass(frozen=True, slots=True)
class Projection:
    """One of the model's linear layers."""

    weight: Tensor
    bias: Tensor | None

    @classmethod
    def of(cls, layer: nn.Linear) -> "Projection":
        return cls(layer.weight, layer.bias)

    def __call__(self, x: Tensor) -> Tensor:
        return linear(x, self.weight, self.bias)


@dataclass(frozen=True, slots=True)
class Layer:
    """The weights of one layer."""

    norm_in: Tensor
    query: Projection
    key: Projection
    value: Projection
    out: Projection
    norm_mlp: Tensor
    gate: Projection
    up: Projection
    down: Projection
    act: nn.Module


def is_plain_llama(model: PreTrainedModel) -> bool:
    """Whether it is transformers' own Llama, in float32 on a CPU, without adapters or hooks."""
    if type(model) is not LlamaForCausalLM or model.device.type != "cpu":
        return False
    config = model.config
    rope_type = (config.rope_parameters or {}).get("rope_type", "default")
    is_dropping = model.training and bool(config.attention_dropout)
    if rope_type not in STATIC_ROPE or is_dropping:
        return False
    modules = list(model.modules())
    layers = [module for module in modules if isinstance(module, nn.Linear)]
    return (
        all(type(layer) is nn.Linear for layer in layers)
        and len(layers) == 7 * config.num_hidden_layers + 1
        and not any(module._forward_hooks or module._forward_pre_hooks for module in modules)
        and all(weight.dtype == torch.float32 for weight in model.parameters())
    )


class LlamaDecoder:
    """Rows of one Llama under way."""

    can_join = True

    def __init__(self, model: LlamaForCausalLM) -> None:
        config = model.config
        self._layers = [_layer(layer) for layer in model.model.layers]
        self._embedding: Tensor = model.model.embed_tokens.weight
        self._norm, self._epsilon = model.model.norm.weight, config.rms_norm_eps
        self._head = Projection.of(model.lm_head)
        self._rotary = model.model.rotary_emb
        self._width = model.model.layers[0].self_attn.head_dim
        self._num_heads = config.num_attention_heads
        self._num_kv = config.num_key_value_heads or config.num_attention_heads
        self._scale = self._width**-0.5
        self._lengths: list[int] = []
        """Columns of each row that are taken."""
        self._caches: list[tuple[Tensor, Tensor]] = []
        """Keys and values of each layer, (rows · K)CD."""
        self._num_rows = self._num_columns = 0
        self._cos_CD = self._sin_CD = torch.zeros(0, self._width)

    def join(self, prompts: Sequence[list[int]]) -> Tensor:
        """The same prompt is computed once, however many rows begin with it."""
        first = len(self._lengths)
        self._make_room(first + len(prompts), max(map(len, prompts)))
        self._lengths += map(len, prompts)
        places: dict[tuple[int, ...], list[int]] = {}
        for place, prompt in enumerate(prompts):
            places.setdefault(tuple(prompt), []).append(place)
        starts, ids, positions = [0], list[int](), list[int]()
        for begun in places:
            ids += begun
            positions += range(len(begun))
            starts.append(len(ids))
        num_padding = max(0, ROWS_MIN - len(ids))
        rows = [[first + place for place in found] for found in places.values()]
        spans = list(zip(starts[:-1], starts[1:], rows, strict=True))

        def attend(number: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
            out_THD = torch.zeros_like(query)
            for start, end, into in spans:
                self._write(number, into, key[start:end], value[start:end])
                out_HTD = scaled_dot_product_attention(
                    query[start:end].transpose(0, 1)[None],
                    key[start:end].transpose(0, 1)[None],
                    value[start:end].transpose(0, 1)[None],
                    is_causal=True,
                    scale=self._scale,
                    enable_gqa=self._num_kv != self._num_heads,
                )
                out_THD[start:end] = out_HTD[0].transpose(0, 1)
            return out_THD

        hidden_TW = self._forward(ids + [0] * num_padding, positions + [0] * num_padding, attend)
        logits_PV = self._logits(hidden_TW[[end - 1 for end in starts[1:]]])
        number_of = {begun: number for number, begun in enumerate(places)}
        return logits_PV[[number_of[tuple(prompt)] for prompt in prompts]]

    def step(self, tokens: Sequence[int]) -> Tensor:
        num = len(tokens)
        assert num == len(self._lengths), f"{num} tokens for {len(self._lengths)} rows"
        # The rows that pad the product write to the places behind, which nobody reads.
        num_padding = max(0, ROWS_MIN - num)
        self._make_room(num + num_padding, max(self._lengths) + 1)
        positions = self._lengths + [0] * num_padding
        self._lengths = [length + 1 for length in self._lengths]
        columns = min(-(-max(self._lengths) // COLUMNS_STEP) * COLUMNS_STEP, self._num_columns)
        num_all, num_kv, width = num + num_padding, self._num_kv, self._width
        position_N = torch.tensor(positions)
        is_out_NL = torch.arange(columns) > position_N[:, None]
        mask_NL = torch.zeros(num_all, columns).masked_fill_(is_out_NL, -torch.inf)
        mask_R1L = mask_NL.repeat_interleave(num_kv, 0)[:, None]
        row_R = torch.arange(num_all * num_kv) * self._num_columns
        place_R = row_R + position_N.repeat_interleave(num_kv)

        def attend(number: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
            keys_RCD, values_RCD = self._caches[number]
            keys_RCD.view(-1, width).index_copy_(0, place_R, key.reshape(-1, width))
            values_RCD.view(-1, width).index_copy_(0, place_R, value.reshape(-1, width))
            scores_RGL = torch.baddbmm(
                mask_R1L,
                query.reshape(num_all * num_kv, -1, width),
                keys_RCD[: num_all * num_kv, :columns].transpose(1, 2),
                alpha=self._scale,
            )
            p_RGL = scores_RGL.softmax(-1)
            return torch.bmm(p_RGL, values_RCD[: num_all * num_kv, :columns])

        hidden_NW = self._forward([*tokens, *[0] * num_padding], position_N, attend)
        return self._logits(hidden_NW)[:num]

    def keep(self, order: Sequence[int]) -> None:
        moved = [(old, new) for new, old in enumerate(order) if old != new]
        self._lengths = [self._lengths[old] for old in order]
        if not order:
            self._caches, self._num_rows, self._num_columns = [], 0, 0
        elif moved:
            longest = max(self._lengths)
            old, new = (torch.tensor(rows) for rows in zip(*moved, strict=True))
            for states in self._caches:
                for cache_RCD in states:
                    cache_NKCD = cache_RCD.view(self._num_rows, self._num_kv, -1, self._width)
                    cache_NKCD[new, :, :longest] = cache_NKCD[old, :, :longest]

    def _forward(self, ids: list[int], positions: list[int] | Tensor, attend: Attend) -> Tensor:
        """The states of each token behind the last layer."""
        position_T = torch.as_tensor(positions)
        x_TW: Tensor = self._embedding[torch.tensor(ids)]
        cos_T1D, sin_T1D = self._cos_CD[position_T, None], self._sin_CD[position_T, None]
        num, heads, width = len(ids), self._num_heads, self._width
        shape = self._embedding.shape[1:]
        for number, layer in enumerate(self._layers):
            h_TW = rms_norm(x_TW, shape, layer.norm_in, self._epsilon)
            query_and_key = torch.cat([layer.query(h_TW), layer.key(h_TW)], dim=-1)
            both_THD = query_and_key.view(num, -1, width)
            # Rotary embedding: x · cos + (-x2, x1) · sin, the sign being in the table.
            turned_THD = both_THD * cos_T1D + both_THD.roll(width // 2, -1) * sin_T1D
            value_TKD = layer.value(h_TW).view(num, -1, width)
            seen = attend(number, turned_THD[:, :heads], turned_THD[:, heads:], value_TKD)
            x_TW = x_TW + layer.out(seen.reshape(num, -1))
            h_TW = rms_norm(x_TW, shape, layer.norm_mlp, self._epsilon)
            acted: Tensor = layer.act(layer.gate(h_TW))
            x_TW = x_TW + layer.down(acted * layer.up(h_TW))
        return x_TW

    def _logits(self, x_NW: Tensor) -> Tensor:
        num = len(x_NW)
        x_NW = pad(x_NW, (0, 0, 0, max(0, ROWS_MIN - num)))
        normed_NW = rms_norm(x_NW, x_NW.shape[1:], self._norm, self._epsilon)
        logits_NV = self._head(normed_NW)
        return logits_NV[:num]

    def _write(self, number: int, rows: list[int], key_TKD: Tensor, value_TKD: Tensor) -> None:
        """Put a prompt's keys and values into each row that begins with it."""
        for cache_RCD, new_TKD in zip(self._caches[number], (key_TKD, value_TKD), strict=True):
            cache_NKCD = cache_RCD.view(self._num_rows, self._num_kv, -1, self._width)
            for row in rows:
                cache_NKCD[row, :, : len(new_TKD)] = new_TKD.transpose(0, 1)

    def _make_room(self, rows: int, columns: int) -> None:
        """Have a cache, and angles, for so many rows of so many columns."""
        if rows <= self._num_rows and columns <= self._num_columns:
            return
        num_rows = _doubled(self._num_rows or ROWS_FIRST, rows)
        num_columns = _doubled(self._num_columns or COLUMNS_FIRST, columns)
        old, kept_rows = self._caches, self._num_rows * self._num_kv
        self._caches = []
        for number in range(len(self._layers)):
            keys, values = (
                torch.zeros(num_rows * self._num_kv, num_columns, self._width) for _ in range(2)
            )
            if old:
                keys[:kept_rows, : self._num_columns] = old[number][0]
                values[:kept_rows, : self._num_columns] = old[number][1]
            self._caches.append((keys, values))
        self._num_rows, self._num_columns = num_rows, num_columns
        if num_columns > len(self._cos_CD):
            position_1C = torch.arange(num_columns)[None]
            cos_1CD, sin_1CD = self._rotary(self._embedding[:1], position_ids=position_1C)
            half = self._width // 2
            self._cos_CD = cos_1CD[0]
            self._sin_CD = torch.cat([-sin_1CD[0, :, :half], sin_1CD[0, :, half:]], dim=-1)


def _layer(layer: LlamaDecoderLayer) -> Layer:
    attention, mlp = layer.self_attn, layer.mlp
    return Layer(
        norm_in=layer.input_layernorm.weight,
        query=Projection.of(attention.q_proj),
        key=Projection.of(attention.k_proj),
        value=Projection.of(attention.v_proj),
        out=Projection.of(attention.o_proj),
        norm_mlp=layer.post_attention_layernorm.weight,
        gate=Projection.of(mlp.gate_proj),
        up=Projection.of(mlp.up_proj),
        down=Projection.of(mlp.down_proj),
        act=mlp.act_fn,
    )


def _doubled(size: int, wanted: int) -> int:
    while size < wanted:
        size *= 2
    return size


PROBES = (
    [7],
    [3, 1, 4, 1, 5],
    [2, 7, 1, 8, 2, 8, 1, 8, 2, 8, 4, 5, 9],
    [7],
    [1, 4, 1, 4, 2, 1, 3, 5],
)
"""Prompts of unlike length, of ids that every vocabulary has."""
NUM_PROBE_STEPS = 3


@torch.inference_mode()
def is_row_exact(model: LlamaForCausalLM) -> bool:
    """Whether rows together get the numbers that each gets alone, to the last bit, here and now."""
    together = _probe(LlamaDecoder(model), PROBES)
    return all(
        torch.equal(_probe(LlamaDecoder(model), [prompt])[0], together[row])
        for row, prompt in enumerate(PROBES)
    )


def _probe(decoder: LlamaDecoder, prompts: Sequence[list[int]]) -> Tensor:
    logits = [decoder.join(prompts)]
    for token in range(NUM_PROBE_STEPS):
        logits.append(decoder.step([token] * len(prompts)))
    return torch.stack(logits, dim=1)

"""Folders of models and adapters as an attacker, or a broken disk, leaves them.

Each case changes a copy of a good folder. `FOLDERS` are cases of a decoder's folder,
`DECLARED` of a sentence-transformers one, `ADAPTERS` of an adapter's, `GGUFS` of a GGUF
file. A case says whether the vectors, where there are any, must be those of the good one.
"""

import json
import os
import random
import struct
from collections.abc import Callable
from dataclasses import dataclass

NAN, INFINITY = float("nan"), float("inf")
DEEP = "[" * 100_000
HUGE_NUMBER = "9" * 5_000
# Values that no setting was made for.
VALUES = {
    "huge": 10**9,
    "400 digits": 10**400,
    "-1": -1,
    "0": 0,
    "str": "x",
    "digits": "12",
    "null": None,
    "nan": NAN,
    "infinity": INFINITY,
    "1.5": 1.5,
    "list": [1, [2]],
    "dict": {"a": {"b": 1}},
    "true": True,
}


@dataclass(frozen=True)
class Case:
    """A way to spoil a folder.

    Attributes
    ----------
    name : str
    spoil : callable
        Called with the folder, a copy.
    same : bool
        Whether vectors, where there are any, must be those of the good folder; what
        describes another model may give others.
    settings : dict
        Parameters of the transformer.
    """

    name: str
    spoil: Callable
    same: bool = True
    settings: tuple = ()


# --- ways to spoil a file ------------------------------------------------------------


def with_content(name, content):
    def spoil(folder):
        path = folder / name
        path.parent.mkdir(exist_ok=True, parents=True)
        path.unlink(missing_ok=True)
        data = content if isinstance(content, bytes) else content.encode()
        path.write_bytes(data)

    return spoil


def with_setting(name, *keys, value):
    """A JSON file with another value at some place."""

    def spoil(folder):
        path = folder / name
        whole = json.loads(path.read_text()) if path.is_file() else {}
        part = whole
        for key in keys[:-1]:
            part = part[key]
        part[keys[-1]] = value
        path.write_text(json.dumps(whole))

    return spoil


def as_fifo(name):
    def spoil(folder):
        (folder / name).unlink(missing_ok=True)
        os.mkfifo(folder / name)

    return spoil


def as_link(name, target):
    def spoil(folder):
        (folder / name).unlink(missing_ok=True)
        os.symlink(target, folder / name)

    return spoil


def as_folder(name):
    def spoil(folder):
        (folder / name).unlink(missing_ok=True)
        (folder / name).mkdir()

    return spoil


def as_sparse(name, n_bytes):
    """A file of many bytes that takes none of the disk."""

    def spoil(folder):
        path = folder / name
        path.touch()
        os.truncate(path, n_bytes)

    return spoil


KINDS_OF_FILES = {
    "a pipe": as_fifo,
    "an endless device": lambda name: as_link(name, "/dev/zero"),
    "a terminal": lambda name: as_link(name, "/dev/tty"),
    "a folder": as_folder,
    "a loop of links": lambda name: as_link(name, name),
    "a link to nothing": lambda name: as_link(name, "/no/such/file"),
    "a terabyte": lambda name: as_sparse(name, 2**40),
    "no byte": lambda name: with_content(name, b""),
    "no UTF-8": lambda name: with_content(name, b'{"a": "\xff\xfe"}'),
    "UTF-16": lambda name: with_content(name, '{"a": 1}'.encode("utf-16")),
    "zeros": lambda name: with_content(name, bytes(1000)),
}
CONTENTS_OF_JSON = {
    "deep lists": DEEP,
    "deep closed lists": DEEP + "]" * len(DEEP),
    "deep objects": '{"a":' * 100_000 + "1" + "}" * 100_000,
    "a number of 5,000 digits": '{"a": ' + HUGE_NUMBER + "}",
    "half a file": '{"model_type": "lla',
    "a list": "[1, 2]",
    "a number": "1",
    "a string": '"\\ud800"',
    "null": "null",
    "an empty object": "{}",
}


def of_files(names, kinds, same=True):
    return [
        Case(f"{name} is {kind}", make(name), same)
        for name in names
        for kind, make in kinds.items()
    ]


def of_json(names):
    return [
        Case(f"{name} holds {kind}", with_content(name, content), True)
        for name in names
        for kind, content in CONTENTS_OF_JSON.items()
    ]


# --- weights -------------------------------------------------------------------------


def safetensors(header, data=b"", n_header=None):
    if not isinstance(header, bytes):
        header = json.dumps(header).encode()
    return struct.pack("<Q", len(header) if n_header is None else n_header) + (
        header + data
    )


def with_header(change):
    """``model.safetensors`` with another header, which `change` makes of the good one."""

    def spoil(folder):
        path = next(folder.glob("*.safetensors"))
        content = path.read_bytes()
        (n,) = struct.unpack("<Q", content[:8])
        header = change(json.loads(content[8 : 8 + n]))
        path.write_bytes(safetensors(header, content[8 + n :]))

    return spoil


def _first(header):
    return next(name for name in header if name != "__metadata__")


def _changed(**settings):
    def change(header):
        header[_first(header)].update(settings)
        return header

    return change


def _renamed(header):
    header["\x1b[2Jevil\n" * 3] = header.pop(_first(header))
    return header


def _overlapping(header):
    names = [name for name in header if name != "__metadata__"]
    a, b = names[:2]
    header[a]["data_offsets"] = header[b]["data_offsets"]
    return header


WEIGHTS = {
    "a header of 2**63 bytes": with_content(
        "model.safetensors", safetensors({}, n_header=2**63)
    ),
    "a header longer than the file": with_content(
        "model.safetensors", safetensors({}, n_header=1000)
    ),
    "a header that is no JSON": with_content(
        "model.safetensors", safetensors(b"{nonsense")
    ),
    "a deep header": with_content("model.safetensors", safetensors(DEEP.encode())),
    "no tensor": with_content("model.safetensors", safetensors({})),
    "a pickle": with_content("model.safetensors", b"\x80\x04cos\nsystem\n."),
    "a huge shape": with_header(_changed(shape=[2**40, 2**20])),
    "a negative shape": with_header(_changed(shape=[-1, 4])),
    "a shape of many dimensions": with_header(_changed(shape=[1] * 5000)),
    "another shape": with_header(_changed(shape=[1, 1])),
    "an unknown dtype": with_header(_changed(dtype="F7")),
    "another dtype": with_header(_changed(dtype="I64")),
    "a dtype of numbers": with_header(_changed(dtype=4)),
    "offsets behind the end": with_header(_changed(data_offsets=[0, 2**50])),
    "offsets the wrong way round": with_header(_changed(data_offsets=[100, 0])),
    "offsets that are strings": with_header(_changed(data_offsets=["a", "b"])),
    "overlapping tensors": with_header(_overlapping),
    "a tensor of another name": with_header(_renamed),
}
INDEX = "model.safetensors.index.json"


def with_index(content):
    def spoil(folder):
        (folder / "model.safetensors").rename(folder / "part.safetensors")
        text = content if isinstance(content, str) else json.dumps(content)
        (folder / INDEX).write_text(text)

    return spoil


INDICES = {
    "a file outside": {"weight_map": {"a": "../../../../etc/passwd"}},
    "an absolute file": {"weight_map": {"a": "/etc/passwd"}},
    "a missing file": {"weight_map": {"a": "other.safetensors"}},
    "numbers for names": {"weight_map": {"a": 7, "b": None}},
    "lists for names": {"weight_map": {"a": [1], "b": {"c": 2}}},
    "a list": {"weight_map": ["part.safetensors"]},
    "nothing": {"weight_map": {}},
    "another kind of file": {"weight_map": {"a": "config.json"}},
    "a null character": {"weight_map": {"a": "a\0b.safetensors"}},
    "a name of 100,000 letters": {"weight_map": {"a": "a" * 100_000}},
    "lone surrogates": {"weight_map": {"a": "\ud800.safetensors"}},
}

# --- configuration -------------------------------------------------------------------

# Settings that say how large a model is: another size is another model.
SIZES = [
    "num_hidden_layers",
    "hidden_size",
    "num_attention_heads",
    "num_key_value_heads",
    "intermediate_size",
    "vocab_size",
    "max_position_embeddings",
    "head_dim",
]
OTHERS = [
    "model_type",
    "architectures",
    "hidden_act",
    "rms_norm_eps",
    "dtype",
    "rope_parameters",
    "pad_token_id",
    "transformers_version",
    "transformers_weights",
    "id2label",
    "is_decoder",
    "tie_word_embeddings",
    "auto_map",
    "quantization_config",
    "layer_types",
    "is_encoder_decoder",
    "tokenizer_class",
    "text_config",
    "attn_implementation",
    "per_layer_config",
    "use_bidirectional_attention",
]


def of_settings(file, names, values=VALUES, same=False):
    return [
        Case(
            f"{file}: {name} is {kind}",
            with_setting(file, name, value=value),
            same=same,
        )
        for name in names
        for kind, value in values.items()
    ]


TOKENIZER_SETTINGS = [
    "tokenizer_class",
    "model_max_length",
    "added_tokens_decoder",
    "additional_special_tokens",
    "extra_special_tokens",
    "bos_token",
    "pad_token",
    "chat_template",
    "truncation_side",
    "padding_side",
    "add_bos_token",
    "model_input_names",
    "auto_map",
]
CHAT = (("template", "chat"),)
TEMPLATES = {
    "a long loop": "{% for i in range(10**9) %}x{% endfor %}",
    "loops in loops": "{% for i in range(99999) %}{% for j in range(99999) %}"
    "{% for k in range(99999) %}{% endfor %}{% endfor %}{% endfor %}",
    "a huge product": "{{ 'a' * 10**11 }}{{ messages[0]['content'] }}",
    "a huge number": "{{ 10 ** 10 ** 10 }}",
    "a string that doubles": "{% set ns = namespace(x='aaaaaaaa') %}"
    "{% for i in range(60) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}{{ ns.x }}",
    "a string made wide": "{{ 'a'.ljust(10**12) }}{{ messages[0]['content'] }}",
    "a format made wide": "{{ '%100000000000d' % 1 }}{{ messages[0]['content'] }}",
    "a list that grows": "{{ ([0] * 10**11) | length }}",
    "recursion": "{% macro a() %}{{ a() }}{% endmacro %}{{ a() }}",
    "a way out": "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "an include": "{% include '/etc/passwd' %}",
    "no syntax": "{% for %}",
    "deep brackets": "{{ " + "(" * 10_000 + "1" + ")" * 10_000 + " }}",
    "an error of its own": "{{ raise_exception('\x1b[2Jno') }}",
    "nothing": "",
    "a text without the message": "hello",
    "an attribute of nothing": "{{ a.b.c.d }}",
    "a division by zero": "{{ 1 // 0 }}",
}
REGEXES = {
    "catastrophic": "(a+)+$|(.*a){25}|((x+x+)+y)",
    "nested repetitions": "(.*)*(.*)*(.*)*(.*)*=",
    "huge repetitions": "((a{1,1000}){1,1000}){1,1000}",
    "no syntax": "(((",
    "deep": "(" * 20_000 + "a" + ")" * 20_000,
}


def with_backend(**parts):
    """A ``tokenizer.json`` with other parts."""

    def spoil(folder):
        path = folder / "tokenizer.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **parts}))

    return spoil


def split_by(pattern):
    return with_backend(
        pre_tokenizer={
            "type": "Split",
            "pattern": {"Regex": pattern},
            "behavior": "Isolated",
            "invert": False,
        }
    )


BACKENDS = {
    "a huge id": {"added_tokens": [{"id": 2**40, "content": "a", "special": True}]},
    "a negative id": {"added_tokens": [{"id": -1, "content": "a", "special": True}]},
    "no model": {"model": None},
    "an unknown model": {"model": {"type": "Evil"}},
    "ids that are strings": {"model": {"type": "WordLevel", "vocab": {"a": "b"}}},
    "ids above the model's": {
        "model": {
            "type": "WordLevel",
            "vocab": {"a": 10**6, "[UNK]": 1},
            "unk_token": "[UNK]",
        }
    },
    "an empty vocabulary": {
        "model": {"type": "WordLevel", "vocab": {}, "unk_token": "a"}
    },
    "a template of huge ids": {
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}] * 1,
            "pair": [],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [10**9], "tokens": ["<s>"]}},
        }
    },
    "a normalizer that grows texts": {
        "normalizer": {
            "type": "Sequence",
            "normalizers": [
                {"type": "Replace", "pattern": {"String": "a"}, "content": "a" * 1000}
            ]
            * 4,
        }
    },
}

FOLDERS = [
    *of_files(["config.json", "model.safetensors", "tokenizer.json"], KINDS_OF_FILES),
    *of_files(
        ["tokenizer_config.json", "generation_config.json", "chat_template.jinja"],
        KINDS_OF_FILES,
        same=False,
    ),
    *of_files(
        ["special_tokens_map.json", "added_tokens.json", "vocab.txt", "extra.txt"],
        {k: KINDS_OF_FILES[k] for k in ("a pipe", "an endless device", "a terabyte")},
        same=False,
    ),
    *of_json(["config.json", "tokenizer.json", "tokenizer_config.json"]),
    *[Case(f"weights: {kind}", spoil) for kind, spoil in WEIGHTS.items()],
    *[Case(f"the index: {kind}", with_index(said)) for kind, said in INDICES.items()],
    *[
        Case(f"the index holds {kind}", with_index(text))
        for kind, text in CONTENTS_OF_JSON.items()
    ],
    *of_settings("config.json", [*SIZES, *OTHERS]),
    *of_settings("tokenizer_config.json", TOKENIZER_SETTINGS),
    *[
        Case(
            f"a chat template with {kind}",
            with_content("chat_template.jinja", said),
            False,
            CHAT,
        )
        for kind, said in TEMPLATES.items()
    ],
    *[
        Case(f"a pattern: {kind}", split_by(pattern), False)
        for kind, pattern in REGEXES.items()
    ],
    *[
        Case(f"tokenizer.json with {kind}", with_backend(**parts), False)
        for kind, parts in BACKENDS.items()
    ],
    Case(
        "a folder of templates is a pipe",
        as_fifo("additional_chat_templates"),
    ),
    Case(
        "a template among others is a pipe",
        lambda f: (
            (f / "additional_chat_templates").mkdir(),
            os.mkfifo(f / "additional_chat_templates" / "a.jinja"),
        ),
        False,
    ),
    Case(
        "the weights' name leads outside",
        with_setting("config.json", "transformers_weights", value="../../etc/passwd"),
    ),
]

# --- what is declared around a model --------------------------------------------------

MODULES = {
    "one that leads outside": [{"type": "a.Transformer", "path": "../../../../etc"}],
    "an absolute one": [{"type": "a.Transformer", "path": "/etc"}],
    "no type": [{"path": ""}],
    "a type that is a number": [{"type": 1, "path": ""}],
    "a path that is a number": [{"type": "a.Transformer", "path": 1}],
    "a path that is a list": [{"type": "a.Transformer", "path": ["a"]}],
    "a path with a null": [{"type": "a.Transformer", "path": "a\0b"}],
    "strings": ["a.Transformer"],
    "numbers": [1, 2],
    "lists": [[], []],
    "an object": {"type": "a.Transformer"},
    "nothing": [],
    "code": [{"type": "os.system", "path": ""}],
    "100,000 modules": [{"type": "a.Dense", "path": "2_Dense"}] * 100_000,
    "terminal letters": [{"type": "a.\x1b[2J\x1b]0;x\x07", "path": ""}],
    "dense layers without files": [
        {"type": "a.Transformer", "path": ""},
        {"type": "a.Pooling", "path": "1_Pooling"},
        {"type": "a.Dense", "path": "2_Dense"},
    ],
}
DENSE = [
    {"type": "sentence_transformers.models.Transformer", "path": ""},
    {"type": "sentence_transformers.models.Pooling", "path": "1_Pooling"},
    {"type": "sentence_transformers.models.Dense", "path": "2_Dense"},
]


def with_dense(config, weights):
    def spoil(folder):
        (folder / "modules.json").write_text(json.dumps(DENSE))
        with_content("2_Dense/config.json", json.dumps(config))(folder)
        with_content("2_Dense/model.safetensors", weights)(folder)

    return spoil


def matrix(shape, dtype="F32", name="linear.weight"):
    n = 4
    for size in shape:
        n *= size
    return safetensors(
        {name: {"dtype": dtype, "shape": shape, "data_offsets": [0, n]}}, bytes(n)
    )


ACTIVATION = {"activation_function": "torch.nn.Identity"}
DECLARED = [
    *[
        Case(
            f"modules.json: {kind}",
            with_content("modules.json", json.dumps(said)),
            False,
        )
        for kind, said in MODULES.items()
    ],
    *of_files(
        ["modules.json", "1_Pooling/config.json", "sentence_bert_config.json"],
        KINDS_OF_FILES,
        same=False,
    ),
    *of_files(
        ["config_sentence_transformers.json"],
        {k: KINDS_OF_FILES[k] for k in ("a pipe", "an endless device", "no UTF-8")},
        same=False,
    ),
    *of_json(["modules.json"]),
    *[
        Case(
            f"the pooling holds {kind}",
            with_content("1_Pooling/config.json", text),
            False,
        )
        for kind, text in CONTENTS_OF_JSON.items()
    ],
    *of_settings("1_Pooling/config.json", ["pooling_mode", "include_prompt"]),
    *of_settings(
        "config_sentence_transformers.json",
        ["prompts", "default_prompt_name", "truncate_dim", "similarity_fn_name"],
    ),
    *of_settings("sentence_bert_config.json", ["max_seq_length", "do_lower_case"]),
    *[
        Case(f"a dense layer: {kind}", with_dense(config, weights), False)
        for kind, (config, weights) in {
            "of another width": (ACTIVATION, matrix([4, 7])),
            "of three dimensions": (ACTIVATION, matrix([2, 2, 32])),
            "of no dimension": (ACTIVATION, matrix([])),
            "of no rows": (ACTIVATION, matrix([0, 32])),
            "of whole numbers": (ACTIVATION, matrix([4, 32], "I32")),
            "of another name": (ACTIVATION, matrix([4, 32], name="evil")),
            "with an activation that is a list": (
                {"activation_function": [1]},
                matrix([4, 32]),
            ),
            "with code for an activation": (
                {"activation_function": "os.system"},
                matrix([4, 32]),
            ),
            "of a damaged file": (ACTIVATION, b"nonsense"),
            "with a header of 2**63 bytes": (
                ACTIVATION,
                safetensors({}, n_header=2**63),
            ),
        }.items()
    ],
]

# --- adapters ------------------------------------------------------------------------

CONFIG = "adapter_config.json"
ADAPTERS = [
    *of_files([CONFIG, "adapter_model.safetensors"], KINDS_OF_FILES),
    *of_files(
        ["sklearn_llm2vec.json"],
        {k: KINDS_OF_FILES[k] for k in ("a pipe", "an endless device", "no UTF-8")},
        same=False,
    ),
    *[
        Case(f"{CONFIG} holds {kind}", with_content(CONFIG, text))
        for kind, text in CONTENTS_OF_JSON.items()
    ],
    *of_settings(
        CONFIG,
        [
            "peft_type",
            "r",
            "lora_alpha",
            "target_modules",
            "alpha_pattern",
            "rank_pattern",
            "auto_mapping",
            "base_model_name_or_path",
            "layers_to_transform",
            "layers_pattern",
            "modules_to_save",
            "layer_replication",
            "megatron_core",
            "init_lora_weights",
            "use_dora",
            "eva_config",
            "runtime_config",
        ],
    ),
    Case(
        "a catastrophic pattern",
        with_setting(CONFIG, "target_modules", value="(([a-z_.0-9]+)+)+!"),
        False,
    ),
    Case("a weight of another shape", with_header(_changed(shape=[1, 1]))),
    Case("a weight of another name", with_header(_renamed)),
    Case("overlapping weights", with_header(_overlapping)),
    Case("no weight", with_content("adapter_model.safetensors", safetensors({}))),
]

# --- GGUF files ----------------------------------------------------------------------


def with_bytes(change):
    def spoil(folder):
        path = folder / "model.gguf"
        path.write_bytes(change(path.read_bytes()))

    return spoil


def with_number(at, number, form="<Q"):
    def change(content):
        data = struct.pack(form, number)
        return content[:at] + data + content[at + len(data) :]

    return with_bytes(change)


def with_entry(key, number, form="<I"):
    """Another number in the metadata, which stands behind its key and its type."""

    def change(content):
        at = content.index(key.encode()) + len(key) + 4
        data = struct.pack(form, number)
        return content[:at] + data + content[at + len(data) :]

    return with_bytes(change)


def with_flips(seed):
    """Three bytes of the header are others."""

    def change(content):
        draw = random.Random(seed)
        content = bytearray(content)
        for _ in range(3):
            content[draw.randrange(min(len(content), 4000))] = draw.randrange(256)
        return bytes(content)

    return with_bytes(change)


GGUFS = [
    *of_files(["model.gguf"], KINDS_OF_FILES),
    *[
        Case(f"cut after {n} bytes", with_bytes(lambda content, n=n: content[:n]))
        for n in (3, 4, 7, 8, 16, 23, 24, 30, 60, 1000, 5000)
    ],
    *[
        Case(f"{what} of {number}", with_number(at, number))
        for what, at in {"tensors": 8, "entries": 16, "a key": 24}.items()
        for number in (0, 10**9, 2**62, 2**63, 2**64 - 1)
    ],
    *[
        Case(f"{key} of {number}", with_entry(key, number), False)
        for key in (
            "llama.block_count",
            "llama.context_length",
            "llama.embedding_length",
            "llama.feed_forward_length",
            "llama.attention.head_count",
            "llama.attention.head_count_kv",
            "llama.rope.dimension_count",
            "tokenizer.ggml.bos_token_id",
        )
        for number in (0, 10**9, 2**32 - 1)
    ],
    *[
        Case(f"{key} of {number} items", with_entry(key, number, "<4xQ"), False)
        for key in ("tokenizer.ggml.tokens", "tokenizer.ggml.merges")
        for number in (0, 10**9, 2**62)
    ],
    *[Case(f"flipped bytes, seed {i}", with_flips(i), False) for i in range(40)],
]

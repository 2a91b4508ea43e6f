"""Other programs that run a model on a CPU: ONNX Runtime, OpenVINO, fastembed, llama.cpp.

llama.cpp reads the same GGUF file; for the others, a model is exported once. Each
function here makes of it a function of texts, or of ids and mask, for `throughput.py` and
`bench_dtypes.py` to compare with ours.
"""

import json
import shutil
from pathlib import Path

import numpy as np


def mean_of(states, mask):
    """Mean over the tokens that aren't padding."""
    mask = mask[..., None].to(states.dtype)  # (batch, tokens, 1)
    return (states * mask).sum(1) / mask.sum(1)


def by_runtime(folder, max_length, run):
    """An exported model, batches sorted by tokens with a budget of 1,024, padded.

    Parameters
    ----------
    folder : path-like
        Of the tokenizer.
    max_length : int
    run : callable
        Takes ids and mask, arrays of shape (batch, tokens); returns the last hidden
        state, an array of shape (batch, tokens, hidden).
    """
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)

    def encode(texts):
        rows = tokenizer(texts, truncation=True, max_length=max_length)["input_ids"]
        order = sorted(range(len(rows)), key=lambda i: -len(rows[i]))
        vectors, start = [None] * len(rows), 0
        while start < len(order):
            n = max(1, 1024 // len(rows[order[start]]))
            chosen = order[start : start + n]
            batch = tokenizer.pad(
                {"input_ids": [rows[i] for i in chosen]}, return_tensors="np"
            )
            ids, mask = batch["input_ids"], batch["attention_mask"]
            states = run(ids.astype(np.int64), mask.astype(np.int64))
            mask = mask[..., None].astype(np.float32)
            means = (states * mask).sum(1) / mask.sum(1)
            for i, vector in zip(chosen, means, strict=True):
                vectors[i] = vector
            start += n
        return np.stack(vectors)

    return encode


def export_onnx(folder, path):
    """Write a model as ONNX with batches and lengths left open."""
    import torch
    from transformers import AutoModel

    model = AutoModel.from_pretrained(folder, attn_implementation="eager").eval()
    model.config.return_dict = False
    ids = torch.ones(2, 16, dtype=torch.int64)
    rows, tokens = torch.export.Dim("rows"), torch.export.Dim("tokens", max=512)
    open_ = {"input_ids": {0: rows, 1: tokens}, "attention_mask": {0: rows, 1: tokens}}
    torch.onnx.export(
        model,
        (),
        str(path),
        kwargs={"input_ids": ids, "attention_mask": torch.ones_like(ids)},
        dynamic_shapes=open_,
        input_names=["input_ids", "attention_mask"],
        dynamo=True,
        verbose=False,
    )
    return str(path)


def onnx_session(path):
    """A function of ids and mask, by ONNX Runtime."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [one.name for one in session.get_inputs()]
    return lambda ids, mask: session.run(
        None, dict(zip(names, (ids, mask), strict=True))
    )[0]


def int8_onnx(path):
    """Write the model again with int8 weights, and activations quantized as they come.

    The method of sentence-transformers' ``export_dynamic_quantized_onnx_model``.
    """
    from onnxruntime.quantization import quantize_dynamic

    made = str(Path(path).with_suffix(".int8.onnx"))
    quantize_dynamic(path, made, per_channel=True)
    return made


def openvino_session(model, precision="f32"):
    """A function of ids and mask, by OpenVINO.

    Parameters
    ----------
    model : str or openvino.Model
        Or the path of an ONNX file.
    precision : {"f32", "bf16"}
        Of the products.
    """
    import openvino

    hints = {"INFERENCE_PRECISION_HINT": precision, "PERFORMANCE_HINT": "LATENCY"}
    compiled = openvino.Core().compile_model(model, "CPU", hints)
    return lambda ids, mask: compiled([ids, mask])[0]


def int8_openvino(path, folder, texts):
    """The model with weights and activations in int8, ranges measured on these texts.

    The method of sentence-transformers' ``export_static_quantized_openvino_model``.
    """
    import nncf
    import openvino
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)

    def as_inputs(text):
        made = tokenizer(text, truncation=True, max_length=256, return_tensors="np")
        return [made["input_ids"], made["attention_mask"]]

    return nncf.quantize(
        openvino.Core().read_model(path),
        nncf.Dataset(list(texts), as_inputs),
        model_type=nncf.ModelType.TRANSFORMER,
        subset_size=len(texts),
    )


def by_fastembed(path, folder, max_length):
    """An exported model by fastembed, whose own models would have to be downloaded."""
    from fastembed import TextEmbedding
    from fastembed.common.model_description import ModelSource, PoolingType

    home = Path(path).parent
    for file in Path(folder).glob("*.json"):
        shutil.copy(file, home)
    settings = json.loads((home / "tokenizer_config.json").read_text())
    settings["model_max_length"] = settings["max_length"] = max_length
    (home / "tokenizer_config.json").write_text(json.dumps(settings))
    TextEmbedding.add_custom_model(
        model="local/model",
        pooling=PoolingType.MEAN,
        normalization=True,
        sources=ModelSource(hf="local/model"),
        dim=json.loads((home / "config.json").read_text())["hidden_size"],
        model_file=Path(path).name,
    )
    model = TextEmbedding("local/model", specific_model_path=str(home))
    return lambda texts: np.stack(list(model.embed(texts)))


def by_llama_cpp(file, max_length, n_threads):
    """A GGUF file by llama.cpp, in its mode for embeddings: the mean of the last layer.

    Parameters
    ----------
    file : path-like
    max_length : int
        Texts are cut there. It is the token budget of a batch as well, because the
        package cuts texts at that size; of 256, 512, 1,024 and 4,096, 256 was fastest.
    n_threads : int
    """
    import llama_cpp

    model = llama_cpp.Llama(
        str(file),
        embedding=True,
        pooling_type=llama_cpp.LLAMA_POOLING_TYPE_MEAN,
        n_ctx=max_length,
        n_batch=max_length,
        n_ubatch=max_length,
        n_threads=n_threads,
        n_threads_batch=n_threads,
        verbose=False,
    )
    return lambda texts: np.array(model.embed(texts, normalize=False), np.float32)

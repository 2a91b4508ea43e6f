"""What the benchmarks share: real data beside the checkout, random models."""

import sys
import tempfile
from pathlib import Path

MINILM = "sentence-transformers/all-MiniLM-L6-v2"


def data(name):
    """A file of the shared data sets, or an explanation why the benchmark can't run."""
    path = Path(__file__).resolve().parents[2] / "shared" / "data" / name
    if not path.is_file():
        sys.exit(f"This benchmark reads {path}, which isn't there.")
    return path


def random_llama(hidden, n_layers, vocabulary=2048):
    """Folder of a Llama with random weights and a byte-level tokenizer."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import LlamaConfig, LlamaModel, PreTrainedTokenizerFast

    torch.manual_seed(0)
    heads = max(1, hidden // 64) if hidden >= 128 else 4
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=hidden,
        intermediate_size=int(hidden * 8 / 3),
        num_hidden_layers=n_layers,
        num_attention_heads=heads,
        num_key_value_heads=heads // 3 if heads % 3 == 0 else heads,
        max_position_embeddings=2048,
    )
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(
        models.BPE({t: i for i, t in enumerate(["<s>", "</s>", *letters])}, [])
    )
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 0)]
    )
    folder = tempfile.mkdtemp()
    LlamaModel(config).save_pretrained(folder)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<s>", eos_token="</s>", pad_token="</s>"
    )
    tokenizer.save_pretrained(folder)
    return folder

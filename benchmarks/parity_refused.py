"""Models that no text's vector can be taken from as they are, and what is said of them.

Cross-encoders, late interaction, sparse models, word vectors, quantized weights, code
from elsewhere, damaged files.
"""

import numpy as np
import parity_configs as configs
from parity_decoders import LLAMA3, llama3, qwen
from parity_embedders import around, uncased, xlmr_2023
from parity_encoders import modernbert_tokenizer
from parity_family import Family
from parity_folders import normal
from parity_modules import OLD, modules, pooling_config, settings

# --- models of another kind -------------------------------------------------------------


def bert_folder(name, like, refused, files=None, **changes):
    """A family of BERT's that is refused."""
    return Family(
        name,
        like,
        configs.bert(**changes),
        uncased(),
        files,
        by={},
        refused=refused,
    )


ONE_LABEL = {"id2label": {"0": "LABEL_0"}, "label2id": {"LABEL_0": 0}}


def other_kinds():
    return [
        bert_folder(
            "cross-encoder",
            "cross-encoder/ms-marco-MiniLM-L6-v2",
            "cross-encoder",
            architectures=["BertForSequenceClassification"],
            sentence_transformers={
                "activation_fn": "torch.nn.modules.linear.Identity",
                "version": "4.1.0.dev0",
            },
            **ONE_LABEL,
        ),
        bert_folder(
            "cross-encoder-old",
            "cross-encoder/ms-marco-MiniLM-L-6-v2 of 2021",
            "cross-encoder",
            architectures=["BertForSequenceClassification"],
            sbert_ce_default_activation_function="torch.nn.modules.linear.Identity",
            **ONE_LABEL,
        ),
        Family(
            "bge-reranker",
            "BAAI/bge-reranker-v2-m3",
            configs.xlm_roberta(
                architectures=["XLMRobertaForSequenceClassification"], **ONE_LABEL
            ),
            xlmr_2023(),
            by={},
            refused="cross-encoder",
        ),
        bert_folder(
            "cross-encoder-saved-by-6",
            "a cross-encoder saved by sentence-transformers 6",
            "cross-encoder",
            lambda: {
                "modules.json": [
                    {
                        "idx": 0,
                        "name": "0",
                        "path": "",
                        "type": "sentence_transformers.base.modules.transformer."
                        "Transformer",
                    }
                ],
                "config_sentence_transformers.json": settings(
                    model_type="CrossEncoder", version="6.2.0"
                ),
                "sentence_bert_config.json": {
                    "transformer_task": "sequence-classification",
                    "module_output_name": "scores",
                },
            },
            architectures=["BertForSequenceClassification"],
            **ONE_LABEL,
        ),
        Family(
            "reranker-decoder-saved-by-6",
            "a Qwen 3 reranker with sentence-transformers 6's files",
            configs.qwen3(),
            qwen,
            lambda: {
                "modules.json": [
                    {
                        "idx": 0,
                        "name": "0",
                        "path": "",
                        "type": "sentence_transformers.base.modules.transformer."
                        "Transformer",
                    },
                    {
                        "idx": 1,
                        "name": "1",
                        "path": "1_LogitScore",
                        "type": "sentence_transformers.cross_encoder.modules."
                        "logit_score.LogitScore",
                    },
                ],
                "config_sentence_transformers.json": settings(
                    model_type="CrossEncoder", version="6.2.0"
                ),
                "1_LogitScore/config.json": {"true_token_id": 9, "false_token_id": 10},
            },
            by={},
            refused="cross-encoder",
        ),
        bert_folder(
            "colbert",
            "colbert-ir/colbertv2.0",
            "ColBERT",
            lambda: {"artifact.metadata": {"query_token_id": "[unused0]", "dim": 16}},
            architectures=["HF_ColBERT"],
        ),
        Family(
            "colbert-pylate",
            "lightonai/GTE-ModernColBERT-v1",
            configs.modernbert(architectures=["ModernBertModel"]),
            modernbert_tokenizer,
            lambda: {
                "modules.json": modules(
                    "Transformer", "Dense", types={"Dense": "pylate.models.Dense.Dense"}
                ),
                "config_sentence_transformers.json": settings(
                    query_prefix="[Q] ",
                    document_prefix="[D] ",
                    query_length=32,
                    document_length=300,
                    similarity_fn_name="MaxSim",
                ),
                "1_Dense/config.json": {
                    "in_features": 32,
                    "out_features": 16,
                    "bias": False,
                    "activation_function": "torch.nn.modules.linear.Identity",
                },
                "1_Dense/model.safetensors": {
                    "linear.weight": normal("pylate", (16, 32), 0.2)
                },
                "sentence_bert_config.json": {
                    "max_seq_length": 299,
                    "do_lower_case": False,
                },
            },
            by={},
            refused="ColBERT",
        ),
        bert_folder(
            "multi-vector-saved-by-6",
            "a late-interaction model saved by sentence-transformers 6",
            "pools",
            lambda: {
                "modules.json": modules("Transformer", "Dense"),
                "config_sentence_transformers.json": settings(
                    model_type="MultiVectorEncoder", version="6.2.0"
                ),
                "1_Dense/config.json": {"in_features": 32, "out_features": 16},
            },
        ),
        bert_folder(
            "splade",
            "naver/splade-v3",
            "SPLADE",
            lambda: {
                "modules.json": modules(
                    "MLMTransformer",
                    "SpladePooling",
                    types={
                        kind: f"sentence_transformers.sparse_encoder.models.{kind}"
                        for kind in ("MLMTransformer", "SpladePooling")
                    },
                ),
                "config_sentence_transformers.json": settings(
                    model_type="SparseEncoder", version="5.0.0"
                ),
                "1_SpladePooling/config.json": {
                    "pooling_strategy": "max",
                    "activation_function": "relu",
                },
            },
            architectures=["BertForMaskedLM"],
        ),
        bert_folder(
            "sparse-router",
            "opensearch-project/opensearch-neural-sparse-encoding-doc-v3-distill",
            "Router",
            lambda: {
                "modules.json": modules("Router"),
                "router_config.json": {
                    "types": {"query_0_SparseStaticEmbedding": "SparseStaticEmbedding"}
                },
                "config_sentence_transformers.json": settings(
                    model_type="SparseEncoder", version="5.0.0"
                ),
            },
            architectures=["BertForMaskedLM"],
        ),
        bert_folder(
            "asymmetric",
            "a two-tower model with a Router",
            "Router",
            lambda: {
                "modules.json": modules("Router"),
                "router_config.json": {"types": {}, "structure": {"query": []}},
            },
        ),
        *[
            bert_folder(
                f"module-{kind.lower()}",
                f"a folder with the module {kind}",
                kind,
                lambda kind=kind: {
                    "modules.json": modules("Transformer", kind, "Pooling"),
                    "2_Pooling/config.json": pooling_config("mean"),
                    f"1_{kind}/config.json": {},
                },
            )
            for kind in ("WeightedLayerPooling", "CNN", "LSTM", "WordWeights")
        ],
        bert_folder(
            "module-layernorm",
            "a folder with the module LayerNorm",
            "LayerNorm",
            lambda: {
                "modules.json": modules("Transformer", "Pooling", "LayerNorm"),
                "1_Pooling/config.json": pooling_config("mean"),
            },
        ),
        bert_folder(
            "module-unknown",
            "a folder with a module of its author's",
            "WhiteningModule",
            lambda: {
                "modules.json": modules(
                    "Transformer",
                    "Pooling",
                    "Whitening",
                    types={"Whitening": "whitening.WhiteningModule"},
                ),
                "1_Pooling/config.json": pooling_config("mean"),
            },
        ),
        static_words(),
        Family(
            "sentence-clip",
            "sentence-transformers/clip-ViT-B-32",
            configs.bert(),
            uncased(),
            lambda: {
                "modules.json": [
                    {
                        "idx": 0,
                        "name": "0",
                        "path": "0_CLIPModel",
                        "type": OLD + "CLIPModel",
                    }
                ]
            },
            by={},
            refused="CLIPModel",
        ),
    ]


def static_words():
    """GloVe vectors: no transformer at all."""
    return Family(
        "word-vectors",
        "sentence-transformers/average_word_embeddings_glove.6B.300d",
        {},
        lambda: {"": {}},
        lambda: {
            "modules.json": [
                {
                    "idx": 0,
                    "name": "0",
                    "path": "0_WordEmbeddings",
                    "type": OLD + "WordEmbeddings",
                },
                {"idx": 1, "name": "1", "path": "1_Pooling", "type": OLD + "Pooling"},
            ],
            "0_WordEmbeddings/wordembedding_config.json": {
                "tokenizer_class": "sentence_transformers.models.tokenizer."
                "WhitespaceTokenizer.WhitespaceTokenizer",
                "update_embeddings": False,
                "max_seq_length": 1000000,
            },
            "0_WordEmbeddings/model.safetensors": {
                "emb_layer.weight": normal("glove", (20, 8), 1)
            },
            "1_Pooling/config.json": pooling_config("mean", width=8),
        },
        by={},
        refused="a model of word vectors or word counts (WordEmbeddings)",
        random=False,
    )


# --- weights that can't be read as they are ---------------------------------------------


def as_fp8(name):
    """The weights with linear layers in 8-bit floats and their scales beside them."""

    def change(weights):
        import torch

        made = {}
        for key, weight in weights.items():
            tensor = torch.from_numpy(weight)
            if weight.ndim == 2 and "_proj" in key:
                scale = tensor.abs().max() / 448
                made[key] = (tensor / scale).to(torch.float8_e4m3fn)
                made[key.replace("weight", name)] = scale.reshape(1, 1)
            else:
                made[key] = tensor.to(torch.bfloat16)
        return made

    return change


def as_int8(weights):
    """The weights as bitsandbytes writes them."""
    made = {}
    for key, weight in weights.items():
        if weight.ndim == 2 and "_proj" in key:
            most = np.abs(weight).max(axis=1)
            made[key] = np.round(weight / most[:, None] * 127).astype(np.int8)
            made[key.replace("weight", "SCB")] = most.astype(np.float32)
        else:
            made[key] = weight
    return made


def as_gptq(weights):
    """The weights packed by GPTQ: nothing has its own name any more."""
    made = {}
    for key, weight in weights.items():
        if weight.ndim == 2 and "_proj" in key:
            stem = key.removesuffix("weight")
            rows, columns = weight.shape
            made[stem + "qweight"] = np.zeros((columns // 8, rows), np.int32)
            made[stem + "qzeros"] = np.zeros((1, rows // 8), np.int32)
            made[stem + "scales"] = np.ones((1, rows), np.float16)
            made[stem + "g_idx"] = np.zeros(columns, np.int32)
        else:
            made[key] = weight
    return made


def with_biases(weights):
    """Biases that the configuration says the network hasn't."""
    made = dict(weights)
    for key, weight in weights.items():
        if ".q_proj.weight" in key or ".o_proj.weight" in key:
            bias = key.replace("weight", "bias")
            made[bias] = normal(bias, weight.shape[:1], 1)
    return made


def with_nan(weights):
    """One number that isn't."""
    made = {key: weight.copy() for key, weight in weights.items()}
    made[next(key for key in made if "q_proj" in key)][0, 0] = np.nan
    return made


def without_a_layer(weights):
    """A file that lacks the last layer."""
    return {key: weight for key, weight in weights.items() if ".layers.2." not in key}


def small_llama(name, like, refused, weights=None, **changes):
    """A family of Llama 3's with something wrong in its weights."""
    return Family(
        name,
        like,
        configs.llama3(**changes),
        lambda: llama3(LLAMA3),
        by={},
        refused=refused,
        weights=weights,
        parameters={"pooling": "mean", "special_tokens": True},
    )


def damaged_weights():
    return [
        Family(
            "fp8-blocks",
            "Qwen/Qwen3-0.6B-FP8",
            configs.llama3(
                quantization_config={
                    "activation_scheme": "dynamic",
                    "fmt": "e4m3",
                    "quant_method": "fp8",
                    "weight_block_size": [128, 128],
                }
            ),
            lambda: llama3(LLAMA3),
            parameters={"pooling": "mean", "special_tokens": True},
            weights=as_fp8("weight_scale_inv"),
            newer=True,
        ),
        small_llama(
            "fp8-compressed-tensors",
            "RedHatAI/Meta-Llama-3.1-8B-Instruct-FP8-dynamic",
            "compressed-tensors",
            as_fp8("weight_scale"),
            quantization_config={
                "config_groups": {
                    "group_0": {
                        "targets": ["Linear"],
                        "weights": {"num_bits": 8, "type": "float"},
                    }
                },
                "format": "float-quantized",
                "ignore": ["lm_head"],
                "quant_method": "compressed-tensors",
                "quantization_status": "compressed",
            },
        ),
        small_llama(
            "fp8-unsaid",
            "8-bit floats whose config.json doesn't say so",
            "scale",
            as_fp8("weight_scale"),
        ),
        small_llama(
            "int8-bitsandbytes",
            "a model saved in 8 bits by bitsandbytes",
            "bitsandbytes",
            as_int8,
            quantization_config={
                "load_in_4bit": False,
                "load_in_8bit": True,
                "llm_int8_threshold": 6.0,
                "quant_method": "bitsandbytes",
            },
        ),
        small_llama(
            "int8-unsaid",
            "8-bit integers whose config.json doesn't say so",
            "SCB",
            as_int8,
        ),
        small_llama(
            "gptq",
            "Qwen/Qwen2.5-7B-Instruct-GPTQ-Int4",
            "gptq",
            as_gptq,
            quantization_config={
                "bits": 4,
                "desc_act": False,
                "group_size": 128,
                "quant_method": "gptq",
            },
        ),
        small_llama(
            "biases-unsaid",
            "a Llama with biases in its file and attention_bias false",
            "bias",
            with_biases,
        ),
        small_llama("nan-weight", "a Llama with a NaN in its weights", "NaN", with_nan),
        small_llama(
            "layer-missing",
            "a Llama whose file lacks a layer",
            "missing",
            without_a_layer,
        ),
        small_llama(
            "ids-beyond-matrix",
            "a Llama whose tokenizer has more tokens than its matrix rows",
            "vocab",
            vocab_size=600,
            bos_token_id=1,
            eos_token_id=2,
        ),
    ]


# --- code from elsewhere ----------------------------------------------------------------


def remote(name, like, config, tokenizer=None, files=None):
    """A family whose network is Python code on the hub."""
    return Family(
        name,
        like,
        config,
        tokenizer or uncased(),
        files,
        by={},
        refused="trust_remote_code",
        random=False,
        weights=lambda _: {
            "embeddings.word_embeddings.weight": normal(name, (9, 9), 1)
        },
    )


def remote_code():
    new = {
        **configs.bert(architectures=["NewModel"], model_type="new"),
        "auto_map": {
            "AutoConfig": "Alibaba-NLP/new-impl--configuration.NewConfig",
            "AutoModel": "Alibaba-NLP/new-impl--modeling.NewModel",
        },
        "pack_qkv": True,
        "rope_theta": 160000,
        "unpad_inputs": False,
        "use_memory_efficient_attention": False,
    }
    return [
        remote(
            "gte-large-en-v1.5",
            "Alibaba-NLP/gte-large-en-v1.5",
            new,
            files=around("cls", max_seq_length=8192),
        ),
        remote(
            "gte-multilingual",
            "Alibaba-NLP/gte-multilingual-base",
            new,
            xlmr_2023(),
            around("cls", max_seq_length=8192),
        ),
        remote(
            "jina-v3",
            "jinaai/jina-embeddings-v3",
            {
                **configs.xlm_roberta(
                    architectures=["XLMRobertaModel"], model_type="xlm-roberta-flash"
                ),
                "auto_map": {
                    "AutoConfig": "jinaai/xlm-roberta-flash-implementation--"
                    "configuration_xlm_roberta.XLMRobertaFlashConfig",
                    "AutoModel": "jinaai/xlm-roberta-flash-implementation--"
                    "modeling_lora.XLMRobertaLoRA",
                },
                "lora_adaptations": ["retrieval.query", "retrieval.passage"],
            },
            xlmr_2023(),
        ),
        remote(
            "nv-embed",
            "nvidia/NV-Embed-v2",
            {
                **configs.mistral(architectures=["NVEmbedModel"], model_type="nvembed"),
                "auto_map": {
                    "AutoConfig": "configuration_nvembed.NVEmbedConfig",
                    "AutoModel": "modeling_nvembed.NVEmbedModel",
                },
                "vocab_size": 1000,
            },
        ),
    ]


def families():
    return [*other_kinds(), *damaged_weights(), *remote_code()]

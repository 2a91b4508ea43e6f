"""Writes a family's folder: configuration, tokenizer, modules, random weights.

    python benchmarks/parity_folders.py FOLDER [NAME ...]

A weight follows from its name in the file and its shape alone, so that a folder has the
same weights whichever version of transformers wrote it.
"""

import json
import sys
import zlib
from pathlib import Path

import numpy as np
from parity_configs import Id
from parity_tokenizers import IDS


def write_folder(family, place):
    """Write everything that the published repository would hold."""
    folder = place.with_name(place.name + ".part")
    folder.mkdir(parents=True, exist_ok=True)
    contents = dict(family.tokenizer())
    ids = contents.pop(IDS)
    config = resolve(family.config, ids)
    if config:
        contents["config.json"] = config
    inner = folder / family.inner
    for name, content in contents.items():
        write_file(inner / name, content)
    for name, content in (family.files() if family.files else {}).items():
        write_file(folder / name, content)
    weights = random_weights(inner, config) if family.random else {}
    if family.weights is not None:
        weights = family.weights(weights)
    if weights:
        write_file(inner / "model.safetensors", weights)
    folder.rename(place)


def resolve(entry, ids):
    """Put ids in the place of tokens in a configuration, and the vocabulary's size."""
    if isinstance(entry, Id):
        return ids[entry]
    if isinstance(entry, dict):
        made = {key: resolve(value, ids) for key, value in entry.items()}
        if "vocab_size" in made and made["vocab_size"] is None:
            made["vocab_size"] = max(ids.values()) + 1
        return made
    if isinstance(entry, list):
        return [resolve(value, ids) for value in entry]
    return entry


def write_file(path, content):
    """Bytes, text, JSON, or arrays as safetensors."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif isinstance(content, str):
        path.write_text(content, encoding="utf-8")
    elif path.suffix == ".safetensors":
        save_weights(content, path)
    else:
        text = json.dumps(content, indent=2, ensure_ascii=False)
        path.write_text(text + "\n", encoding="utf-8")


def save_weights(weights, path):
    """Arrays or tensors as a safetensors file."""
    import torch
    from safetensors.torch import save_file

    tensors = {
        name: w.contiguous()
        if isinstance(w, torch.Tensor)
        else torch.from_numpy(w.copy())
        for name, w in weights.items()
    }
    save_file(tensors, path, metadata={"format": "pt"})


def normal(name, shape, scale):
    """Numbers that follow from a weight's name."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    return (scale * rng.standard_normal(shape)).astype(np.float32)


def random_weights(folder, config):
    """Name in the file -> array, for the class that the configuration names."""
    weights = {}
    for name, shape in weight_shapes(folder, config).items():
        weights[name] = random_weight(name, shape, config.get("model_type", ""))
    return weights


def random_weight(name, shape, kind):
    """One weight: norms near one, matrices that let a layer change something."""
    lowered = name.lower()
    norm = "norm" in lowered or ".ln_" in lowered or "ln_f" in lowered
    if norm and name.endswith("weight"):
        # Gemma adds the one itself.
        return normal(name, shape, 0.1) + np.float32("gemma" not in kind)
    if len(shape) < 2:
        return normal(name, shape, 0.1)
    if "embed" in lowered or "wte" in lowered or "shared" in lowered:
        return normal(name, shape, 0.5)
    return normal(name, shape, 1.5 / np.sqrt(shape[-1]))


def weight_shapes(folder, config):
    """Name in the file -> shape, as transformers saves a model of this configuration."""
    import tempfile

    import transformers
    from safetensors import safe_open

    read = transformers.AutoConfig.from_pretrained(folder)
    factory = getattr(transformers, config["architectures"][0], None)
    network = factory(read) if factory else transformers.AutoModel.from_config(read)
    shapes = {}
    with tempfile.TemporaryDirectory() as saved:
        network.save_pretrained(saved)
        for path in Path(saved).glob("*.safetensors"):
            with safe_open(path, "np") as file:
                for name in file.keys():
                    shapes[name] = tuple(file.get_slice(name).get_shape())
    return shapes


def main():
    from parity_families import FAMILIES

    folder, names = Path(sys.argv[1]), sys.argv[2:]
    for name in names or FAMILIES:
        write_folder(FAMILIES[name], folder / name)


if __name__ == "__main__":
    main()

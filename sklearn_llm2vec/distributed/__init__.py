"""Features of more texts than one machine can encode, with Ray.

Each of Ray's actors holds a transformer and its model. On CPUs of the same kind, the
features are those of ``transform``, bit for bit.
"""

from sklearn_llm2vec.distributed._dataset import embed_dataset
from sklearn_llm2vec.distributed._files import ParquetReport, embed_parquet

__all__ = ["ParquetReport", "embed_dataset", "embed_parquet"]

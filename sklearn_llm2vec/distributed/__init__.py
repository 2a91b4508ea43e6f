"""Features of more texts than one machine encodes: datasets and Parquet files over Ray.

Ray's actors each hold a transformer, and with it the model; what comes out are the bits
of ``transform``.
"""

from sklearn_llm2vec.distributed._dataset import embed_dataset
from sklearn_llm2vec.distributed._files import ParquetReport, embed_parquet

__all__ = ["ParquetReport", "embed_dataset", "embed_parquet"]

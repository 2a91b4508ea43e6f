"""Parquet files, embedded one by one: an output is whole or absent, and known again.

Where files are and which of them are finished; how one is read, embedded and written. A
file's metadata say which input and which transformer made it.
"""

import hashlib
import json
import os
import secrets
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from sklearn_llm2vec.distributed._tables import (
    TableEmbedder,
    check_names,
    difference,
    identity_of,
)

KEY = b"sklearn_llm2vec"
FORMAT = 1
# Where a file can be renamed in one step. An object store shows a file once it is whole.
RENAMING = ("local", "hdfs")


class File(NamedTuple):
    """A file or folder, and the file system that it is in."""

    system: object
    path: str

    def join(self, name):
        """The file of this name in this folder."""
        return self._replace(path=f"{self.path.rstrip('/')}/{name}")


def absolute(place):
    """A path that means the same in another process; a URI as it is."""
    place = os.fspath(place)
    return place if "://" in place else Path(place).expanduser().absolute().as_posix()


def open_place(place):
    """The `File` that a path or URI means."""
    import pyarrow as pa
    from pyarrow import fs

    if "://" not in place:
        return File(fs.LocalFileSystem(), place)
    try:
        return File(*fs.FileSystem.from_uri(place))
    except pa.ArrowInvalid:  # none of pyarrow's own
        import fsspec

        system, path = fsspec.core.url_to_fs(place)
        return File(fs.PyFileSystem(fs.FSSpecHandler(system)), path)


def list_files(place):
    """The folder of a file or folder, and the names in it of the Parquet files."""
    from pyarrow import fs

    info = place.system.get_file_info(place.path)
    if info.type == fs.FileType.File:
        folder, _, name = place.path.rpartition("/")
        return place._replace(path=folder), [name]
    names = []
    if info.type == fs.FileType.Directory:
        base = f"{place.path.strip('/')}/"
        selector = fs.FileSelector(place.path, recursive=True)
        for info in place.system.get_file_info(selector):
            name = info.path.lstrip("/").removeprefix(base)
            hidden = any(part[0] in "._" for part in name.split("/"))
            if info.is_file and name.endswith(".parquet") and not hidden:
                names.append(name)
    if not names:
        raise FileNotFoundError(
            "The 'source' parameter of embed_parquet must be a Parquet file or a folder "
            f"with '*.parquet' in it. Found none in {place.path!r}."
        )
    return place, sorted(names)


def survey(task, dtype, places, overwrite):
    """What there is to do, before anything is encoded.

    Returns the number of files, their folder, the names of those to embed, and what
    makes their features.
    """
    embedder = TableEmbedder(*task, None, dtype)  # encodes nothing
    identity = identity_of(embedder)
    source, destination = map(open_place, places)
    folder, names = list_files(source)
    inputs = {folder.join(name).path for name in names}
    inside = f"{destination.path}/".startswith(f"{source.path.rstrip('/')}/")
    replaced = inputs & {destination.join(name).path for name in names}
    if source.system == destination.system and (inside or replaced):
        raise ValueError(
            "The 'destination' parameter of embed_parquet must be a folder outside "
            f"of 'source'. Got {places[1]!r}, where the output would be read as "
            "input."
        )

    def look(name):
        file = folder.join(name)
        check_names(_read_names(file), embedder.columns, embedder.outputs)
        return is_finished(
            destination.join(name), identity, file_state(file), overwrite
        )

    with ThreadPoolExecutor(16) as pool:  # an object store answers slowly, but many
        finished = list(pool.map(look, names))
    todo = [name for name, done in zip(names, finished, strict=True) if not done]
    return len(names), folder.path, todo, identity


def _read_names(file):
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with file.system.open_input_file(file.path) as opened:
            return pq.read_schema(opened).names
    except (pa.ArrowInvalid, OSError) as error:
        raise ValueError(
            f"The file {file.path!r} must be a Parquet file. Reading it failed: {error}"
        ) from error


def is_finished(target, identity, state, overwrite):
    """Whether an output is there and whole; raise for one that isn't ours to replace."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    from pyarrow import fs

    if target.system.get_file_info(target.path).type == fs.FileType.NotFound:
        return False
    try:
        with target.system.open_input_file(target.path) as file:
            metadata = pq.read_metadata(file)
    except (pa.ArrowInvalid, OSError):
        return False  # the end is missing: a writer was stopped
    said = (metadata.metadata or {}).get(KEY)
    if said is None and not overwrite:
        raise FileExistsError(
            f"embed_parquet must not replace {target.path!r}, which another program "
            "wrote. Choose another 'destination', or set overwrite=True."
        )
    said = {} if said is None else json.loads(said)
    there = said.get("transformer", {})
    if there != identity and not overwrite:
        raise ValueError(
            f"The file {target.path!r} holds features of another transformer: "
            f"{difference(there, identity)}. Choose another 'destination', or set "
            "overwrite=True to write it again."
        )
    return said == make_mark(identity, state)


def embed_file(embedder, source, target, mark, batch_size):
    """Embed one file; return its rows. Under its name it is whole or not there."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    renames = target.system.type_name in RENAMING
    folder, _, name = target.path.rpartition("/")
    beside = target
    if renames:
        target.system.create_dir(folder, recursive=True)
        beside = File(target.system, f"{folder}/.{name}.{secrets.token_hex(4)}.part")
    try:
        with (
            source.system.open_input_file(source.path) as file,
            target.system.open_output_stream(beside.path) as sink,
        ):
            reader = pq.ParquetFile(file)
            schema = embedder(reader.schema_arrow.empty_table()).schema
            writer = pq.ParquetWriter(sink, schema)
            for batch in reader.iter_batches(batch_size):
                writer.write_table(embedder(pa.Table.from_batches([batch])))
            # Last: a file that a fault left behind has neither this nor an end.
            writer.add_key_value_metadata({KEY: json.dumps(mark)})
            writer.close()
        if renames:
            target.system.move(beside.path, target.path)
    except BaseException:
        if renames and beside.system.get_file_info(beside.path).is_file:
            beside.system.delete_file(beside.path)
        raise
    return reader.metadata.num_rows


# --- what an output was made of ------------------------------------------------------


def make_mark(identity, state):
    """What an output's metadata hold: what makes its features, and of which input."""
    return {"format": FORMAT, "transformer": identity, "source": state}


def file_state(file):
    """What tells a file's content from what it was: size, time, and Parquet footer.

    The footer has the sizes, places and statistics of all columns; to read the whole file
    would cost what a resumed job saves.
    """
    with file.system.open_input_file(file.path) as opened:
        size = opened.size()
        length = int.from_bytes(opened.read_at(4, size - 8), "little")
        footer = opened.read_at(length + 8, size - length - 8)
    return {
        "size": size,
        "mtime_ns": file.system.get_file_info(file.path).mtime_ns,
        "footer": hashlib.sha256(footer).hexdigest(),
    }

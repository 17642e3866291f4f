"""Hold the archive of a checkpoint to what PyTorch writes.

PyTorch reads any zip archive.  One that is compressed may claim records of any size,
which are read whole before anything of them is looked at, and with two records of one
name it depends on the reader which of them counts.  So archives with compressed
records, with records longer than the file, or with two of one name are refused;
``torch.save`` writes none of these.
"""

import pickle
import zipfile
from typing import BinaryIO

# How an archive starts.
MAGIC = b'PK\x03\x04'


def check(file: BinaryIO, file_bytes: int) -> None:
    """Raise unless every record lies in the file, as it is and once.

    Args:
        file: The open archive; its position is kept.
        file_bytes: Its length.

    Raises:
        pickle.UnpicklingError: If a record is compressed, there twice, or all
            together are longer than the file.
        zipfile.BadZipFile: If it is no archive, or truncated.
    """
    start = file.tell()
    with zipfile.ZipFile(file) as archive:
        records = archive.infolist()
    file.seek(start)
    if any(record.compress_type != zipfile.ZIP_STORED for record in records):
        raise pickle.UnpicklingError('its records are compressed')
    if len({record.filename for record in records}) < len(records):
        raise pickle.UnpicklingError('it has two records of one name')
    if sum(record.file_size for record in records) > file_bytes:
        raise pickle.UnpicklingError('its records are longer than the file')


def record_bytes(file: BinaryIO) -> dict[str, int]:
    """The length of every record by the last part of its name, in lower case.

    PyTorch looks names up without regard to case. Of several the shortest counts.

    Args:
        file: The open archive; its position is lost.
    """
    lengths: dict[str, int] = {}
    with zipfile.ZipFile(file) as archive:
        for record in archive.infolist():
            name = record.filename.rpartition('/')[2].lower()
            lengths[name] = min(record.file_size, lengths.get(name, record.file_size))
    return lengths

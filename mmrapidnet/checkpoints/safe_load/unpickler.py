"""A restricted unpickler for torch before 2.6.

Before 2.6 ``torch.load(weights_only=True)`` knows no stand-ins for names, and before
2.4 it allows no further names at all, so that mmengine's own checkpoints could only be
loaded by running whatever a file asks for.  torch 2.1 also makes a storage as long as
the file claims over a record of any length, so that its end lies in foreign memory.

This one acts as the ``pickle_module`` of ``torch.load``: names are looked up in torch's
table for weights and in `mmrapidnet.checkpoints.safe_load.allowed_globals`, never
imported; only what these tables hold may be called, only objects of their types take a
state, and no storage is longer than its record.
"""

import io
import pickle
import types
from _codecs import encode
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from collections import Counter, OrderedDict
from collections.abc import Callable
from typing import Any, BinaryIO, ClassVar

import torch
from torch._weights_only_unpickler import _get_allowed_globals

from mmrapidnet.checkpoints.safe_load import zip_records
from mmrapidnet.checkpoints.safe_load.allowed_globals import allowed_globals


def load(file: BinaryIO, map_location: Any) -> Any:
    """Load a checkpoint with any torch, building nothing but data.

    Args:
        file: An open checkpoint.
        map_location: As for ``torch.load``.

    Returns:
        What the checkpoint holds.

    Raises:
        pickle.UnpicklingError: If the file refers to a name that is not data.
    """
    # From memory torch.load does not try the tar format of torch < 0.2, which
    # extracts files before anything is looked at.
    buffer = io.BytesIO(file.read())
    lengths = None
    if torch.serialization._is_zipfile(buffer):
        _refuse_torchscript(buffer)
        lengths = zip_records.record_bytes(buffer)
        buffer.seek(0)
    return torch.load(
        buffer,
        map_location=map_location,
        pickle_module=_pickle_module(lengths),
        weights_only=False,
    )


def _refuse_torchscript(buffer: io.BytesIO) -> None:
    """torch.load would hand such an archive, which is a program, to torch.jit."""
    with torch.serialization._open_zipfile_reader(buffer) as archive:
        if torch.serialization._is_torchscript_zip(archive):
            raise pickle.UnpicklingError('GLOBAL TorchScript is a program')


def _pickle_module(lengths: dict[str, int] | None) -> types.SimpleNamespace:
    return types.SimpleNamespace(
        __name__='restricted_pickle',
        # torch derives a class of its own from it.
        Unpickler=type('Unpickler', (Unpickler,), {'lengths': lengths}),
        load=lambda file, **kwargs: Unpickler(file, **kwargs).load(),
        UnpicklingError=pickle.UnpicklingError,
    )


def _decode(text: str, codec: str) -> bytes:
    """``_codecs.encode`` as Python 3 uses it to write bytes in protocol 2."""
    if codec != 'latin1':
        raise pickle.UnpicklingError('GLOBAL _codecs.encode is misused')
    return encode(text, codec)


def _table() -> dict[str, Any]:
    return {
        **_get_allowed_globals(),
        'builtins.set': set,
        'collections.Counter': Counter,
        '_codecs.encode': _decode,
        **allowed_globals(),
    }


class Unpickler(pickle._Unpickler):
    """Python's own unpickler, with every name and call checked.

    Attributes:
        lengths: Bytes of each record of the archive it reads, by its name; None for
            the format of old, which has no records.
    """

    lengths: ClassVar[dict[str, int] | None] = None

    def __init__(self, file: BinaryIO, **kwargs: Any) -> None:
        super().__init__(file, **kwargs)
        self.table = _table()

    def find_class(self, module: str, name: str) -> Any:
        """Look a name up in the tables; nothing is imported."""
        module, name = NAME_MAPPING.get((module, name), (module, name))
        full_name = f'{IMPORT_MAPPING.get(module, module)}.{name}'
        if full_name not in self.table:
            raise pickle.UnpicklingError(f'GLOBAL {full_name} is not data')
        return self.table[full_name]

    def _check_known(self, item: Any) -> None:
        if not any(item is known for known in self.table.values()):
            raise pickle.UnpicklingError(f'a call of {type(item).__name__} is not data')

    def _check_storage(self, identity: Any) -> None:
        # Of the others, `module` makes old loaders compare and write source files.
        if not (isinstance(identity, tuple) and identity[0] == 'storage'):
            raise pickle.UnpicklingError('a reference to other than a storage')
        if self.lengths is None:
            return
        _, kind, key, _, count = identity
        untyped = kind is torch.UntypedStorage
        size = 1 if untyped else torch._utils._element_size(kind.dtype)
        if not 0 <= count * size <= self.lengths[key]:
            raise pickle.UnpicklingError('a storage is longer than its record')

    def _check_type(self, item: Any, *kinds: type) -> None:
        if type(item) not in kinds:
            raise pickle.UnpicklingError(f'{type(item).__name__} is no container')

    def _refuse(self) -> None:
        raise pickle.UnpicklingError('an instruction that checkpoints do not use')


_DICTS = (dict, OrderedDict, Counter)
# What is checked before an instruction is carried out, by its code.
_CHECKS = {
    pickle.REDUCE: lambda self: self._check_known(self.stack[-2]),
    pickle.NEWOBJ: lambda self: self._check_known(self.stack[-2]),
    pickle.BUILD: lambda self: self._check_known(type(self.stack[-2])),
    pickle.BINPERSID: lambda self: self._check_storage(self.stack[-1]),
    pickle.APPEND: lambda self: self._check_type(self.stack[-2], list),
    pickle.APPENDS: lambda self: self._check_type(self.metastack[-1][-1], list),
    pickle.SETITEM: lambda self: self._check_type(self.stack[-3], *_DICTS),
    pickle.SETITEMS: lambda self: self._check_type(self.metastack[-1][-1], *_DICTS),
}
_UNUSED = (
    pickle.PERSID,
    pickle.INST,
    pickle.OBJ,
    pickle.NEWOBJ_EX,
    pickle.ADDITEMS,
    pickle.EXT1,
    pickle.EXT2,
    pickle.EXT4,
    pickle.NEXT_BUFFER,
    pickle.READONLY_BUFFER,
)


def _checked(code: bytes) -> Callable[[Unpickler], None]:
    """The instruction as Python carries it out, behind its check."""
    check, carry_out = _CHECKS[code], pickle._Unpickler.dispatch[code[0]]

    def run(self: Unpickler) -> None:
        check(self)
        carry_out(self)

    return run


Unpickler.dispatch = {
    **pickle._Unpickler.dispatch,
    **{code[0]: _checked(code) for code in _CHECKS},
    **{code[0]: Unpickler._refuse for code in _UNUSED},
}

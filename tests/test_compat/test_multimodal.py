"""mmpretrain where transformers is too new for its multi-modal models."""

import os
import sys

from helpers.commands import REPO, run_command

PROGRAM = """
from mmrapidnet import compat
compat.apply()
import mmpretrain.models
from mmpretrain.registry import MODELS
print(MODELS.build(dict(type='MobileNetV2')).out_indices)
MODELS.build(dict(type='Blip2Caption'))
"""


def test_transformers_without_what_they_need(tmp_path):
    """In another process: what has been imported here cannot be imported anew."""
    package = tmp_path / 'transformers'
    package.mkdir()
    # Torch 2.1 looks for it in any package that is called so.
    (package / '__init__.py').write_text('from . import configuration_utils\n')
    (package / 'configuration_utils.py').write_text('class PretrainedConfig: pass\n')
    (package / 'modeling_utils.py').write_text('class PreTrainedModel: pass\n')
    record = tmp_path / 'transformers-5.0.0.dist-info'
    record.mkdir()
    (record / 'METADATA').write_text('Name: transformers\nVersion: 5.0.0\n')
    path = os.pathsep.join((str(tmp_path), str(REPO)))
    done = run_command(sys.executable, '-c', PROGRAM, PYTHONPATH=path)
    assert done.stdout == '(7,)\n', done.stderr
    assert 'extra multi-modal dependencies' in done.stderr

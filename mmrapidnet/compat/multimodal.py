"""mmpretrain beside a transformers that is too new for its multi-modal models.

Reason:
    mmpretrain defines these models wherever transformers >= 4.28 is installed.
    Version 5 lacks what they are built from, so that ``import mmpretrain.models`` ends
    in ``TypeError: NoneType takes no arguments``.

Condition:
    transformers is installed without the functions that the models import from it.

What it does:
    Leaves the models out, as mmpretrain does where there is no transformers.
"""

from types import ModuleType

from mmrapidnet.compat.patching import when_imported


def apply() -> None:
    """Let mmpretrain be imported."""
    when_imported('mmpretrain.utils.dependency', _patch)


def _patch(module: ModuleType) -> None:
    module.WITH_MULTIMODAL = module.WITH_MULTIMODAL and _has_their_parts()


def _has_their_parts() -> bool:
    try:
        from transformers.modeling_utils import (  # noqa: F401
            apply_chunking_to_forward,
            find_pruneable_heads_and_indices,
            prune_linear_layer,
        )
    except ImportError:
        return False
    return True

"""Patches of the installed OpenMMLab stack, each in a module with its reason.

Nothing here happens by importing `mmrapidnet`: our tools call
`apply`, and a config does it for stock scripts with
``custom_imports = dict(imports=['mmrapidnet', 'mmrapidnet.compat.patch_all'])``.
"""

from mmrapidnet.compat import (
    amp,
    bad_samples,
    class_weights,
    coco_api,
    coco_metric,
    config_packages,
    contiguous_ops,
    data_set_errors,
    distributed,
    dumped_config,
    inferencer,
    layer_decay,
    multimodal,
    no_workers,
    pretrained_init,
    resume,
    safe_checkpoints,
    torchvision_ops,
    workers,
)

# torchvision first: the others import mmengine, which looks for it.
PATCHES = (
    torchvision_ops,
    config_packages,
    safe_checkpoints,
    contiguous_ops,
    inferencer,
    layer_decay,
    multimodal,
    pretrained_init,
    resume,
    distributed,
    dumped_config,
    amp,
    bad_samples,
    data_set_errors,
    no_workers,
    workers,
    class_weights,
    coco_api,
    coco_metric,
)


def apply() -> None:
    """Apply every patch whose condition holds; calling it again changes nothing."""
    for patch in PATCHES:
        patch.apply()

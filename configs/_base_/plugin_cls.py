# The patches come before the classifiers, which import mmpretrain.
custom_imports = dict(
    imports=[
        'mmrapidnet',
        'mmrapidnet.compat.patch_all',
        'mmrapidnet.models.classifiers',
        'mmrapidnet.engine.schedulers',
        'mmrapidnet.engine.hooks.adaptive_grad_clip',
    ],
    allow_failed_imports=False,
)

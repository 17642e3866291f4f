# The mends come before the classifiers, which import mmpretrain.
custom_imports = dict(
    imports=[
        'mmrapidnet',
        'mmrapidnet.compat.patch_all',
        'mmrapidnet.models.classifiers',
        'mmrapidnet.optim',
    ],
    allow_failed_imports=False,
)

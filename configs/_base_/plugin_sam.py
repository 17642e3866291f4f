# The last one registers the metric of prompts.
custom_imports = dict(
    imports=[
        'mmrapidnet',
        'mmrapidnet.compat.patch_all',
        'mmrapidnet.engine.prompted_iou',
    ],
    allow_failed_imports=False,
)

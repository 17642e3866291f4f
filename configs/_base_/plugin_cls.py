# The mends come before the classification head, which imports mmpretrain.
custom_imports = dict(
    imports=['mmrapidnet', 'mmrapidnet.compat.on', 'mmrapidnet.models.heads'],
    allow_failed_imports=False,
)

# The plugin, and mmpretrain's backbones beside it.
custom_imports = dict(
    imports=['mmrapidnet', 'mmrapidnet.compat.patch_all', 'mmpretrain.models'],
    allow_failed_imports=False,
)
# MobileNetV2's last 1x1 convolution, `conv2`, is always built and no tap uses it:
# training on several processes stops at parameters that get no gradient unless told
# to look for them.
find_unused_parameters = True

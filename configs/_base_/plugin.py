# The first name registers the backbones.  The second patches what the installed
# libraries need on this machine (nothing where nothing is needed).
custom_imports = dict(
    imports=['mmrapidnet', 'mmrapidnet.compat.patch_all'], allow_failed_imports=False
)

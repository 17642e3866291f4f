"""The old name of `mmrapidnet.compat.patch_all`."""

from mmrapidnet.compat import apply
from mmrapidnet.utils.deprecation import warn_renamed

apply()
warn_renamed(__name__, 'mmrapidnet.compat.patch_all')

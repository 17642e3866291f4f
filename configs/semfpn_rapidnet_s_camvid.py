_base_ = 'semfpn_rapidnet_ti_camvid.py'

model = dict(backbone=dict(arch='s'))

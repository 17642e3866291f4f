# Stochastic depth as published: one rate per block (2 + 2 + 8 + 4).
_base_ = 'rapidnet_s.py'

backbone = dict(
    arch='ti', drop_path_rate=[0.0] * 11 + [0.0067, 0.0133, 0.0133, 0.0133, 0.0200]
)

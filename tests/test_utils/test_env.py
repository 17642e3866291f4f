"""What is found out about the machine."""

import pytest

from mmrapidnet.utils import env


@pytest.mark.parametrize(
    ('cpuinfo', 'cap', 'expected'),
    [
        ('flags : avx2 avx512f avx512_bf16', None, True),
        ('flags : avx2 avx512f avx512_bf16', 'AVX512_CORE_BF16', True),
        ('flags : avx2 avx512f avx512_bf16', 'AVX512_CORE', False),
        ('flags : avx2 avx512f avx512_bf16', 'avx2', False),
        ('flags : avx2 avx512f', None, False),
        ('', None, False),
    ],
)
def test_bf16_is_what_onednn_may_use(cpuinfo, cap, expected, monkeypatch):
    monkeypatch.setattr(env, '_cpuinfo', lambda: cpuinfo)
    monkeypatch.delenv('ONEDNN_MAX_CPU_ISA', raising=False)
    if cap:
        monkeypatch.setenv('ONEDNN_MAX_CPU_ISA', cap)
    assert env.has_bf16() is expected

"""Packages mmrapidnet; configs and tools travel in ``mmrapidnet/.mim``.

That is where mim looks for them.
"""

import os
import re
import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py
from setuptools.command.develop import develop

ROOT = Path(__file__).resolve().parent
MIM_FILES = ('configs', 'tools', 'model-index.yml')


def read_version():
    text = (ROOT / 'mmrapidnet' / 'version.py').read_text(encoding='utf-8')
    return re.search(r"^__version__ = '(.+)'$", text, re.MULTILINE).group(1)


def read_requirements(name):
    lines = (ROOT / 'requirements' / f'{name}.txt').read_text('utf-8').splitlines()
    return [line for line in lines if line and not line.startswith('#')]


def remove(path):
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def copy(source, target):
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns('__pycache__'))
    else:
        shutil.copyfile(source, target)


def link(source, target):
    """Links, so that an editable install follows the sources; copies if it must."""
    try:
        target.symlink_to(os.path.relpath(source, target.parent))
    except OSError:
        copy(source, target)


def place_mim_files(package, place):
    mim = Path(package) / '.mim'
    mim.mkdir(parents=True, exist_ok=True)
    for name in MIM_FILES:
        remove(mim / name)
        place(ROOT / name, mim / name)


class BuildPy(build_py):
    """Adds ``.mim``: a copy in a wheel, links in an editable install (PEP 660)."""

    def run(self):
        super().run()
        if getattr(self, 'editable_mode', False):
            place_mim_files(ROOT / 'mmrapidnet', link)
        else:
            place_mim_files(Path(self.build_lib) / 'mmrapidnet', copy)


class Develop(develop):
    """Adds ``.mim`` to an editable install made without PEP 660."""

    def run(self):
        super().run()
        place_mim_files(ROOT / 'mmrapidnet', link)


EXTRAS = (
    *('det', 'seg', 'cls', 'sam'),
    *('onnx', 'openvino', 'coreml', 'ncnn', 'executorch', 'litert'),
    *('tests', 'docs'),
)
extras = {name: read_requirements(name) for name in EXTRAS}
extras['all'] = extras['det'] + extras['seg'] + extras['cls']

setup(
    name='mmrapidnet',
    version=read_version(),
    description='RapidNet, RepViT and MobileViG backbones for OpenMMLab',
    long_description=(ROOT / 'README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    author='mmrapidnet contributors',
    license='Apache-2.0',
    license_files=['LICENSE'],
    classifiers=[
        'Intended Audience :: Science/Research',
        'Programming Language :: Python :: 3',
        'Programming Language :: Python :: 3.10',
        'Programming Language :: Python :: 3.11',
        'Programming Language :: Python :: 3.12',
        'Topic :: Scientific/Engineering :: Artificial Intelligence',
    ],
    python_requires='>=3.10',
    install_requires=read_requirements('runtime'),
    extras_require=extras,
    packages=find_packages(include=['mmrapidnet', 'mmrapidnet.*']),
    cmdclass={'build_py': BuildPy, 'develop': Develop},
    zip_safe=False,
)

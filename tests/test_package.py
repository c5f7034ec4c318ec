"`import snnlit`: every public name, none of them imported before it is used."
import subprocess, sys
from importlib import import_module

import pytest

import snnlit
from notebooks import ROOT

MODULES = sorted(path.stem for path in (ROOT/'snnlit').glob('[a-z]*.py'))
SHOWN = [module for module in MODULES if module not in snnlit._APART]


def test_names_are_those_of_the_modules():
    import snnlit as snn
    assert snn.LifRef is import_module('snnlit.neurons').LifRef
    assert snn.simulate is import_module('snnlit.network').simulate
    assert snn.plot is import_module('snnlit.plot') and snn.BLUE == snn.plot.BLUE


TWICE = {'Identity': 'initialize.Identity or layers.Identity'}  # both named as in the original library


@pytest.mark.parametrize('module', SHOWN)
def test_every_public_name_is_found(module):
    "A name that is also a module stands for the module; no other stands for two things"
    for name in set(import_module(f'snnlit.{module}').__all__) - set(TWICE):
        assert name in MODULES or getattr(snnlit, name) is getattr(import_module(f'snnlit.{module}'), name)


@pytest.mark.parametrize('name', TWICE)
def test_a_name_of_two_things_is_told_where_both_are(name):
    assert name not in dir(snnlit)
    with pytest.raises(AttributeError, match=f'snnlit has several {name}: take {TWICE[name]}'): getattr(snnlit, name)


def test_dir_lists_them():
    assert {'LifRef', 'coba', 'plot', '__version__', *MODULES} <= set(dir(snnlit))
    assert not {'load64', 'main', '_re'} & set(dir(snnlit))


@pytest.mark.parametrize('name, hint', [('LIFRef', 'LifRef'), ('simulat', 'simulate'), ('Networks', 'Network')])
def test_a_misspelt_name_is_told_the_right_one(name, hint):
    with pytest.raises(AttributeError, match=rf'snnlit has no {name!r}\. Did you mean .*\b{hint}\b'): getattr(snnlit, name)


def test_other_names_are_absent():
    assert not hasattr(snnlit, 'zzz') and not hasattr(snnlit, '__wrapped__') and not hasattr(snnlit, '_private')
    with pytest.raises(ImportError): exec('from snnlit import zzz')


def test_importing_it_imports_nothing_else():
    code = 'import sys, snnlit; dir(snnlit); print([each for each in ("jax", "numba", "matplotlib") if each in sys.modules])'
    said = subprocess.run([sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert said == '[]\n'

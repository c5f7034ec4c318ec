"""Weights that decay with distance against matrices computed from the original library.

`R_*` is its formula on a grid in C order, `W_*` what it returns: equal in one dimension, and wherever its order of neurons does not matter.
"""
import json

import numpy as np
import pytest
from snnlit.space import DOGDecay, GaussianDecay

OPTIONS = 'min_w', 'encoding_values', 'periodic_boundary', 'include_self', 'normalize'


@pytest.fixture(scope='module')
def fixture(oracles):
    return np.load(oracles/'brainpy'/'decay.npz')


@pytest.fixture(scope='module')
def cases(fixture):
    "Each case, our initialiser for it, and its matrix"
    made = [(case, initialiser(case)) for case in json.loads(str(fixture['cases']))]
    return [(case, init, np.asarray(init(tuple(case['shape'])))) for case, init in made]


def initialiser(case):
    options = {name: case[name] for name in OPTIONS}
    if case['cls'] == 'GaussianDecay': return GaussianDecay(case['sigma'], case['max_w'], **options)
    return DOGDecay(case['sigmas'], case['max_ws'], **options)


def differ(ours, theirs, case):
    "Where they do; weights within 1e-6 of the threshold may be rounded to either side of it"
    amplitudes = case['max_ws'] if 'max_ws' in case else [case['max_w']]
    floor = .005*min(map(abs, amplitudes)) if case['min_w'] is None else abs(case['min_w'])
    unclear = np.any([np.abs(np.abs(w) - floor) < 1e-6 for w in (ours, theirs)], axis=0)
    return (np.abs(ours - theirs) > 2e-6) & ~(unclear & (floor > 0))


def test_the_matrices_that_are_right(fixture, cases):
    "Every one of the 237 cases, as a matrix and as synapses"
    assert len(cases) == sum(name.startswith('R_') for name in fixture.files) == 237
    for case, init, W in cases:
        assert not differ(W, fixture['R_' + case['id']], case).any(), case
        conn, weight = init.to_csr(tuple(case['shape']))
        assert (conn.to_scipy(weight).toarray() == W).all() and conn.nnz == (W != 0).sum(), case


def test_the_original_differs_where_it_is_known_to_be_wrong(fixture, cases):
    "And only there: an oracle that agreed everywhere would not tell the two orders apart"
    for case, _, W in cases:
        assert differ(W, fixture['W_' + case['id']], case).any() != case['real_equals_correct'], case

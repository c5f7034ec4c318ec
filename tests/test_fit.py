"""Read-outs fitted offline and online against results of the original library.

Its ridge penalises the bias, and its recursive least squares start from `P = alpha*I`, which is `RLS(1/alpha)` here.
All numbers are float32. The features are 60 samples of 5 normal numbers, with a condition below 3, so a few hundred roundings are
allowed: 5e-5. The original leaves out nothing of that: it inverts `X.T @ X` in float32, and a reference in float64 agrees as well.
"""
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from snnlit.fit import LMS, RLS, offline, online

TOLERANCE = 5e-5


@pytest.fixture(scope='module')
def fixture(oracles):
    return np.load(oracles/'brainpy'/'fit.npz')


@pytest.fixture(scope='module')
def cases(fixture):
    return json.loads(str(fixture['cases']))


def of_kind(cases, kind, number):
    found = [case for case in cases if case['kind'] == kind]
    assert len(found) == number
    return found


def close(ours, theirs):
    return ours.shape == theirs.shape and np.allclose(ours, theirs, rtol=0, atol=TOLERANCE)


def rule_of(algorithm):
    "`rls0.1` or `lms0.01` of the original as a rule of ours"
    number = float(algorithm[3:])
    return RLS(1/number) if algorithm.startswith('rls') else LMS(number)


def test_offline(fixture, cases):
    "Linear regression and three ridges, each with and without a bias"
    for case in of_kind(cases, 'offline', 8):
        ridge = 0. if case['alg'] == 'linear' else float(case['alg'][5:])
        W, b = offline(fixture['X'], fixture['Y'], ridge, case['bias'], penalise_bias=True)
        assert close(W, fixture[case['key'] + '_W']), case
        assert close(b, fixture[case['key'] + '_b']) if case['bias'] else b is None, case


def test_online(fixture, cases):
    "Outputs, weights after every step, and the last P; one sample per step, and two"
    for case in of_kind(cases, 'online', 12):
        rule, B, key = rule_of(case['alg']), case['batch'], case['key']
        W, b, state = jnp.asarray(fixture['W0']), jnp.asarray(fixture['b0']) if case['bias'] else None, None
        for t in range(30):
            step = np.s_[:B, t:t + 1]
            out, W, b, state = online(rule, W, b, fixture['X'][step], fixture['Y'][step], state)
            assert close(out[:, 0], fixture[key + '_out'][t]) and close(W, fixture[key + '_W'][t]), (case, t)
            assert not case['bias'] or close(b, fixture[key + '_b'][t]), (case, t)
        assert 'lms' in key or close(state.P, fixture[key + '_P']), case


def test_one_scan_is_thirty_steps(fixture, cases):
    "The whole recording in one call ends where the original ends"
    for case in of_kind(cases, 'online', 12):
        b = fixture['b0'] if case['bias'] else None
        data = fixture['X'][:case['batch']], fixture['Y'][:case['batch']]
        learnt = online(rule_of(case['alg']), fixture['W0'], b, *data)
        assert close(learnt.W, fixture[case['key'] + '_W'][-1]), case
        assert close(np.moveaxis(learnt.outputs, 0, 1), fixture[case['key'] + '_out']), case


@pytest.mark.parametrize('name, alpha', [('ForceTrainer_alpha1', 1.), ('OnlineTrainer_default', 1e-7)])
def test_trainers(fixture, name, alpha):
    "Its online trainers are RLS with a bias; the default of one starts from P = 1e-7, and hardly learns"
    learnt = online(RLS(1/alpha), fixture['W0'], fixture['b0'], fixture['X'], fixture['Y'])
    for ours, theirs in ((learnt.outputs, 'fitout'), (learnt.W, 'W'), (learnt.b, 'b')):
        assert close(ours, fixture[f'{name}_{theirs}']), theirs
    assert close(fixture['X'] @ learnt.W + learnt.b, fixture[name + '_pred'])
    moved = np.abs(learnt.W - fixture['W0']).max()
    assert moved < 1e-4 if alpha == 1e-7 else moved > .1


def test_ridge_trainer(fixture):
    W, b = offline(fixture['X'], fixture['Y'], 1., penalise_bias=True)
    assert close(W, fixture['RidgeTrainer_alpha1_W']) and close(b, fixture['RidgeTrainer_alpha1_b'])
    assert close(fixture['X'] @ W + b, fixture['RidgeTrainer_alpha1_pred'])


def test_a_free_bias_is_another_answer(fixture):
    "Ours by default. It differs from the original by much more than the tolerance, so the tests above can tell"
    free, paying = (offline(fixture['X'], fixture['Y'], 10., penalise_bias=pays) for pays in (False, True))
    assert np.abs(free.b - paying.b).max() > 100*TOLERANCE


def test_float32_keeps_the_answer():
    "At a condition of 1e5 the normal equations in float32 are wrong by more than a hundred per cent of the weights"
    rng = np.random.default_rng(0)
    U, _, Vt = np.linalg.svd(rng.normal(size=(200, 20)), full_matrices=False)
    X = ((U*np.geomspace(1, 1e-5, 20)) @ Vt).astype(np.float32)
    Y = X @ rng.normal(size=(20, 1)).astype(np.float32)
    best = X.astype(float) @ np.linalg.lstsq(X.astype(float), Y.astype(float), rcond=None)[0]
    ours, formula = offline(X, Y, bias=False).W, np.linalg.solve(X.T @ X, X.T @ Y)
    errors = [np.linalg.norm(X.astype(float) @ np.asarray(W, float) - best)/np.linalg.norm(best) for W in (ours, formula)]
    # 1e5 roundings of the weights, weighted by singular values in the prediction: 1e-5 is generous
    assert errors[0] < 1e-5 < 1e-4 < errors[1]


def test_float32_loses_no_more_than_its_weights():
    "Large weights that nearly cancel, with a price: the error stays near that of the best weights rounded to float32"
    rng = np.random.default_rng(0)
    U, V = (np.linalg.qr(rng.normal(size=(n, 100)))[0] for n in (400, 100))
    for low, price in ((1e-3, 1e-7), (1e-5, 1e-11), (1e-6, 1e-13)):
        X, Y = ((U*np.geomspace(1, low, 100)) @ V).astype(np.float32), (U @ rng.normal(size=(100, 1))).astype(np.float32)
        exact, (u, s, vt) = X.astype(float), np.linalg.svd(X.astype(float), full_matrices=False)
        best = vt.T @ ((s/(s**2 + price))[:, None]*(u.T @ Y))
        rounded, ours = (np.linalg.norm(exact @ (np.asarray(W, float) - best))
                         for W in (best.astype(np.float32), offline(X, Y, price, bias=False).W))
        assert ours < 5*rounded, low  # between 1 and 2 times; the singular values alone give 8 to 80 times


@pytest.mark.parametrize('shape, price', [((30, 5), .3), ((5, 5), .3), ((4, 9), .3), ((30, 5), 0.)])
def test_derivatives(shape, price):
    "First and second, forwards and backwards, against finite differences; more features than steps too"
    rng = np.random.default_rng(0)
    with jax.enable_x64(True):
        X, Y = rng.normal(size=shape), rng.normal(size=(shape[0], 2))
        check_grads(lambda X, Y: offline(X, Y, price, bias=False).W, (X, Y), order=2)
        if price: check_grads(lambda price: offline(X, Y, price).W, (price,), order=2)


def test_many_prices_of_a_large_problem():
    "Factorisations side by side once left all threads of XLA waiting for each other for ever"
    X = np.random.default_rng(0).normal(size=(2000, 400)).astype(np.float32)
    prices = jnp.geomspace(.1, 1., 4)
    many = jax.vmap(lambda price: offline(X, X[:, :1] + 1, price).W)(prices)
    assert np.allclose(many[2], offline(X, X[:, :1] + 1, prices[2]).W, rtol=0, atol=1e-5)


def test_transformations():
    "jit, vmap and grad reach through both fits"
    rng = np.random.default_rng(1)
    X, Y = rng.normal(size=(3, 40, 4)).astype(np.float32), rng.normal(size=(3, 40, 2)).astype(np.float32)
    many = jax.jit(jax.vmap(lambda x, y: offline(x, y, .1)))(X, Y)
    for k in range(3):
        assert np.allclose(many.W[k], offline(X[k], Y[k], .1).W, rtol=0, atol=1e-5)
    W, b = jnp.zeros((4, 2)), jnp.zeros(2)
    loss = lambda rate: jnp.mean((online(LMS(rate), W, b, X[0], Y[0]).outputs - Y[0])**2)
    slope, near = jax.grad(loss)(.01), (loss(.011) - loss(.009))/.002
    assert np.isclose(slope, near, rtol=1e-2)  # second-order differences of a float32 loss

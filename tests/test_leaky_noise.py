"""The leaky-noise cell against numbers computed with ngc-learn 3.2.1, and against the list of what that does wrong.

ngc-learn computes in float32, where a step of the cell rounds a few times. Errors fade with the leak, so after 40 steps
they are still of the order of 1e-7 of the largest value; 2e-6 of it is ample. Slopes near kinks of `exp` and powers lose
another factor of ten. ngc-learn's code table runs RK4 where `heun` is asked for, so its `heun` is compared with our `rk4`.
"""
import json
from dataclasses import replace

import jax, jax.numpy as jnp, numpy as np
import pytest

from snnlit.core import Cell
from snnlit.leaky_noise import LeakyNoiseCell, LeakyNoiseState, activations, integrators, rate

THEIR_HEUN = {'heun': 'rk4', 'rk2_heun': 'rk4'}


@pytest.fixture(scope='module')
def load(oracles):
    def load(name):
        with np.load(oracles/'ngc'/f'{name}.npz') as file: return dict(file)
    return load


def close(ours, theirs, tol=2e-6):
    "To `tol` of the largest value, or of 1 if all are smaller"
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=tol*max(1, np.abs(theirs).max()))


@jax.jit
def states(cell, s, inputs, dt, recurrent=None, keys=None):
    "The states after each step, stacked; compiled once for each kind of cell, whatever its numbers"
    def body(s, now):
        j, recurrent, key = now
        s = cell.step(s, j, 0. if recurrent is None else recurrent, dt=dt, key=key)
        return s, s
    return jax.lax.scan(body, s, (jnp.asarray(inputs), recurrent, keys))[1]


# without noise

@pytest.mark.parametrize('k', range(36))
def test_without_noise(load, k):
    "Every integrator, step, time constant and leak, with both inputs, from an initial state, for a batch of two"
    fixture = load('exact')
    name, *numbers = str(fixture['cases_integ_dt_tau_leak'][k]).split(',')
    dt, tau, leak = map(float, numbers)
    cell = LeakyNoiseCell(5, tau, 'tanh', integration_type=THEIR_HEUN.get(name, name), sigma_pre=0., leak_scale=leak,
                          x_initializer=fixture['x0'][0])
    s = replace(cell.init_state(batch=(2,)), x=jnp.asarray(fixture['x0']))
    s = states(cell, s, fixture['j_input'], dt, fixture['j_recurrent'])
    close(s.x, fixture[f'x_{k}'])
    if f'r_{k}' in fixture:
        close(s.r, fixture[f'r_{k}'])
        close(s.r_prime, fixture[f'r_prime_{k}'])


def test_the_fixture_has_that_many_cases_and_can_fail(load):
    "A test that takes Heun's method for what it is must find ngc-learn's numbers different"
    fixture = load('exact')
    assert len(fixture['cases_integ_dt_tau_leak']) == 36
    k = list(fixture['cases_integ_dt_tau_leak']).index('heun,5.0,10.0,1.0')
    cell = LeakyNoiseCell(5, 10., integration_type='heun', sigma_pre=0.)
    s = replace(cell.init_state(batch=(2,)), x=jnp.asarray(fixture['x0']))
    assert abs(states(cell, s, fixture['j_input'], 5., fixture['j_recurrent']).x - fixture[f'x_{k}']).max() > .01


def test_axes(load):
    "Units in height, width and channels"
    fixture = load('exact')
    cell = LeakyNoiseCell(24, 10., shape=(3, 4, 2), sigma_pre=0.)
    s = states(cell, cell.init_state(batch=(2,)), fixture['hwc_j'], 1.)
    close(s.x, fixture['hwc_x'])
    close(s.r, fixture['hwc_r'])


def test_their_own_test(load):
    "No leak, a constant input of 1, tau 50: 0.02, 0.04, ... It is the only test of the cell that ngc-learn has"
    cell = LeakyNoiseCell(1, 50., sigma_pre=0., leak_scale=0.)
    for name in integrators:
        x = states(replace(cell, integration_type=name), cell.init_state(), np.ones(10), 1.).x
        close(x[:, None], load('exact')['unit_test_x'])


def test_wired(load):
    "One cell's rate is the other's input, in the same step"
    fixture = load('wired')
    a, b = (LeakyNoiseCell(2, float(fixture[f'tau_{k}']), 'identity', sigma_pre=0.) for k in 'ab')
    def body(now, _):
        sa = a.step(now[0], fixture['j'], dt=1.)
        sb = b.step(now[1], sa.r, dt=1.)
        return (sa, sb), (sa.x, sb.x)
    xa, xb = jax.lax.scan(body, (a.init_state(), b.init_state()), length=8)[1]
    close(xa, fixture['x_a'])
    close(xb, fixture['x_b'])


# with ngc-learn's noise

@pytest.fixture(scope='module')
def chain(load):
    "The keys of its steps: each time, one half is stored and the other used"
    key, used = jnp.asarray(load('keyed')['key0']), []
    for _ in range(30):
        key, now = jax.random.split(key)
        used.append(now)
    return key, jnp.stack(used)


@pytest.mark.parametrize('k', range(6))
def test_with_its_noise(load, chain, k):
    "From its keys come its numbers, one sample for both noises, and so its states"
    fixture = load('keyed')
    name, *numbers, act = str(fixture['cases_integ_dt_tau_sigmapre_sigmapost_act'][k]).split(',')
    dt, tau, pre, post = map(float, numbers)
    last, keys = chain
    np.testing.assert_array_equal(last, fixture[f'key_{k}'])
    cell = LeakyNoiseCell(4, tau, act, integration_type=THEIR_HEUN.get(name, name), sigma_pre=pre, sigma_post=post,
                          noise_scaling='ngclearn')
    s = states(cell, cell.init_state(batch=(2,)), fixture['j_input'], dt, keys=keys)
    close(s.x, fixture[f'x_{k}'])
    close(s.r, fixture[f'r_{k}'])


def test_the_deviations_that_were_measured(load):
    """Its stationary deviation is (7) with its scaling, and ours with ours.

    Rows are runs of ngc-learn, each an average over many correlated steps; they agree with its theory to 2 %.
    """
    fixture = load('noise_stats')
    for name, row in zip(fixture['integ'], fixture['rows']):
        dt, leak, _, measured, lag1, _, theirs, consistent, *_ = (*row, None)
        cell = LeakyNoiseCell(1, float(fixture['tau']), integration_type=THEIR_HEUN.get(name, name), leak_scale=leak,
                              sigma_pre=float(fixture['sigma_pre']), noise_scaling='ngclearn')
        assert abs(cell.deviation(dt)/measured - 1) < .02
        assert abs(1 - leak*cell.factors(dt)[0] - lag1) < .01


# activations

def test_activations(load):
    fixture = load('activations')
    assert set(fixture['names']) | {'softmax', 'bkwta'} == set(activations)
    x = jnp.asarray(fixture['x'])
    for name in fixture['names']:
        f, slope = rate(activations[str(name)], x)
        close(f, fixture[f'f_{name}'], 2e-5)
        close(slope, fixture[f'df_{name}'], 2e-4)


def test_competing_activations(load):
    "`r_prime` of softmax is the diagonal of the matrix that ngc-learn returns; gradients are those of the matrix"
    fixture = load('activations')
    m = jnp.asarray(fixture['m'])
    p, diagonal = rate(activations['softmax'], m)
    close(p, fixture['f_softmax'])
    close(diagonal, np.diagonal(fixture['df_softmax'], axis1=1, axis2=2))
    close(jax.vmap(jax.jacobian(activations['softmax']))(m), fixture['df_softmax'])
    winners, slope = rate(activations['bkwta'], m)
    np.testing.assert_array_equal(winners, fixture['f_bkwta'])
    np.testing.assert_array_equal(slope, fixture['df_bkwta'])


# what ngc-learn does wrong, item by item

@pytest.fixture(scope='module')
def wrong(oracles): return json.loads((oracles/'ngc'/'misbehaviour.json').read_text())


def three_steps(name):
    cell = LeakyNoiseCell(1, 10., 'identity', integration_type=name, sigma_pre=0.)
    return states(cell, cell.init_state(), np.ones(3), 1.).x[:, 0]


def test_integrators_by_name(wrong):
    "The ones that it has work as there; Heun is not RK4, and Ralston and RK4 exist"
    def theirs(name): return json.loads(wrong[f"integration_type='{name}'"].removeprefix('OK: '))
    for name in ('euler', 'rk1', 'midpoint', 'rk2'): close(three_steps(name), theirs(name))
    for name in ('heun', 'rk2_heun', 'ralston', 'rk2_ralston'): close(three_steps(name), theirs('midpoint'))
    close(three_steps('rk4'), theirs('heun'))
    close(three_steps('exact'), -np.expm1(-np.arange(1, 4)/10))
    assert wrong["integration_type='rk4'"] == 'KeyError: 4' and wrong["integration_type='bogus'"].startswith('OK')


REFUSED = [('integration_type', 'bogus', 'must be one of euler, '), ('act_fx', 'swish', 'must be one of tanh, '),
           ('act_fx', 'leaky_relu', 'lrelu'), ('act_fx', 'heavisideXYZ', 'heaviside'), ('act_fx', None, 'must be one of tanh, '),
           ('act_fx', 'bkwta', 'at least 5 units'), ('shape', (2, 3, 4), 'must hold n_units = 3'), ('tau_x', 0., 'positive'),
           ('tau_x', -10., 'positive'), ('tau_x', np.inf, 'finite'), ('sigma_pre', -1., 'non-negative'),
           ('sigma_post', -1., 'non-negative'), ('leak_scale', -1., 'non-negative'), ('noise_scaling', 'other', 'sde, ngclearn')]


@pytest.mark.parametrize('name, value, says', REFUSED, ids=[f'{name}={value!r}' for name, value, _ in REFUSED])
def test_refused(name, value, says):
    with pytest.raises(ValueError, match=f'^LeakyNoiseCell: (act_fx )?.*{says}'):
        LeakyNoiseCell(**{'n_units': 3, 'tau_x': 10., name: value})


@pytest.mark.parametrize('name', integrators)
def test_a_step_that_would_diverge(wrong, name):
    "dt = 25 with tau = 10: the original swings to 10 and beyond in six steps"
    assert max(map(abs, json.loads(wrong['dt=25 > 2*tau=20'].removeprefix('OK: ')))) > 10
    cell = LeakyNoiseCell(3, 10., integration_type=name, sigma_pre=0.)
    if name == 'exact':
        s = cell.step(cell.init_state(), 1., dt=25.)
        np.testing.assert_allclose(s.x, -np.expm1(-2.5), rtol=1e-6)
        return
    with pytest.raises(ValueError, match=r"below 2 tau_x/leak_scale = 20 .* got 25.*integration_type='exact' is stable"):
        cell.step(cell.init_state(), 1., dt=25.)


def test_shapes_and_scales():
    "Any number of axes; `output_scale` acts; the first rate is f(0)"
    for shape in ((3,), (3, 2), (2, 3, 4), (1, 2, 1, 3)):
        cell = LeakyNoiseCell(int(np.prod(shape)), 10., shape=shape)
        s = jax.eval_shape(lambda: cell.step(cell.init_state(batch=(5,)), 0., dt=1., key=jax.random.key(0)))  # nothing is compiled
        assert s.x.shape == s.r.shape == s.r_prime.shape == (5, *shape)
    s = LeakyNoiseCell(1, 10., 'softplus', output_scale=2.).init_state()
    np.testing.assert_allclose(s.r, 2*np.log(2), rtol=1e-6)
    np.testing.assert_allclose(s.r_prime, 1., rtol=1e-6)
    s = LeakyNoiseCell(3, 10., 'softmax').init_state(batch=(1,))
    assert s.r_prime.shape == (1, 3)


def test_noise_belongs_to_its_key(wrong):
    "Two noises that are not one sample; a fresh state and the same key give the same run, step by step or compiled"
    assert 'corr(eps_pre, eps_post) = 1.000000' in wrong['eps_pre vs eps_post']
    cell = LeakyNoiseCell(1000, 10., 'identity', sigma_post=.1)
    keys = jax.random.split(jax.random.key(0), 20)
    one, two = (states(cell, cell.init_state(), np.zeros(20), 1., keys=keys) for _ in range(2))
    np.testing.assert_array_equal(one.r, two.r)
    s = cell.init_state()
    for key in keys: s = cell.step(s, 0., dt=1., key=key)
    close(s.r, one.r[-1])
    post = one.r - one.x
    pre = one.x - .9*np.vstack([np.zeros((1, 1000)), one.x[:-1]])
    assert abs(np.corrcoef(pre.ravel(), post.ravel())[0, 1]) < 4.5/np.sqrt(20_000)  # false alarms: 1 in 150,000
    assert isinstance(cell, Cell) and isinstance(one, LeakyNoiseState)


def test_a_fresh_state_is_fresh(wrong):
    "Its compiled reset leaves the state as it is, and batch sizes disagree afterwards; here a state is made anew"
    assert 'max|x| before 0.109, after 0.109' in wrong['MethodProcess >> cell.reset  (compiled)']
    cell = LeakyNoiseCell(3, 10.)
    for batch in ((), (2,), (5,)):
        s = jax.jit(LeakyNoiseCell.init_state, static_argnames='batch')(cell, batch=batch)
        assert s.x.shape == (*batch, 3) and not s.x.any() and not s.r.any()
    with pytest.raises(TypeError, match='must be a JAX random key, got None'): cell.step(cell.init_state(), 0., dt=1.)
    assert wrong['default sigma_post (docstring says 0.)'] == 'OK: 0.1' and cell.sigma_post is None


def test_help_tells_the_dynamics(wrong):
    "What its help leaves out, a bare cell shows"
    assert 'leak_scale' not in json.dumps(wrong['help()'])
    story = repr(LeakyNoiseCell(3, 10., 'tanh', sigma_pre=.3, leak_scale=4., integration_type='rk4'))
    for part in ('3 units', "'rk4'", 'tau_x dx/dt = -leak_scale x + j_input', 'tanh(x)', '10', 'time constant, ms', '0.15', '2.5 ms'):
        assert part in story

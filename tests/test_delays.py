"""Delay lines against the original's, case by case: which step's data does a read find?"""
import json

import jax.numpy as jnp
import numpy as np
import pytest
from snnlit.core import delay_steps
from snnlit.projections import DelayLine

CASES = 44


def cases(oracles):
    z = np.load(oracles/'brainpy'/'delay.npz')
    return [(case, z[case['key']]) for case in json.loads(str(z['cases']))]


def found(delays, steps, after_update):
    "For each step and delay: the step whose datum is read, -1 for none; `None` or 0 after an update is the datum itself"
    lags = [0 if d is None else delay_steps('delay (ms)', d, .1)*(d > 0) for d in delays]
    line = DelayLine(1, max(1, *lags))
    ring, seen = line.init_state(dtype=jnp.int32) - 1, []
    for t in range(steps):
        if not after_update: ring = line.push(ring, jnp.array([t - 1]), t)  # what was emitted in the step before
        else: ring = line.push(ring, jnp.array([t]), t + 1)                 # the datum of this step, at once
        now = t + after_update
        seen.append([t if k == 0 and after_update else int(line.read(ring, now, max(1, k))[0]) for k in lags])
    return np.array(seen)


@pytest.mark.parametrize('k', range(CASES))
def test_case(oracles, k):
    """Read after the update, and with the concatenating method, the original finds what is due. With its rotating buffer,
    read before the update, delays of one step find the oldest datum, and longer ones arrive a step early."""
    case, theirs = cases(oracles)[k]
    ours = found(case['delays'], len(theirs), case['order'] == 'update_first')
    if case['order'] == 'update_first' or case['method'] == 'concat':
        assert (ours == theirs).all()
        return
    steps = [0 if d is None else round(d/.1) for d in case['delays']]
    for column, lag in enumerate(steps):
        wrong = lag > 1 or (lag == 1 and max(steps) > 1)
        assert (ours[:, column] != theirs[:, column]).any() == wrong


def test_every_case_is_tried(oracles):
    assert len(cases(oracles)) == CASES


def test_steps_of_a_delay(oracles):
    "Entries count steps as here; the original's constructor loses one where a quotient falls short, as 0.3/0.1 does"
    z = np.load(oracles/'brainpy'/'delay.npz')
    whole = np.array([abs(t/.1 - round(t/.1)) < 1e-9 for t in z['times']])
    ours = np.array([delay_steps('delay (ms)', float(t), .1) if t else 0 for t in z['times'][whole]])
    assert (ours == np.rint(z['times'][whole]/.1)).all()
    assert (ours == z['entry_steps'][whole]).all() and (ours != z['ctor_steps'][whole]).any()

"""Fitted models: plain numbers that survive JSON and predict without scikit-learn."""

import json
import subprocess
import sys

import numpy as np
import pytest
from scipy import stats
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.linear_model import Ridge as PlainRidge
from sklearn.neural_network import MLPRegressor

from ems.health.goodsin import models, recipes
from ems.health.goodsin.bounds import calibrate, equal_weights, student, weighted_quantile
from ems.health.goodsin.domain import Domain, edge, enclose

RNG = np.random.Generator(np.random.PCG64(7))
X = RNG.normal(size=(240, 4)) * [1.0, 10.0, 0.1, 1.0] + [0.0, 50.0, 3.0, 0.0]
Y = X[:, 0] + 0.05 * (X[:, 1] - 50.0) + np.sin(2.0 * X[:, 0]) + RNG.normal(0.0, 0.01, 240)
GROUPS = np.repeat([f"c{number:02d}" for number in range(24)], 10)
RECIPES = {
    "ridge": recipes.Ridge(0.01),
    "robust ridge": recipes.Ridge(0.01, robust=0.05),
    "gaussian process": recipes.InducingGp(30),
    "trees": recipes.Trees(5),
    "networks": recipes.Networks((6,), 2, epochs=20),
    "blend": recipes.Blended((recipes.Ridge(0.1), recipes.Trees(3)), (1.0, 2.0)),
    "some columns": recipes.OnColumns([0, 1], recipes.Ridge(0.1)),
    "one per value": recipes.PerValue(3, recipes.Ridge(0.1)),
    "projected": recipes.PrincipalAxes(2, recipes.InducingGp(10)),
    "thinned": recipes.Thinned(4, recipes.Ridge(0.1)),
}


def inputs(name):
    x = X.copy()
    if name == "one per value":
        x[:, 3] = np.arange(len(x)) % 3
    return x


@pytest.mark.parametrize("name", RECIPES)
def test_a_model_survives_json_with_its_answers(name):
    x = inputs(name)
    model = RECIPES[name].fit(x, Y, GROUPS)
    again = models.load(json.loads(json.dumps(models.dump(model))))
    assert again.mean(x) == pytest.approx(model.mean(x), abs=2e-4)
    assert again.spread(x) == pytest.approx(model.spread(x), abs=2e-3)
    assert models.dump(again) == models.dump(model)


@pytest.mark.parametrize("name", RECIPES)
def test_the_same_rows_make_the_same_model(name):
    x = inputs(name)
    first, second = (models.dump(RECIPES[name].fit(x, Y, GROUPS)) for _ in range(2))
    assert first == second


def test_an_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="model of kind 'oracle' is not one of"):
        models.load({"kind": "oracle"})


def test_ridge_is_the_ridge_of_the_library():
    z = (X - X.mean(axis=0)) / X.std(axis=0)
    theirs = PlainRidge(alpha=0.3 * len(Y)).fit(z, Y).predict(z)
    assert recipes.Ridge(0.3).fit(X, Y, GROUPS).mean(X) == pytest.approx(theirs)


def test_trees_answer_as_the_library_does():
    grown = ExtraTreesRegressor(7, min_samples_leaf=2, random_state=3).fit(X, Y)
    assert recipes.forest(grown).mean(X) == pytest.approx(grown.predict(X))


def test_a_network_answers_as_the_library_does():
    z = (X - X.mean(axis=0)) / X.std(axis=0)
    net = MLPRegressor(hidden_layer_sizes=(5, 3), activation="tanh", max_iter=2000, tol=1e-2,
                       random_state=0).fit(z, Y)  # fmt: skip
    ours = models.Mlp(
        X.mean(axis=0), X.std(axis=0), tuple(net.coefs_), tuple(net.intercepts_), 0.0, 1.0
    )
    assert ours.mean(X) == pytest.approx(net.predict(z))


def test_a_robust_ridge_passes_over_wild_rows():
    line = X[:, 0] * 2.0
    wild = line.copy()
    wild[::17] += 30.0
    x = X[:, :1]
    plain = recipes.Ridge(1e-9).fit(x, wild, GROUPS).mean(x)
    robust = recipes.Ridge(1e-9, robust=0.05).fit(x, wild, GROUPS).mean(x)
    assert np.abs(plain - line).max() > 1.0
    assert np.abs(robust - line).max() < 0.1


def test_no_inducing_point_is_a_training_row():
    kernel = recipes.InducingGp(100).fit(X, Y, GROUPS)
    rows = (X - kernel.centre) / kernel.width
    apart = np.abs(kernel.points[:, None] - rows).max(axis=-1)
    assert apart.min() > 1e-6


def test_a_gaussian_process_is_less_sure_far_away():
    kernel = recipes.InducingGp(40).fit(X, Y, GROUPS)
    near, far = kernel.spread(X[:1]), kernel.spread(X[:1] + 40.0 * X.std(axis=0))
    assert 0.0 <= near[0] < far[0]


def test_prediction_needs_numpy_only():
    code = (
        "import sys; import ems.health.goodsin.models, ems.health.goodsin.bounds, "
        "ems.health.goodsin.domain; "
        "print(sorted({n.split('.')[0] for n in sys.modules} & {'sklearn', 'scipy', 'pandas'}))"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert found.strip() == "[]"


def test_bounds_cover_nine_of_ten_and_grow_with_difficulty():
    cells = np.repeat([f"c{number:03d}" for number in range(100)], 20)
    spread = np.where(np.arange(2000) % 20 < 10, 1.0, 4.0)
    error = RNG.normal(size=2000) * spread
    none = np.zeros(2000)
    bounds = calibrate(error, spread, none, cells)
    low, high = bounds.around(none, spread, none, None)
    inside = (low <= error) & (error <= high)
    assert inside.mean() == pytest.approx(0.90, abs=0.02)
    width = high - low
    assert width[spread == 4.0].mean() > 2.0 * width[spread == 1.0].mean()


def offsets(cells):
    """Share of strange cells inside bounds learned from so many, each cell off by a constant."""
    rng = np.random.Generator(np.random.PCG64(cells))
    groups = np.repeat([f"c{number:02d}" for number in range(cells)], 5)
    none, inside = np.zeros(5 * cells), []
    for _ in range(400):
        bounds = calibrate(np.repeat(rng.normal(size=cells), 5), none, none, groups)
        low, high = bounds.around(none[:1], none[:1], none[:1], None)
        others = rng.normal(size=200)
        inside.append(((low <= others) & (others <= high)).mean())
    return float(np.mean(inside))


@pytest.mark.parametrize("cells", [5, 19, 20, 40])
def test_bounds_learned_from_few_cells_cover_cells_that_come_later(cells):
    assert 0.85 <= offsets(cells) <= 0.95


@pytest.mark.parametrize("cells", [4, 5, 8, 11, 60])
def test_few_cells_widen_as_students_t_does(cells):
    right = stats.t.ppf(0.95, cells) / stats.norm.ppf(0.95)
    assert student(cells) == pytest.approx(right, rel=0.015)


def test_every_cell_counts_alike():
    groups = np.array(["a", "a", "a", "b"])
    assert equal_weights(groups) == pytest.approx([1 / 3, 1 / 3, 1 / 3, 1.0])
    values = np.array([1.0, 1.0, 1.0, 9.0])
    assert weighted_quantile(values, equal_weights(groups), 0.49) == 1.0
    assert weighted_quantile(values, equal_weights(groups), 0.51) == 9.0


def test_the_domain_ends_beyond_its_cells_and_survives_json():
    domain = enclose(X, equal_weights(GROUPS))
    limit = edge(domain.distance(X), GROUPS, margin=1.5)
    domain = Domain(domain.centre, domain.width, domain.parts, limit)
    assert (domain.distance(X) < 1.0).all()
    assert domain.distance(X[:1] + 10.0 * X.std(axis=0))[0] > 1.0
    again = Domain.load(json.loads(json.dumps(domain.dump())))
    assert again.distance(X) == pytest.approx(domain.distance(X), rel=1e-4)


def test_two_kinds_have_a_domain_each_and_none_between():
    x = np.vstack([X, X + 40.0 * X.std(axis=0)])
    kinds = np.repeat(["here", "there"], len(X))
    weights = np.ones(len(x))
    between = X[:1] + 20.0 * X.std(axis=0)
    apart = enclose(x, weights, kinds)
    together = enclose(x, weights)
    assert apart.distance(between)[0] > 3.0 * apart.distance(x).max()
    assert together.distance(between)[0] < together.distance(x).max()

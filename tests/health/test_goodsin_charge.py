"""Charge features: only the past of a cell is told, and what the two parts of the model learn."""

import json
from dataclasses import replace

import numpy as np
import pytest

from ems.health.goodsin import fitting, kernels, models, recipes, ripple
from ems.health.goodsin.tasks import TASKS
from tests.health.goodsin_tables import charge_features

TASK = TASKS["charge-features"]
RNG = np.random.Generator(np.random.PCG64(11))
CELLS, CYCLES = 8, 30
GROUPS = np.repeat([f"c{number}" for number in range(CELLS)], CYCLES)
X = np.column_stack(
    [RNG.normal(size=(CELLS * CYCLES, 3)), np.tile(np.arange(CYCLES, dtype=np.float64), CELLS)]
)
Y = 2.0 + 0.1 * np.sin(X[:, 0]) - 0.01 * X[:, 3]


@pytest.mark.parametrize("seen", [1, 2, 5, 12, 39])
def test_features_of_a_row_are_those_of_the_table_that_ends_there(seen):
    table = charge_features(cells=2)
    whole = TASK.features(table)
    until = TASK.features(table[table["cycle"] <= seen].reset_index(drop=True))
    early = whole.order <= seen
    assert until.matrix == pytest.approx(whole.matrix[early], rel=1e-9, abs=1e-12)


def test_a_later_row_never_changes_an_earlier_answer():
    known, table = charge_features(cells=8), charge_features(cells=1, seed=5)
    features, truth = fitting.usable(TASK, known)
    fitted = fitting.fit(TASK, features, truth, {})
    whole = fitting.predict(TASK, fitted, TASK.features(table))
    other = table.copy()
    late = other["cycle"] > 20
    other.loc[late, "cc_q_ah"] *= 0.8
    other.loc[late, "cv_time_s"] *= 1.3
    changed = fitting.predict(TASK, fitted, TASK.features(other))
    early = table["cycle"].to_numpy() <= 20
    for name in ("mean", "low", "high", "distance"):
        said, again = getattr(whole, name), getattr(changed, name)
        assert again[early] == pytest.approx(said[early], rel=1e-12)
        assert again[~early] != pytest.approx(said[~early], rel=1e-6)


def test_the_order_of_the_rows_does_not_matter():
    table = charge_features(cells=3)
    mixed = table.sample(frac=1.0, random_state=3).reset_index()
    straight, shuffled = TASK.features(table), TASK.features(mixed.drop(columns="index"))
    assert shuffled.matrix == pytest.approx(straight.matrix[mixed["index"].to_numpy()], rel=1e-9)


def test_cells_do_not_see_each_other():
    table = charge_features(cells=3)
    alone = TASK.features(table[table["cell_id"] == "c1"].reset_index(drop=True))
    among = TASK.features(table)
    assert alone.matrix == pytest.approx(among.matrix[among.groups == "c1"], rel=1e-12)


def test_the_past_is_looked_up_at_shares_of_the_cycles_so_far():
    table = charge_features(cells=1).assign(cc_q_ah=lambda t: 0.3 * np.exp(-0.001 * t["cycle"]))
    features = TASK.features(table)
    column = features.names.index("since_50_percent_cc_q_ah")
    # Told as a logarithm. Smoothed twice over five rows a straight line lags, the same at
    # both ends: row 40 of cycles 1 to 40 is compared with cycle 20, the last before 20.5.
    assert features.matrix[39, column] == pytest.approx(-0.001 * 20, abs=1e-9)
    assert features.matrix[0, column] == 0.0


def test_one_odd_first_charge_is_not_what_a_cell_was_at_first():
    table = charge_features(cells=1)
    column = TASK.features(table).names.index("first_cv_q_ah")
    usual = TASK.features(table).matrix[20, column]
    table.loc[0, "cv_q_ah"] = 0.2
    assert TASK.features(table).matrix[20, column] == pytest.approx(usual, abs=0.02)


def test_a_sparse_table_is_not_smoothed_into_the_past():
    table = charge_features(cells=1)
    sparse = table.assign(cycle=21 * table["cycle"] - 20)
    dense = table.assign(cycle=20 * table["cycle"] - 19)
    column = TASK.features(table).names.index("cc_q_ah")
    measured = np.log(table["cc_q_ah"].to_numpy())
    assert TASK.features(sparse).matrix[:, column] == pytest.approx(measured, rel=1e-12)
    assert TASK.features(dense).matrix[1:, column] != pytest.approx(measured[1:], rel=1e-4)


@pytest.mark.parametrize(("start", "refused"), [(50, 0), (51, 40)])
def test_a_cell_first_seen_late_in_its_life_is_refused(start, refused):
    table = charge_features(cells=1).assign(cycle=lambda t: t["cycle"] + start - 1)
    features = TASK.features(table)
    assert len(features.refused) == refused
    assert len(features.rows) == 40 - refused
    assert all("starts at cycle 51, too late" in note for note in features.refused.values())


def test_rows_with_a_gap_are_left_out_and_the_rest_answered():
    table = charge_features(cells=1)
    table.loc[10, "cc_time_s"] = np.nan
    table["v_entropy"] = np.nan
    assert TASK.features(table).rows.tolist() == [row for row in range(40) if row != 10]


def test_an_empty_table_has_no_rows_but_the_same_features():
    empty = TASK.features(charge_features(cells=1).iloc[:0])
    some = TASK.features(charge_features(cells=1))
    assert empty.names == some.names
    assert empty.matrix.shape == (0, some.matrix.shape[1])


@pytest.mark.parametrize("shape", kernels.SHAPES)
def test_left_out_error_is_that_of_a_fit_without_the_cell(shape):
    z, cells = X / X.std(axis=0), np.split(np.arange(len(X)), CELLS)
    y = Y - Y.mean()
    errors = []
    for cell in cells:
        kept = np.setdiff1d(np.arange(len(y)), cell)
        system = shape.between(z[kept], z[kept]) + kernels.NOISE * np.eye(len(kept))
        said = shape.between(z[cell], z[kept]) @ np.linalg.solve(system, y[kept])
        errors.append(np.sqrt(((said - y[cell]) ** 2).mean()))
    assert kernels.left_out(shape, z, Y, cells) == pytest.approx(np.mean(errors), rel=1e-6)


def test_a_kink_asks_for_the_shape_that_bends():
    x = np.column_stack([np.tile(np.linspace(-2.0, 2.0, CYCLES), CELLS), X[:, 3]])
    bent = kernels.Kernels(20, 1, 20).fit(x, np.floor(2.0 * x[:, 0]), GROUPS)
    smooth = kernels.Kernels(20, 1, 20).fit(X, np.sin(X).sum(axis=1), GROUPS)
    assert bent.edge > bent.gauss
    assert smooth.edge < smooth.gauss


def test_points_are_means_of_neighbours_and_no_row_of_the_table():
    model = kernels.Kernels(10, 2, 5).fit(X, Y, GROUPS)
    z = kernels.held(X, model.centre, model.width)
    apart = np.abs(model.points[:, None] - z).max(axis=2).min(axis=1)
    assert len(model.points) == 10 * CELLS
    assert apart.min() > 1e-3
    pairs = (z[:-1] + z[1:]) / 2.0
    near = np.abs(model.points[:, None] - pairs).max(axis=2).min(axis=1)
    assert near.max() < 1e-12


def test_a_column_beyond_all_that_was_seen_is_held():
    model = kernels.Kernels(10, 2, 5).fit(X, Y, GROUPS)
    far, farther = X[:1].copy(), X[:1].copy()
    far[0, 1], farther[0, 1] = 100.0, 1e6
    assert model.mean(farther) == pytest.approx(model.mean(far), rel=1e-12)


def test_the_farther_from_what_was_learned_the_less_sure():
    model = kernels.Kernels(10, 2, 5).fit(X, Y, GROUPS)
    away = X[:5] + np.array([8.0, -8.0, 8.0, 0.0])
    assert model.spread(away).min() > model.spread(X).max()


def test_a_view_makes_a_column_count_more_or_not_at_all():
    blind = kernels.Kernels(10, 2, 5, views=[[1.0, 0.0, 1.0, 1.0]]).fit(X, Y, GROUPS)
    moved = X + np.array([0.0, 5.0, 0.0, 0.0])
    assert blind.mean(moved) == pytest.approx(blind.mean(X), rel=1e-12)
    assert (blind.share**2).mean() == pytest.approx(1.0)
    all_alike = kernels.Kernels(10, 2, 5).fit(X, Y, GROUPS)
    assert all_alike.mean(moved) != pytest.approx(all_alike.mean(X), rel=1e-3)


def test_the_view_that_sees_what_matters_is_chosen():
    views = [[1.0, 1.0, 1.0, 0.0], [1.0, 0.1, 0.1, 1.0], [0.0, 1.0, 1.0, 1.0]]
    assert kernels.Kernels(10, 2, 10, views=views).fit(X, Y, GROUPS).share == pytest.approx(
        np.sqrt(np.array(views[1]) / np.mean(views[1]))
    )


def test_a_share_of_ordinary_rows_is_inside_the_domain():
    features, truth = fitting.usable(TASK, charge_features(cells=12))
    fitted = fitting.fit(TASK, features, truth, {})
    left = fitting.leave_cells_out(TASK, charge_features(cells=12), 12, 0)
    assert 0.01 <= left.refused.mean() <= 0.10
    assert (fitting.predict(TASK, fitted, features).distance > 1.0).mean() < 0.05


def test_a_row_is_refused_for_being_far_out_or_for_the_models_own_doubt():
    features, truth = fitting.usable(TASK, charge_features(cells=8))
    fitted = fitting.fit(TASK, features, truth, {})
    span = features.matrix[:, fitting.spanned(TASK, features)]
    near, none = fitted.domain.distance(span), np.zeros(len(span))
    assert fitted.strange(span, none) == pytest.approx(near)
    assert (fitted.strange(span, none + 1.01 * fitted.unsure) > 1.0).all()
    middle = near < 0.4
    assert middle.any()
    assert (fitted.strange(span, none + 0.9 * fitted.unsure)[middle] < 1.0).all()
    deaf = replace(fitted, unsure=np.inf)
    assert deaf.strange(span, none + 1e9) == pytest.approx(near)


def test_what_the_spread_says_survives_json():
    features, truth = fitting.usable(TASK, charge_features(cells=6))
    fitted = fitting.fit(TASK, features, truth, {})
    again = fitting.Fitted.load(json.loads(json.dumps(fitted.dump())))
    assert again.unsure == pytest.approx(fitted.unsure, rel=1e-6)
    assert "unsure" not in replace(fitted, unsure=np.inf).dump()
    assert fitting.Fitted.load(replace(fitted, unsure=np.inf).dump()).unsure == np.inf


def test_many_rows_are_answered_as_few_are():
    model = kernels.Kernels(5, 2, 5).fit(X, Y, GROUPS)
    many = np.tile(X, (kernels.AT_ONCE // len(X) + 2, 1))
    assert model.mean(many)[-len(X) :] == pytest.approx(model.mean(X), rel=1e-12)


RIPPLED = ripple.Rippled(recipes.OnColumns([3], kernels.Kernels(20, 2, 10)), recipes.Trees(20))


def test_what_repeats_every_few_cycles_is_learned_beside_the_slow_course():
    turn = 0.05 * np.sign(X[:, 0])
    together = RIPPLED.fit(X, Y - 0.1 * np.sin(X[:, 0]) + turn, GROUPS)
    assert np.corrcoef(together.ripple.mean(X), turn)[0, 1] > 0.8
    slow = together.course.mean(X) - (2.0 - 0.01 * X[:, 3])
    assert np.abs(slow).mean() < 0.03


def test_the_slow_course_follows_the_cycle_not_the_order_of_the_rows():
    order = RNG.permutation(len(Y))
    straight, mixed = RIPPLED.fit(X, Y, GROUPS), RIPPLED.fit(X[order], Y[order], GROUPS[order])
    assert mixed.course.mean(X) == pytest.approx(straight.course.mean(X), rel=1e-9)


def test_both_parts_survive_json():
    model = RIPPLED.fit(X, Y, GROUPS)
    again = models.load(json.loads(json.dumps(models.dump(model))))
    assert again.mean(X) == pytest.approx(model.mean(X), abs=2e-4)
    assert again.spread(X) == pytest.approx(model.spread(X), abs=2e-3)
    assert models.dump(again) == models.dump(model)

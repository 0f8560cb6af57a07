"""The numbers of a run: rules from the literature at their published points, overrides, warm-up and cooldown."""

import pytest
import toys

from flops_fit_accelerate import AccelerateTrainer, deepseek_batch_tokens, deepseek_lr, kaplan_lr
from flops_fit_accelerate.recipe import recipe_of
from flops_fit_core.data import Run


def big(n_params, flops=1e20):
    return Run(budget=flops, size=1, n_params=n_params, n_tokens=10**9, flops=flops)


def test_kaplan_s_rule_shrinks_with_n_and_never_vanishes():
    assert kaplan_lr(big(10**9)) == pytest.approx(0.003239 - 0.0001395 * 20.7232658, rel=1e-6)
    assert kaplan_lr(big(10**6)) > kaplan_lr(big(10**8)) > kaplan_lr(big(10**12)) == 1e-4


def test_deepseek_s_rules_at_a_round_budget():
    """C = 1e20: 0.3118 / 10^2.5 and 0.2920 · 10^6.542."""
    assert deepseek_lr(big(10**9)) == pytest.approx(0.3118 / 10**2.5)
    assert deepseek_batch_tokens(big(10**9)) == pytest.approx(0.2920 * 10**6.542)


def recipe(run=None, **options):
    return recipe_of(AccelerateTrainer(batch_size=16, **options), run or toys.run(6400), 1.0, None)


def test_warm_up_is_a_fraction_of_d_and_takes_its_least_steps():
    assert recipe(warmup=0.05).schedule.warmup == 320
    assert recipe(warmup=0.05, min_warmup_steps=50).schedule.warmup == 800
    assert recipe(warmup=0, min_warmup_steps=0).schedule.warmup == 0


def test_the_warm_up_of_wsd_does_not_depend_on_d():
    schedules = [recipe(toys.run(d), schedule="wsd", min_warmup_steps=0).schedule for d in (1600, 6400)]
    assert [s.warmup for s in schedules] == [100, 100]  # N
    assert [s.cooldown for s in schedules] == [320, 1280]
    assert recipe(toys.run(1600), schedule="wsd", min_cooldown_steps=40).schedule.cooldown == 640


def test_a_loader_s_batch_size_is_the_recipe_s():
    assert recipe_of(AccelerateTrainer(batch_size=16), toys.run(), 1.0, 10).batch_size == 10


def test_the_record_names_what_was_in_force():
    shown = recipe(lr=1e-3, schedule="wsd").record()
    assert (shown["lr"], shown["schedule"], shown["cooldown_shape"]) == (1e-3, "wsd", "1-sqrt")

"""Capacity: closed forms of queueing, what more replicas and more traffic do, and a plan that a person can check."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offramp.capacity import Batching, Load, Shape, Workers, plan, predict, published, replay, texture
from offramp.capacity.draw import drawn
from offramp.errors import DataError, NotFoundError

ENGINE = Batching(prefill_tokens_per_s=8000, step_s=0.02, step_running_s=0.0005, most_running=32)


def steady(rate: float, *, windows: int = 20, window_s: float = 2000.0) -> Shape:
    return Shape(window_s=window_s, rates=(rate,) * windows, sizes=((0.0, 1.0),))


def erlang_c(servers: int, load: float) -> float:
    """Share that waits in M/M/c, `load` in servers; A. K. Erlang, 1917."""
    last = load**servers / math.factorial(servers) * servers / (servers - load)
    return last / (sum(load**k / math.factorial(k) for k in range(servers)) + last)


def random_trace(rate: float, count: int, seed: int = 3) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    chance = np.random.default_rng(seed)
    times = np.cumsum(chance.exponential(1 / rate, count))
    return times, chance.exponential(500, count), 1 + chance.exponential(80, count)


def test_one_worker_with_exponential_times_is_the_closed_form_of_m_m_1():
    found = predict(steady(0.8), Workers(base_s=1.0, noise_ratio=1.0), 1)

    assert found.utilisation_ratio == pytest.approx(0.8, rel=0.01)
    assert found.wait_mean_s == pytest.approx(4.0, rel=0.05)
    assert found.latency_p95_s == pytest.approx(math.log(20) / 0.2, rel=0.05)


def test_one_worker_with_equal_times_is_the_closed_form_of_m_d_1():
    found = predict(steady(0.8), Workers(base_s=1.0), 1)

    assert found.wait_mean_s == pytest.approx(2.0, rel=0.02)  # Pollaczek and Khinchine
    assert found.latency_mean_s == pytest.approx(3.0, rel=0.02)


def test_a_worker_that_wakes_slowly_is_the_closed_form_of_exceptional_first_service():
    # Welch, 1964: times S with exponential law of mean 1, the first of a busy period S + 0.5.
    rate, first_squared = 0.6, 2 + 2 * 0.5 + 0.25
    wait = rate * 2 / (2 * (1 - rate)) + rate * (first_squared - 2) / (2 * (1 + rate * 1.5 - rate))

    found = predict(steady(rate), Workers(base_s=1.0, noise_ratio=1.0, waking_s=0.5), 1)

    assert found.wait_mean_s == pytest.approx(wait, rel=0.05)
    # Busy for as long as it takes: one in rate / (1 + rate / 2) is empty time.
    assert found.utilisation_ratio == pytest.approx(rate * 1.5 / (1 + rate * 0.5), rel=0.02)


@pytest.mark.parametrize(("servers", "load"), [(2, 1.0), (4, 3.2), (8, 7.2)])
def test_several_workers_are_the_closed_form_of_m_m_c(servers, load):
    wait = erlang_c(servers, load) / (servers - load)

    found = predict(steady(load), Workers(base_s=1.0, noise_ratio=1.0), servers)

    assert found.wait_mean_s == pytest.approx(wait, rel=0.05)
    assert found.utilisation_ratio == pytest.approx(load / servers, rel=0.01)


def test_workers_of_a_replica_are_worth_as_much_as_replicas():
    several = predict(steady(3.0), Workers(base_s=1.0, workers=4), 1)
    alone = predict(steady(3.0), Workers(base_s=1.0), 4)

    assert several.model_copy(update={"replicas": 4}) == alone


@pytest.mark.parametrize("servers", [1, 4])
def test_a_replay_is_the_closed_form_within_chance(servers):
    times, _, _ = random_trace(0.7 * servers, 200_000)
    nothing = np.zeros(len(times))
    wait = erlang_c(servers, 0.7 * servers) / (0.3 * servers)

    found = replay(
        times, nothing, nothing, speed=Workers(base_s=1.0, noise_ratio=1.0), replicas=servers, seed=5
    )

    assert found.wait_mean_s == pytest.approx(wait, rel=0.06)
    assert found.utilisation_ratio == pytest.approx(0.7, rel=0.02)


def test_a_replay_is_first_come_first_served_by_whoever_is_free_first():
    times, tokens = [0.0, 0.0, 1.0, 1.0], [0, 0, 0, 0]

    found = replay(times, tokens, [4, 1, 1, 3], speed=Workers(base_s=0, output_token_s=1), replicas=2)

    # Ends 4, 1, 2, 5: the last one waits a second for the worker that is free at 2.
    assert found.latency_mean_s == pytest.approx((4 + 1 + 1 + 4) / 4)
    assert found.wait_mean_s == pytest.approx(0.25)


def test_a_free_worker_takes_together_what_waits():
    speed = Workers(base_s=0.1, shared_s=1.0, batch=8)

    found = replay([0.0, 0.5, 0.6], [0] * 3, [1] * 3, speed=speed, replicas=1)

    # 1.1 s alone, then both that wait in 1.2 s.
    assert found.latency_mean_s == pytest.approx((1.1 + (2.3 - 0.5) + (2.3 - 0.6)) / 3)


def test_an_engine_reads_prompts_first_and_then_gives_each_a_token_per_step():
    speed = Batching(prefill_tokens_per_s=1000, step_s=0.1, step_running_s=0.01, most_running=2)

    found = replay([0.0, 0.0, 0.0], [100, 100, 100], [2, 4, 1], speed=speed, replicas=1)

    # The first joins alone, as the others are not there yet when its step begins.
    assert found.latency_p99_s > found.latency_p50_s
    alone = replay([0.0], [100], [4], speed=speed, replicas=1)
    assert alone.latency_mean_s == pytest.approx(0.1 + 4 * 0.11)


def test_memory_for_cached_tokens_limits_how_many_run():
    wide = Batching(prefill_tokens_per_s=1e6, step_s=0.1, step_running_s=0, most_running=64)
    narrow = wide.model_copy(update={"kv_tokens": 250})
    requests = [0.0] * 8, [90.0] * 8, [10.0] * 8

    assert replay(*requests, speed=narrow, replicas=1).latency_p99_s > 3.5
    assert replay(*requests, speed=wide, replicas=1).latency_p99_s < 2.2


def test_a_shape_has_the_requests_and_tokens_of_each_window():
    shape = Shape.of([0.0, 0.2, 1.5, 3.9, 4.0], [10, 20, 30, 40, 50], [1, 2, 3, 4, 5], window_s=1.0)

    assert shape.window_s == 1.0
    assert shape.rates == (2.0, 1.0, 0.0, 1.0, 1.0)
    assert shape.token_rates == ((30.0, 3.0), (30.0, 3.0), (0.0, 0.0), (40.0, 4.0), (50.0, 5.0))
    assert shape.counted


def test_a_draw_of_measured_traffic_has_what_each_window_had():
    times, read, wrote = random_trace(5, 4000)
    shape = Shape.of(times, read, wrote, window_s=1.0)

    found = drawn(shape, seed=0, most=10_000)

    window = np.minimum((found.times / shape.window_s).astype(int), len(shape.rates) - 1)
    counts = np.bincount(window, minlength=len(shape.rates))
    assert counts == pytest.approx(np.asarray(shape.rates) * shape.window_s)
    assert (np.diff(found.times) >= 0).all()
    tokens = np.bincount(window, found.read, minlength=len(counts)) / shape.window_s
    wanted = np.asarray(shape.token_rates)[:, 0]
    assert np.corrcoef(tokens, wanted)[0, 1] > 0.97
    assert np.quantile(found.read, [0.1, 0.5, 0.9]) == pytest.approx(
        np.quantile(shape.tokens()[0], [0.1, 0.5, 0.9]), rel=0.1
    )


def test_the_same_seed_gives_the_same_draw_and_another_one_another():
    shape = steady(2.0, windows=2, window_s=50)

    one, again, other = (drawn(shape, seed=seed, most=1000).times for seed in (1, 1, 2))

    assert one.tolist() == again.tolist()
    assert one[:5].tolist() != other[:5].tolist()


def test_a_draw_of_made_up_traffic_is_a_poisson_process():
    found = drawn(steady(4.0, windows=2000, window_s=10), seed=0, most=100_000)

    counts = np.bincount((found.times / 10).astype(int), minlength=2000)
    assert counts.mean() == pytest.approx(40, rel=0.02)
    assert counts.var() == pytest.approx(40, rel=0.1)


def test_measured_traffic_that_grows_is_as_random_as_counts_are():
    times, read, wrote = random_trace(4, 8000)
    shape = Shape.of(times, read, wrote, window_s=1.0)

    for factor in (0.5, 1.0, 9.0):
        counts = np.asarray(shape.scaled(factor).rates) * shape.window_s
        assert counts.mean() == pytest.approx(4 * factor, rel=0.03)
        assert counts.var() == pytest.approx(4 * factor, rel=0.15)


def test_a_trend_grows_whole():
    rate = np.repeat([2.0, 8.0, 2.0, 8.0], 256)
    counts = np.random.default_rng(2).poisson(rate)
    times = np.repeat(np.arange(1024.0), counts) + 0.5
    shape = Shape.of([0.0, *times], [1.0] * (len(times) + 1), [1.0] * (len(times) + 1), window_s=1.0)

    grown = np.asarray(shape.scaled(100).rates)

    assert grown[300:450].mean() == pytest.approx(800, rel=0.1)
    assert grown[600:700].mean() == pytest.approx(200, rel=0.1)
    assert np.std(grown[300:450]) < 200


def test_bursts_inside_windows_are_found_and_random_arrivals_have_none():
    chance = np.random.default_rng(4)
    rate = np.repeat(chance.choice([1.0, 19.0], 720), 10)
    counts = chance.poisson(rate)
    times = np.repeat(np.arange(7200.0), counts) + chance.random(counts.sum())
    ones = np.ones(len(times))

    bursty = Shape.of(times, ones, ones, window_s=160).halvings
    calm, read, wrote = random_trace(10, 70_000)

    # Rates of 1 and 19 change every ten seconds at random: halves of 20 s differ most.
    assert max(range(len(bursty)), key=lambda level: bursty[level][0]) == 3
    assert bursty[3][0] > 0.2
    assert max((one for one, _ in Shape.of(calm, read, wrote, window_s=600).halvings), default=0) < 0.05


def test_bursts_make_waits_longer_at_the_same_mean_rate():
    calm = steady(0.6)
    bursty = calm.model_copy(update={"halvings": texture.of_bursts(0.5, 60.0, 2000.0)})
    speed = Workers(base_s=1.0)

    assert predict(bursty, speed, 1).wait_mean_s > 2 * predict(calm, speed, 1).wait_mean_s
    assert predict(bursty, speed, 1).utilisation_ratio == pytest.approx(0.6, rel=0.05)


def test_backlog_of_an_overloaded_window_is_carried_into_the_next():
    shape = Shape(window_s=100, rates=(2.0,) * 10 + (0.1,) * 10, sizes=((0, 1),))

    found = predict(shape, Workers(base_s=1.0), 1)

    # 1,000 requests too many come in 1,000 s; the last of them waits 1,000 s.
    assert found.latency_p99_s == pytest.approx(1000, rel=0.15)
    assert found.load_ratio == pytest.approx(1.05)
    assert not found.stable


RATES = st.lists(st.floats(0.1, 4.0), min_size=2, max_size=6)


@settings(max_examples=12, deadline=None)
@given(RATES, st.integers(1, 6), st.floats(0, 2), st.sampled_from([1, 4]))
def test_more_replicas_never_make_it_worse(rates, replicas, noise, batch):
    shape = Shape(window_s=60, rates=tuple(rates), sizes=((0, 1), (0, 3)))
    speed = Workers(base_s=0.2, output_token_s=0.2, noise_ratio=noise, batch=batch)

    fewer, more = (predict(shape, speed, count, effort=0.1) for count in (replicas, replicas + 1))

    assert more.latency_p95_s <= fewer.latency_p95_s * 1.005
    assert more.utilisation_ratio <= fewer.utilisation_ratio + 1e-9


@settings(max_examples=12, deadline=None)
@given(RATES, st.integers(1, 6), st.floats(1.02, 3))
def test_more_traffic_never_makes_it_better(rates, replicas, factor):
    shape = Shape(window_s=60, rates=tuple(rates), sizes=((0, 1), (0, 3)))
    speed = Workers(base_s=0.2, output_token_s=0.2)

    calm, busy = (predict(one, speed, replicas, effort=0.1) for one in (shape, shape.scaled(factor)))

    assert busy.latency_p95_s >= calm.latency_p95_s * 0.995
    assert busy.utilisation_ratio >= calm.utilisation_ratio - 1e-9


@pytest.mark.parametrize("rate", [1.0, 3.0, 9.0])
def test_an_engine_is_predicted_from_its_shape_as_a_replay_finds_it(rate):
    times, read, wrote = random_trace(rate, 4000)
    shape = Shape.of(times, read, wrote)

    found = [predict(shape, ENGINE, count, effort=0.3) for count in (1, 2, 4)]
    true: list[Load] = [replay(times, read, wrote, speed=ENGINE, replicas=count) for count in (1, 2, 4)]

    for one, other in zip(found, true, strict=True):
        assert one.latency_p95_s == pytest.approx(other.latency_p95_s, rel=0.15)
        assert one.stable == other.stable
    assert found[0].latency_p95_s >= found[1].latency_p95_s >= found[2].latency_p95_s
    assert found[0].utilisation_ratio >= found[1].utilisation_ratio >= found[2].utilisation_ratio


def test_a_plan_meets_its_target_with_as_few_replicas_as_can_be():
    shape, speed = steady(10.0, windows=1, window_s=3600), Workers(base_s=0.5, cold_start_s=60)

    found = plan(shape, speed, latency_p95_s=0.7)

    assert found.met
    assert found.peak.latency_p95_s <= 0.7
    assert predict(shape, speed, found.replicas - 1).latency_p95_s > 0.7
    assert found.always_on_hours_per_month == found.replicas * 730


def test_a_plan_says_when_no_number_of_replicas_helps():
    found = plan(steady(1.0, windows=1), Workers(base_s=2.0), latency_p95_s=1.0)

    assert not found.met
    assert "a request alone takes too long" in found.why


def test_without_a_latency_target_the_share_that_may_be_busy_decides():
    assert plan(steady(10.0, windows=1), Workers(base_s=0.5), most_busy_ratio=0.5).replicas == 10


def test_an_autoscaled_week_costs_less_and_a_late_start_shows():
    shape = Shape.typical(20_000_000, input_tokens=300, output_tokens=20)

    found = plan(shape, Workers(base_s=0.3, cold_start_s=180), latency_p95_s=2.0)

    assert found.autoscaled_hours_per_month < 0.8 * found.always_on_hours_per_month
    assert 1 <= found.least_replicas < found.replicas
    assert found.late is not None
    assert found.late.latency_p95_s > found.peak.latency_p95_s


def test_a_typical_week_has_the_month_and_the_peak_that_were_asked_for():
    shape = Shape.typical(730_000, input_tokens=300, output_tokens=20, peak_ratio=4)

    assert shape.mean_rate * 3600 == pytest.approx(1000)
    assert max(shape.rates) / shape.mean_rate == pytest.approx(4)
    assert len(shape.rates) == 168


@pytest.mark.parametrize(
    ("gpu", "read", "wrote", "tokens_per_s"),
    [("L4", 512, 128, 2143), ("A10G", 256, 128, 1475), ("H100-80GB", 1024, 128, 27187)],
)
def test_a_published_speed_is_put_together_again_and_marked(gpu, read, wrote, tokens_per_s):
    speed = published(gpu)

    taken = speed.request_s(read, wrote, running=speed.most_running)

    assert (read + wrote) / taken == pytest.approx(tokens_per_s)
    assert speed.origin == "published"
    assert speed.source.startswith("https://")
    assert speed.checked is not None


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Shape.of([1.0], [1], [1]),
        lambda: Shape.of([1.0, 1.0], [1, 1], [1, 1]),
        lambda: Shape.of([1.0, math.nan], [1, 1], [1, 1]),
        lambda: Shape.of([1.0, 2.0], [1, 1], [1]),
        lambda: Shape.typical(0, input_tokens=1, output_tokens=1),
        lambda: steady(1.0).scaled(0),
        lambda: predict(steady(1.0), ENGINE, 0),
        lambda: replay([], [], [], speed=ENGINE, replicas=1),
        lambda: plan(steady(1.0), ENGINE, latency_p95_s=0.0),
        lambda: plan(steady(1.0), ENGINE, most_busy_ratio=1.0),
    ],
)
def test_what_makes_no_sense_is_refused(wrong):
    with pytest.raises(DataError, match="expected"):
        wrong()


def test_a_gpu_that_nobody_published_is_an_error_that_names_those_known():
    with pytest.raises(NotFoundError, match="H100-80GB"):
        published("abacus")

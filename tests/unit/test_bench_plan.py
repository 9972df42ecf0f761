"""Plans: who is measured, how often, and in which order."""

from collections import defaultdict
from dataclasses import replace

import pytest

from taskbridge_bench.catalogue import SCENARIOS
from taskbridge_bench.contenders import CONTENDERS, Contender, Lane, Profile
from taskbridge_bench.plan import (
    CONTROLLED,
    MODES,
    Block,
    Plan,
    Selection,
    make_plan,
    mode_of,
)
from taskbridge_bench.progress import Estimate, expected_s

ALL = Selection()
RABBITMQ = {each.name for each in CONTENDERS if "rabbitmq" in each.servers}


def names_by_turn(plan: Plan, scenario: str) -> list[list[str]]:
    turns: dict[int, list[str]] = defaultdict(list)
    for block in plan.blocks:
        if block.scenario == scenario:
            turns[block.turn].append(block.contender.name)
    return [turns[number] for number in sorted(turns)]


@pytest.mark.parametrize("mode", MODES)
def test_plan_each_scenario_is_known(mode: str):
    plan = make_plan(mode, 1, ALL)

    assert {block.scenario for block in plan.blocks} <= SCENARIOS.keys()


@pytest.mark.parametrize("mode", MODES)
def test_plan_each_block_has_a_name_of_its_own(mode: str):
    ids = [block.id for block in make_plan(mode, 1, ALL).blocks]

    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("mode", MODES)
def test_plan_each_turn_has_each_contender_once(mode: str):
    plan = make_plan(mode, 1, ALL)

    for scenario, profile in {
        (block.scenario, block.contender.profile) for block in plan.blocks
    }:
        blocks = [b for b in plan.blocks if b.contender.profile is profile]
        one_profile = replace(plan, blocks=tuple(blocks))
        first, *others = map(sorted, names_by_turn(one_profile, scenario))
        assert len(first) == len(set(first))
        assert all(other == first for other in others)


def test_plan_turns_are_in_orders_of_their_own():
    turns = names_by_turn(make_plan("full", 1, ALL), "enqueue")

    assert len({tuple(turn) for turn in turns}) == len(turns)


def test_plan_of_the_same_seed_is_the_same():
    assert make_plan("quick", 7, ALL) == make_plan("quick", 7, ALL)


def test_plan_of_another_seed_has_another_order():
    one, two = make_plan("quick", 7, ALL), make_plan("quick", 8, ALL)

    assert {block.id for block in one.blocks} == {block.id for block in two.blocks}
    assert [block.id for block in one.blocks] != [block.id for block in two.blocks]


def test_plan_control_is_in_controlled_scenarios_alone():
    blocks = make_plan("full", 1, ALL).blocks

    controlled = {b.scenario for b in blocks if b.contender.control_of}
    assert controlled
    assert controlled <= set(CONTROLLED)


def test_plan_selection_keeps_what_is_named():
    selection = Selection(
        libraries=["celery"],
        scenarios=["enqueue"],
        lanes=[Lane.BRIDGE],
        profiles=[Profile.EQUAL],
    )

    blocks = make_plan("quick", 1, selection).blocks

    assert {(b.scenario, b.contender.name) for b in blocks} == {
        ("enqueue", "celery-bridge")
    }


def test_plan_library_that_the_mode_has_not_is_measured_if_it_is_named():
    blocks = make_plan("quick", 1, Selection(libraries=["huey"])).blocks

    assert {block.contender.library for block in blocks} == {"huey"}


def test_plan_profile_that_the_mode_has_not_is_measured_if_it_is_named():
    selection = Selection(libraries=["celery"], profiles=[Profile.DEFAULTS])

    blocks = make_plan("quick", 1, selection).blocks

    assert {block.contender.profile for block in blocks} == {Profile.DEFAULTS}


def test_plan_lane_that_the_part_has_not_is_measured_if_it_is_named():
    selection = Selection(scenarios=["recovery-worker"], lanes=[Lane.BRIDGE])

    blocks = make_plan("full", 1, selection).blocks

    assert {block.contender.lane for block in blocks} == {Lane.BRIDGE}


def test_plan_scenario_that_the_mode_has_not_is_measured_as_in_full():
    blocks = make_plan("quick", 1, Selection(scenarios=["drain-2000"])).blocks

    full = make_plan("full", 1, Selection(scenarios=["drain-2000"])).blocks
    assert {block.turn for block in blocks} == {block.turn for block in full}


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_plan_each_scenario_is_measured_if_it_is_named(scenario: str):
    assert make_plan("quick", 1, Selection(scenarios=[scenario])).blocks


def test_plan_added_library_is_beside_the_others():
    added = replace(CONTENDERS[0], library="mine")

    blocks = make_plan(
        "quick", 1, Selection(added=["mine"]), contenders=(*CONTENDERS, added)
    ).blocks

    assert {"mine", "celery"} <= {block.contender.library for block in blocks}


def test_plan_who_is_left_out_is_not_measured():
    blocks = make_plan("full", 1, ALL, left_out=RABBITMQ).blocks

    assert not {block.contender.name for block in blocks} & RABBITMQ


def test_plan_contender_has_no_block_of_what_it_cannot():
    for block in make_plan("full", 1, ALL).blocks:
        assert block.scenario not in block.contender.cannot


def test_plan_work_is_that_of_all_blocks():
    blocks = make_plan("quick", 1, ALL, work="cpu").blocks

    assert {block.work for block in blocks} == {"cpu"}


def test_plan_full_on_postgresql_has_durable_lanes_and_their_baselines():
    mode = mode_of("full", "postgresql")

    contenders = [block.contender for block in _blocks(mode)]

    lanes = {(each.library, each.lane) for each in contenders}
    assert {("celery", Lane.NATIVE), ("celery", Lane.DURABLE)} <= lanes
    assert ("celery", Lane.BRIDGE) not in lanes
    assert ("huey", Lane.NATIVE) not in lanes
    assert any(each.control_of for each in contenders)


def test_mode_of_quick_is_the_same_on_both_databases():
    assert mode_of("quick", "postgresql") == mode_of("quick", "sqlite") == "quick"


def _blocks(mode: str) -> list[Block]:
    return list(make_plan(mode, 1, ALL).blocks)


def _expected_s(*modes: str) -> float:
    return sum(expected_s(block) for mode in modes for block in _blocks(mode))


def test_quick_is_expected_to_take_less_than_five_minutes():
    assert MODES["quick"].limit_s < 300
    assert _expected_s("quick") < MODES["quick"].limit_s


def test_full_on_both_databases_is_limited_to_ninety_minutes():
    limits_s = [MODES[mode].limit_s for mode in ("full", "full-postgresql")]

    # Servers start before, and the last block ends after.
    assert sum(limits_s) <= 89 * 60


def block(contender: Contender = CONTENDERS[0], scenario: str = "pickup") -> Block:
    [found, *_] = make_plan(
        "full",
        1,
        Selection(scenarios=[scenario], libraries=[contender.library]),
        contenders=[contender],
    ).blocks
    return found


def test_estimate_of_nothing_seen_is_that_of_the_catalogue():
    assert Estimate().of(block()) == expected_s(block())


def test_estimate_of_the_same_block_is_what_it_took():
    estimate = Estimate()
    estimate.add(block(), 30.0)
    estimate.add(block(), 50.0)

    assert estimate.of(block()) == 40.0


def test_estimate_of_another_block_is_corrected_by_the_same_scenario():
    estimate = Estimate()
    seen, other = block(CONTENDERS[0]), block(CONTENDERS[1])
    estimate.add(seen, 2 * expected_s(seen))
    estimate.add(block(scenario="enqueue"), 100.0)

    assert estimate.of(other) == pytest.approx(2 * expected_s(other))

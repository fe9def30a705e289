from hypothesis import given
from hypothesis import strategies as st

from offramp.route import INCUMBENT, Plan, current, doubt, place, plan
from offramp.types import Deployment, MadeBy


def deployed(mode: str = "canary", **more: object) -> Deployment:
    fields = {
        "id": "d1",
        "alias": "triage",
        "version": 1,
        "mode": mode,
        "candidate": "c1",
        "made_by": MadeBy(version="0"),
    }
    return Deployment.model_validate(fields | more)


def test_without_a_deployment_only_the_incumbent_is_asked():
    assert plan(None, "any") == INCUMBENT == Plan(("incumbent",), "record")


def test_a_shadow_never_answers():
    assert plan(deployed("shadow"), "k") == Plan(("incumbent",), "record", shadow=True)


def test_a_full_deployment_falls_back_to_the_incumbent():
    assert plan(deployed("full"), "k") == Plan(("candidate", "incumbent"), "full")


def test_a_request_outside_the_share_goes_to_the_incumbent_and_falls_back_to_the_candidate():
    assert plan(deployed("canary", share=0.0), "k") == Plan(("incumbent", "candidate"), "record")


def test_a_private_deployment_asks_nobody_else_whatever_the_mode_and_share():
    for mode in ("shadow", "canary", "cascade", "full"):
        for share in (0.0, 0.5, 1.0):
            assert plan(deployed(mode, share=share, private=True), "k").targets == ("candidate",)
    assert plan(deployed("record", private=True), "k").targets == ()


def test_a_share_that_grows_keeps_everyone_who_was_in():
    keys = [f"user-{i}" for i in range(2000)]

    small = {key for key in keys if plan(deployed(share=0.1), key).route == "canary"}
    large = {key for key in keys if plan(deployed(share=0.4, version=9), key).route == "canary"}

    assert small < large
    assert 150 < len(small) < 250
    assert 720 < len(large) < 880


@given(st.text(), st.text())
def test_every_key_has_a_place_between_0_and_1_that_stays(alias, key):
    assert 0 <= place(alias, key) < 1
    assert place(alias, key) == place(alias, key)


def test_a_cascade_stands_from_its_threshold_on():
    cascade = deployed("cascade", threshold=0.8)

    assert doubt(cascade, 0.8, None) is None
    assert doubt(cascade, 0.79, None) == "not sure (0.790 < 0.8)"
    assert doubt(cascade, None, None) == "not sure (not said < 0.8)"
    assert doubt(cascade, float("nan"), None) == "not sure (nan < 0.8)"
    assert doubt(deployed("cascade"), 1.0, None) == "not sure (1.000 < no threshold)"


def test_an_input_unlike_the_training_rows_is_the_incumbents_also_in_a_full_deployment():
    full = deployed("full", least_familiar=0.01)

    assert doubt(full, 0.99, 0.5) is None
    assert doubt(full, 0.99, 0.001) == "unlike the rows it learned from (0.001 < 0.01)"
    assert doubt(full, 0.99, None) == "unlike the rows it learned from (not said < 0.01)"


def test_the_newest_version_of_each_alias_counts():
    old, new, other = deployed(version=1), deployed("record", version=2), deployed(alias="other")

    assert current([new, old, other]) == {"triage": new, "other": other}

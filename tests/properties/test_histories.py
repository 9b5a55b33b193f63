"""Whatever happened: what a controller that saw it ends with is what one that starts now makes of the outcome."""

import os
import random
from itertools import pairwise, zip_longest

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from kube_ovn.model.crd import IPPool
from kube_ovn.topology.inputs import OPTIONAL
from tests.histories.fields import EDITED, EDITS, NUMBERS, Edit, edits
from tests.histories.steps import Calm, Foreign, Land, Make, Pass, Remove, Replace, Restart, Step
from tests.histories.things import FABRICS, FOREIGN, STANDING, TEMPLATES
from tests.histories.world import begin, run

EXAMPLES = int(os.environ.get("KUBE_OVN_SOAK_HISTORIES", "300"))
"""Histories in all; more for a soak."""

kinds = st.sampled_from(EDITED)
some_kinds = st.sampled_from([(), (), (), *((kind,) for kind in EDITED), *pairwise(EDITED)])
makes = st.sampled_from([Make(name, age) for name in TEMPLATES for age in (0, 1)])
passes: st.SearchStrategy[Step] = st.builds(
    Pass,
    st.sampled_from([-1, -1, -1, 0, 1]) | st.integers(0, 255),
    some_kinds,
    *[st.sampled_from([False, False, True])] * 3,
)
others: list[Step] = [
    *(Foreign(number) for number in range(len(FOREIGN))),
    *(Land(number) for number in range(4)),
    Restart(),
    Restart(lost=True),
    *(Restart(blind=(kind,)) for kind in EDITED if kind.__name__ in OPTIONAL),
    Calm(),
]
goings = st.builds(Remove, kinds, NUMBERS) | st.builds(Replace, kinds, NUMBERS)
steps: st.SearchStrategy[Step] = st.one_of(
    makes, edits, passes, makes, edits, goings, st.sampled_from(others), st.just(Calm())
)
histories = st.tuples(*[st.lists(steps, max_size=8)] * 5).map(lambda parts: [step for part in parts for step in part])
"""Longer than Hypothesis would make one list by itself."""


TAKEN_UNSEEN: list[Step] = [
    Edit(kind=IPPool, number=0, path=("spec", "ips"), value=("10.16.0.2..10.16.0.4",)),
    Edit(kind=IPPool, number=0, path=("spec", "namespaces"), value=("third",)),
    Pass(),
    Restart(blind=(IPPool,)),
    Make("Pod default/a"),
    Pass(),
]
"""A Pod asks while it cannot be seen that the next addresses are in a pool for another Namespace."""


@example("tenants", "subnets", TAKEN_UNSEEN)
@settings(max_examples=EXAMPLES, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(sorted(FABRICS)), st.sampled_from(sorted(STANDING)), histories)
def test_the_outcome_does_not_depend_on_the_way(network: str, cluster: str, history: list[Step]) -> None:
    run(network, cluster, history)


def test_every_value_of_every_field_edited_in_place() -> None:
    """One object of each kind is edited at a time, and edited back when the next edits come."""
    world, chance = begin("dual", "everything"), random.Random(0)
    walks = {kind: [edit for part in parts.values() for edit in part] for kind, parts in EDITS.items()}
    for walk in walks.values():
        chance.shuffle(walk)
    back: list[tuple[str, Edit]] = []
    for some in zip_longest(*walks.values()):
        for uid, edit in back:
            if (item := world.server.objects.get(uid)) is not None:
                world.edit(item, edit)
        back = []
        for edit in filter(None, some):
            if (item := world.choose(edit.kind, chance.randrange(6))) is not None:
                back.append((item.metadata.uid, edit.back(item)))
                world.edit(item, edit)
        world.take(Calm())

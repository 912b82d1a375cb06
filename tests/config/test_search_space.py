"""Ranges as Hydra writes them become those of Optuna, and what cannot be searched is refused."""

from __future__ import annotations

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from prorl_mega.config.search_space import SearchSpace
from prorl_mega.errors import ConfigError


def space(*overrides: str) -> SearchSpace:
    return SearchSpace.of(OverridesParser.create().parse_overrides(list(overrides)))


@pytest.mark.parametrize(
    ("text", "distribution"),
    [
        ("a=interval(0,1)", FloatDistribution(0, 1)),
        ("a=tag(log,interval(1e-6,1e-3))", FloatDistribution(1e-6, 1e-3, log=True)),
        ("a=int(interval(2,8))", IntDistribution(2, 8)),
        ("a=int(tag(log,interval(1,64)))", IntDistribution(1, 64, log=True)),
        ("a=range(1,9,2)", IntDistribution(1, 7, step=2)),
        ("a=range(9,1,-2)", IntDistribution(3, 9, step=2)),
        ("a=range(0.5,2,0.5)", FloatDistribution(0.5, 1.5, step=0.5)),
        ("a=range(1,2)", CategoricalDistribution(["1"])),
        ("a=null,1e-4,'b c',[1,2],true", CategoricalDistribution(["'b c'", "0.0001", "[1,2]", "null", "true"])),
        ("a=shuffle(choice(3,1,2))", CategoricalDistribution(["1", "2", "3"])),
        ("a=1,1,2", CategoricalDistribution(["1", "2"])),
    ],
)
def test_ranges(text: str, distribution: BaseDistribution) -> None:
    found = space(text, "b=1").ranges["a"]
    if isinstance(distribution, CategoricalDistribution):
        assert isinstance(found, CategoricalDistribution)
        assert {str(each).lower() for each in found.choices} == set(distribution.choices)
    else:
        assert found == distribution


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a=1", "needs a setting with several values"),
        ("a=tag(log,interval(0,1))", "low > 0"),
        ("a=interval(3,1)", "low <= high"),
        ("a=range(1,1)", "it has no value"),
        ("a=tag(log,range(1,9,2))", "log"),
        ("a=tag(slow,interval(1,2))", "only tag"),
        ("a=tag(log,choice(1,2))", "only ranges of numbers"),
    ],
)
def test_what_cannot_be_searched(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        space(text)


def test_the_last_override_of_a_key_counts_and_the_others_stay_as_they_were_written() -> None:
    found = space("a=interval(0,1)", "b='x y'", "+c=1,2", "a=2", "~d")
    assert found.fixed == ["a=2", "b='x y'", "~d"]
    assert found.overrides({"+c": "2"}) == ["a=2", "b='x y'", "~d", "+c=2"]
    assert found.written == {"+c": "1,2"}

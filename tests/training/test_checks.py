"""A value that cannot be is refused in one wording: the option, what it is, what was wanted."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable

import pytest

from training import checks
from training.charlm import Config as CharLMConfig
from training.checks import ConfigError
from training.dcgan import Config as DcganConfig
from training.seq2seq_config import Config as Seq2SeqConfig


@dataclasses.dataclass
class Values:
    count_of: int = 3
    rate: float = 0.0
    part: float = 1.0
    name: str = "b"


@pytest.mark.parametrize(
    ("check", "message"),
    [
        (lambda: checks.at_least(Values(), count_of=4), "--count-of is 3, wanted at least 4"),
        (lambda: checks.at_least(Values(rate=float("nan")), rate=0), "--rate is nan, wanted at least 0"),
        (lambda: checks.positive(Values(), "count_of", "rate"), "--rate is 0.0, wanted more than 0"),
        (lambda: checks.share(Values(part=1.01), "part"), "--part is 1.01, wanted 0 to 1"),
        (lambda: checks.less_than_one(Values(), "part"), "--part is 1.0, wanted at least 0 and less than 1"),
        (lambda: checks.one_of(Values(), "name", ("a", "c")), "--name is 'b', wanted one of a, c"),
    ],
)
def test_a_refusal_names_the_option_the_value_and_the_bound(check: Callable[[], None], message: str) -> None:
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        check()


def test_values_at_their_bounds_pass() -> None:
    checks.at_least(Values(), count_of=3)
    checks.positive(Values(), "count_of")
    checks.share(Values(), "part", "rate")
    checks.less_than_one(Values(), "rate")
    checks.one_of(Values(), "name", ("b",))


@pytest.mark.parametrize("config", [CharLMConfig, DcganConfig, Seq2SeqConfig])
def test_every_config_checks_the_common_fields(config: type[CharLMConfig | DcganConfig | Seq2SeqConfig]) -> None:
    for field, value, wanted in (("seed", -1, "at least 0"), ("learning_rate", 0.0, "more than 0")):
        with pytest.raises(ConfigError, match=f"--{field.replace('_', '-')} is {value}, wanted {wanted}"):
            config(**{field: value})  # type: ignore[arg-type]

"""A recipe is plain data: what is not ends in one sentence that names the line."""

import time
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from compress.cli.main import main
from compress.recipe.plain_yaml import yaml_value
from runtime.errors import EdgepressError, Exit, RecipeError

# Nine lists of nine of the one before: 3^18 values in half a kilobyte.
LAUGHS = "\n".join(
    ["x0: &x0 [l,l,l,l,l,l,l,l,l]"]
    + [f"x{n}: &x{n} [{','.join([f'*x{n - 1}'] * 9)}]" for n in range(1, 9)]
)
BAD = [
    ("seed: !!int abc", "line 1: .* tag !!int"),
    ("name: a\nseed: !!python/object/apply:os.system [ls]", "line 2: .* tag !!python"),
    ("a: 1\nb: !x 5", "line 2: .* tag !x"),
    ("[" * 5000, "line 1: .*nested deeper than 20"),
    ("\n".join("  " * n + "a:" for n in range(50)), "line 21: .*nested deeper"),
    ("seed: " + "9" * 5000, "line 1: .*a number of 5000 digits"),
    (LAUGHS, "line [4-9]: .*over 20000 values, aliases counted"),
    ("a: &a [*a]", r"line 1: .*\*a names nothing before it"),
    ("a: *b", r"line 1: .*\*b names nothing"),
    ("name: a\nseed: 1\nname: b", "line 3: .*key 'name' is there twice"),
    ("name: a\n  seed: 1", "line 2: "),
    ("name: [", "line 1: "),
    ("a: 1\n---\nb: 2", "line 2: "),
    ("? [a, b]\n: 1", "line 1: .*unhashable"),
    ("<<: 5", "line 1: .*mapping"),
    ("a: 1\nb: \x07", r"line 2: .*character U\+0007"),
]


@pytest.mark.parametrize(("text", "sentence"), BAD)
def test_what_is_no_plain_data_is_refused_by_its_line(
    tmp_path: Path, text: str, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Within a second, through the front door too."""
    path = tmp_path / "r.yaml"
    path.write_text(text, encoding="utf-8")
    began = time.process_time()

    with pytest.raises(RecipeError, match=f"r.yaml: not readable as YAML, {sentence}"):
        yaml_value(path)
    assert main(["run", str(path)]) == Exit.USAGE

    told = capsys.readouterr().err
    assert told.startswith(f"compress: {path}: not readable as YAML, line ")
    assert told.count("\n") == 1
    assert len(told) < 400
    assert time.process_time() - began < 2


def test_what_is_not_utf_8_or_too_long_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"a: 1\nb: \xff")
    (tmp_path / "b").write_bytes(b"#" * 2_000_000)

    with pytest.raises(RecipeError, match=r"line 2: .*not UTF-8"):
        yaml_value(tmp_path / "a")
    with pytest.raises(EdgepressError, match="2 MB is more than the 1 MB allowed"):
        yaml_value(tmp_path / "b")


def test_a_month_13_is_a_text(tmp_path: Path) -> None:
    """A recipe has no dates; what PyYAML would make one of stays as written."""
    (tmp_path / "a").write_text("a: 2001-13-45\nb: 2001-12-14", encoding="utf-8")

    assert yaml_value(tmp_path / "a") == {"a": "2001-13-45", "b": "2001-12-14"}


def test_aliases_in_measure_are_welcome(tmp_path: Path) -> None:
    text = "base: &base {a: 1, b: [x, y]}\nmore: {<<: *base, a: 2}\nlist: [*base]"
    (tmp_path / "a").write_text(text, encoding="utf-8")

    assert yaml_value(tmp_path / "a") == yaml.safe_load(text)


plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=20,
)


@given(plain)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_pyyaml_writes_is_read_back(tmp_path: Path, value: object) -> None:
    (tmp_path / "a").write_text(yaml.safe_dump(value), encoding="utf-8")

    assert yaml_value(tmp_path / "a") == value


@given(st.text(alphabet="ab:-[]{}&*!|>?#%@\"' \n\t0.,<~\x00é", max_size=40))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_text_is_data_or_a_sentence(tmp_path: Path, text: str) -> None:
    (tmp_path / "a").write_text(text, encoding="utf-8")
    try:
        yaml_value(tmp_path / "a")
    except RecipeError as error:
        assert ", line " in str(error)  # noqa: PT017  # or no error

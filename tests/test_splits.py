import pytest

from emotion import splits
from emotion.datadir import DataError

SPLIT = """
name: luna5
source: a paper
note: speakers as published
folds:
- {test: [s01, s02], valid: [s03]}
- {test: ["03"], valid: [s01]}
"""


def test_a_split_file_is_read(tmp_path):
    (tmp_path / "luna5.yaml").write_text(SPLIT)
    split = splits.read(tmp_path / "luna5.yaml")
    assert split == splits.Split("luna5", "a paper", ((("s01", "s02"), ("s03",)), (("03",), ("s01",))))


@pytest.mark.parametrize("old, new, remedy", [
    ("note:", "nots:", "nots.*It holds name, source, folds"),
    ("{test: [s01", "{tset: [s01", "tset.*It holds name"),
    ("source: a paper", "", "source.*It holds name"),
    (", valid: [s03]", "", "valid.*It holds name"),
    ("[s03]", "s03", "It holds name"),
    ("[s03]", "[]", "must name speakers for both"),
    ("[s03]", "[s02]", "none twice.*says nothing about new ones"),
    ("s01, s02", "s01, s01", "none twice"),
    ("name: luna5", "name: [", "is no split file"),
    (SPLIT, "- 1", "is no split file"),
    (SPLIT, "", "is no split file"),
    (SPLIT, "{name: a, source: b, folds: []}", "no folds.*List them"),
])
def test_a_split_file_with_a_fault_is_refused(tmp_path, old, new, remedy):
    assert old in SPLIT
    (tmp_path / "luna5.yaml").write_text(SPLIT.replace(old, new, 1))
    with pytest.raises(DataError, match=remedy):
        splits.read(tmp_path / "luna5.yaml")


def test_a_missing_split_file_is_refused(tmp_path):
    with pytest.raises(DataError, match="is no split file"):
        splits.read(tmp_path / "none.yaml")


def test_a_speaker_who_is_no_name_is_refused(tmp_path):
    path = tmp_path / "split.yaml"
    path.write_text("name: n\nsource: s\nfolds: [{test: [{a: 1}], valid: ['b']}]")
    with pytest.raises(DataError, match="split.yaml.*Correct it"):
        splits.read(path)

import pytest

from emotion import labels
from emotion.labels import EMOTIONS, SCHEMES, LabelError, Scheme


def test_the_vocabulary_is_what_the_house_writes():
    assert EMOTIONS == ("anger", "boredom", "calm", "disgust", "fear", "happiness", "neutral", "sadness",
                        "surprise", "unknown")


@pytest.mark.parametrize("name", ["ravdess8", "basic7", "emodb7", "emodb4", "nemo6", "mini5"])
def test_a_scheme_has_as_many_classes_as_its_name_says(name):
    assert len(labels.scheme(name).classes) == int(name[-1])


@pytest.mark.parametrize("name", SCHEMES)
def test_every_scheme_speaks_the_vocabulary_in_alphabetical_order(name):
    scheme = labels.scheme(name)
    assert scheme.name == name and list(scheme.classes) == sorted(scheme.classes)
    assert {*scheme.classes, *scheme.mapping} <= set(EMOTIONS) - {"unknown"}


@pytest.mark.parametrize("name", SCHEMES)
def test_a_class_keeps_its_own_index(name):
    scheme = labels.scheme(name)
    assert scheme.indices(scheme.classes) == list(range(len(scheme.classes)))


def test_calm_is_neutral_among_the_basic_seven():
    basic = labels.scheme("basic7")
    assert basic.index("calm") == basic.index("neutral") and "calm" not in basic.classes


def test_the_order_of_the_mapping_does_not_matter():
    assert Scheme("x", {"sadness": "sadness", "anger": "anger"}).classes == ("anger", "sadness")


def test_check_hands_a_canonical_name_back():
    assert [labels.check(name) for name in EMOTIONS] == list(EMOTIONS)


@pytest.mark.parametrize("given, nearest", [
    ("angry", "anger"), ("happy", "happiness"), ("Sadness", "sadness"), ("suprise", "surprise"),
])
def test_an_unknown_emotion_names_the_nearest(given, nearest):
    with pytest.raises(LabelError, match=f"Did you mean '{nearest}'"):
        labels.check(given)


def test_a_code_that_resembles_nothing_belongs_in_the_table_of_the_recipe():
    with pytest.raises(LabelError, match="labels.yaml"):
        labels.check("W")


@pytest.mark.parametrize("emotion", ["boredom", "unknown", "anger "])
def test_an_emotion_without_a_class_is_refused_with_what_is_accepted(emotion):
    with pytest.raises(LabelError, match="accepts anger, calm.*--emotions"):
        labels.scheme("ravdess8").indices(["anger", emotion])


def test_an_unknown_scheme_names_the_nearest():
    with pytest.raises(LabelError, match="there are ravdess8.*Did you mean 'ravdess8'"):
        labels.scheme("ravdes8")


def test_own_classes_are_the_emotions_of_the_data():
    scheme = labels.scheme("own", ["fear", "boredom", "fear"])
    assert scheme.classes == ("boredom", "fear") and scheme.indices(["fear", "boredom"]) == [1, 0]
    for emotions, reason in ([], "no emotion"), (["fear"], "with fear"):
        with pytest.raises(LabelError, match=reason):
            labels.scheme("own", emotions)

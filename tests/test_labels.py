import pytest

from emotion import labels
from emotion.labels import EMOTIONS, SCHEMES, LabelError, Scheme


def test_the_vocabulary_is_what_the_house_writes():
    assert EMOTIONS == ("anger", "boredom", "calm", "disgust", "fear", "happiness", "neutral", "sadness",
                        "surprise", "unknown")


@pytest.mark.parametrize("name", SCHEMES)
def test_a_scheme_has_as_many_classes_as_its_name_says(name):
    assert len(labels.scheme(name).classes) == int(name[-1])


@pytest.mark.parametrize("name", SCHEMES)
def test_every_scheme_speaks_the_vocabulary_in_alphabetical_order(name):
    scheme = labels.scheme(name)
    assert scheme.name == name and list(scheme.classes) == sorted(scheme.classes)
    assert set(scheme.mapping) <= set(EMOTIONS) - {"unknown"}
    assert name in DIMENSIONS or set(scheme.classes) <= set(scheme.mapping)


DIMENSIONS = ("arousal2", "valence2", "quadrants4")


@pytest.mark.parametrize("name", sorted(SCHEMES.keys() - set(DIMENSIONS)))
def test_a_class_keeps_its_own_index(name):
    scheme = labels.scheme(name)
    assert scheme.indices(scheme.classes) == list(range(len(scheme.classes)))


def test_calm_is_neutral_among_the_basic_seven():
    basic = labels.scheme("basic7")
    assert basic.index("calm") == basic.index("neutral") and "calm" not in basic.classes


def test_released_schemes_stay_as_they_were():
    six = ("anger", "disgust", "fear", "happiness", "sadness", "surprise")
    released = {
        "ravdess8": {**{name: name for name in (*six, "calm", "neutral")}},
        "basic7": {**{name: name for name in (*six, "neutral")}, "calm": "neutral"},
        "emodb7": {name: name for name in ("boredom", "neutral", *six[:5])},
        "emodb4": {name: name for name in ("anger", "happiness", "neutral", "sadness")},
        "nemo6": {name: name for name in ("anger", "fear", "happiness", "neutral", "sadness", "surprise")},
        "mini5": {name: name for name in ("anger", "fear", "happiness", "neutral", "sadness")},
    }
    assert {name: SCHEMES[name].mapping for name in released} == released


def test_a_quadrant_is_the_half_of_arousal_and_the_half_of_valence():
    quadrants, arousal, valence = (labels.scheme(name).mapping for name in ("quadrants4", "arousal2", "valence2"))
    assert quadrants == {emotion: f"{arousal[emotion]}_{valence[emotion]}" for emotion in arousal}
    assert {emotion: quadrants[emotion] for emotion in ("anger", "happiness", "calm", "sadness")} == {
        "anger": "high_negative", "happiness": "high_positive", "calm": "low_positive", "sadness": "low_negative",
    }


def test_votes_are_written_as_they_are_read_in_alphabetical_order():
    assert labels.read_votes("neutral:2 anger:3") == (("anger", 3), ("neutral", 2))
    assert labels.write_votes({"neutral": 2, "anger": 3}) == "anger:3 neutral:2"
    assert labels.read_votes("-") == () and labels.write_votes(()) == "-"


@pytest.mark.parametrize("text", ["anger", "anger:0", "anger:1.5", "anger:-1", "angry:1", "anger:1 anger:2", "anger:"])
def test_votes_of_another_form_are_refused(text):
    with pytest.raises(LabelError, match="anger"):
        labels.read_votes(text)


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


def test_votes_are_shared_out_among_the_classes_that_their_emotions_become():
    scheme = Scheme("two", {"anger": "high", "happiness": "high", "calm": "low"})
    assert scheme.shares((("anger", 1), ("calm", 1), ("happiness", 2), ("fear", 9))) == (3 / 4, 1 / 4)


def test_votes_for_nothing_that_a_scheme_knows_have_no_shares():
    assert labels.scheme("emodb4").shares((("fear", 3), ("unknown", 1))) == () == labels.scheme("emodb4").shares(())


def test_the_scheme_without_classes_takes_every_emotion_for_unknown():
    scheme = labels.scheme("none")
    assert scheme.classes == ("unknown",) and set(scheme.indices(EMOTIONS)) == {0}

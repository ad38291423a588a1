"""Miniatures of corpora in their published layout: real names, real folders, a twentieth of a second of noise each."""

import importlib.util
import itertools
import zlib
from pathlib import Path

import numpy as np
import soundfile

RECIPES = Path(__file__).resolve().parents[2] / "recipes"
FRIENDS = ("Chandler", "Joey", "Monica", "Phoebe", "Rachel", "Ross")
URDU = {   # speakers and their emotions, as the file names of the corpus have them
    "A": "SM1 SM2 SM3 SM4", "N": "SF9 SM20 SM21 SM22 SM3 SM5", "S": "SF10 SF11 SM23 SM24 SM25 SM26 SM27 SM6",
    "H": "SF1 SF2 SF3 SF4 SF5 SF6 SF7 SF8 SM17 SM18 SM19 SM3 SM5 SM6 SM7",
}


def load(recipe):
    """The local/prepare.py of a recipe as a module."""
    spec = importlib.util.spec_from_file_location(f"prepare_{recipe}", RECIPES / recipe / "local/prepare.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def sound(path, sample_rate=16000):
    """A noise that is the path's own, in length too."""
    path.parent.mkdir(parents=True, exist_ok=True)
    seed = zlib.crc32(str(path).encode())
    noise = np.random.default_rng(seed).uniform(-0.1, 0.1, round((0.04 + seed % 997 / 50_000) * sample_rate))
    soundfile.write(path, noise, sample_rate)


def table(path, head, *lines, separator=","):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(separator.join(map(str, line)) + "\n" for line in (head, *lines)), encoding="utf-8")


def savee(folder):
    for speaker, code in itertools.product(("DC", "JE", "JK", "KL"), ("a", "d", "f", "h", "n", "sa", "su")):
        sound(folder / f"AudioData/{speaker}/{code}01.wav", 44100)


def emovo(folder):
    for actor, code in itertools.product(("f1", "f2", "f3", "m1", "m2", "m3"), ("neu", "dis", "gio", "pau", "rab")):
        sound(folder / f"EMOVO/{actor}/{code}-{actor}-b1.wav", 48000)


def casia(folder):
    for speaker in ("liuchanhg", "wangzhe", "zhaoquanyin", "ZhaoZuoxiang"):
        for emotion in ("angry", "fear", "happy", "neutral", "sad", "surprise"):
            sound(folder / f"CASIA/{speaker}/{emotion}/201.wav")


def jl_corpus(folder):
    home = folder / "Raw JL corpus (unchecked and unannotated)/JL(wav+txt)"
    for speaker in ("female1", "female2", "male1", "male2"):
        for emotion in ("angry", "excited", "happy", "neutral", "sad", "apologetic"):
            sound(home / f"{speaker}_{emotion}_2a_2.wav", 44100)
            (home / f"{speaker}_{emotion}_2a_2.txt").write_text("the words")


def esd(folder):
    for n in range(1, 21):
        below = "train/" if n == 20 else ""   # as older copies have it
        for emotion, number in (("Angry", 351), ("Neutral", 1)):
            sound(folder / f"Emotion Speech Dataset/{n:04}/{emotion}/{below}{n:04}_{number:06}.wav")
        (folder / f"Emotion Speech Dataset/{n:04}/{n:04}.txt").write_text("the words")


def shemo(folder):
    for sex, name in (("F", "female"), ("M", "male")):
        for n, code in itertools.product(range(1, 5), "ANS"):
            sound(folder / f"ShEMO/{name}/{sex}{n:02}{code}01.wav", 44100)


def urdu(folder):
    for (code, speakers), emotion in zip(URDU.items(), ("Angry", "Neutral", "Sad", "Happy")):
        for speaker in speakers.split():
            sound(folder / f"urdu-dataset/{emotion}/{speaker}_F1_{code}01.wav", 44100)


def tess(folder):
    for speaker, emotion in itertools.product(("OAF", "YAF"), ("angry", "disgust", "fear", "happy", "neutral", "ps")):
        name = {"ps": "Pleasant_surprise"}.get(emotion, emotion)
        sound(folder / f"TESS/{speaker}_{name}/{speaker}_back_{emotion}.wav", 24414)
    sound(folder / "TESS/OAF_neutral/OA_bite_neutral.wav", 24414)


def cremad(folder):
    for n in range(1001, 1092):
        sound(folder / f"CREMA-D/AudioWAV/{n}_DFA_ANG_XX.wav")
    for name in ("1040_ITH_SAD_X", "1001_IEO_FEA_HI", "1076_MTI_SAD_XX"):
        sound(folder / f"CREMA-D/AudioWAV/{name}.wav")
    sound(folder / "CREMA-D/AudioMP3/1001_DFA_ANG_XX.mp3")
    head = (
        "", "localid", "pos", "ans", "ttr", "queryType", "numTries", "clipNum", "questNum", "subType", "clipName",
        "sessionNums", "respEmo", "respLevel", "dispEmo", "dispVal", "dispLevel",
    )
    table(folder / "CREMA-D/finishedResponses.csv", head, *(
        (i, "l", 1, f"{heard}_80", 900, kind, 0, 1, 1, 4, "1001_DFA_ANG_XX", i, heard, 80, "A", 50, "X")
        for i, (kind, heard) in enumerate([(1, "A"), (1, "A"), (1, "D"), (2, "N"), (3, "F")])
    ))


EVALUATION = """% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]

[6.2901 - 8.2357]\tSes0{n}F_impro01_F000\tneu\t[2.5000, 2.5000, 2.5000]
C-E2:\tNeutral;\t()
C-E3:\tNeutral;\t()
C-E4:\tNeutral; Frustration;\t(a bit)
C-F1:\tAnger;\t(curious)
A-E3:\tval 3; act 2; dom  2;\t()
A-F1:\tval 3; act 2; dom  1;\t()

[10.0100 - 11.3925]\tSes0{n}F_impro01_M001\texc\t[4.0000, 5.5000, 1.0000]
C-E2:\tExcited;\t()
C-E3:\tHappiness;\t()
C-E4:\tAnger;\t()
A-E3:\tval 4; act 5; dom  1;\t()

[12.0000 - 13.0000]\tSes0{n}F_impro01_M002\txxx\t[3.0000, 3.0000, 3.0000]
C-E2:\tNeutral;\t()
C-E3:\tAnger;\t()
C-E4:\tSadness;\t()
"""


def iemocap(folder):
    for n in range(1, 6):
        session = folder / f"IEMOCAP_full_release/Session{n}"
        scripted = EVALUATION.format(n=n).replace("F_impro01", "M_script01_1b").replace("\tneu\t", "\tsad\t")
        for dialogue, text in ((f"Ses0{n}F_impro01", EVALUATION.format(n=n)), (f"Ses0{n}M_script01_1b", scripted)):
            path = session / f"dialog/EmoEvaluation/{dialogue}.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            sound(session / f"dialog/wav/{dialogue}.wav")
            for turn in ("F000", "M001", "M002"):
                sound(session / f"sentences/wav/{dialogue}/{dialogue}_{turn}.wav")
        categorical = session / f"dialog/EmoEvaluation/Categorical/Ses0{n}F_impro01_e2_cat.txt"
        categorical.parent.mkdir()
        categorical.write_text(f"Ses0{n}F_impro01_F000 :Neutral state; ()\n")


def meld(folder):
    home = folder / "MELD.Raw"
    speakers = (*FRIENDS, "Mr. Heckles", "Ross and Joey", "All", "Monica, Rachel")
    head = (
        "Sr No.", "Utterance", "Speaker", "Emotion", "Sentiment", "Dialogue_ID", "Utterance_ID", "Season", "Episode",
        "StartTime", "EndTime",
    )
    for part, clips in (("train", "train/train_splits"), ("dev", "dev_splits_complete"),
                        ("test", "output_repeated_splits_test")):
        lines = []
        for i, speaker in enumerate(speakers):
            lines.append((i, '"Oh, no!"', f'"{speaker}"', ("joy", "anger", "neutral")[i % 3], "x", 0, i, 8, 21,
                          '"00:16:16,059"', '"00:16:21,731"'))
            sound(home / clips / f"dia0_utt{i}.wav")
        if part == "train":
            lines.append((98, "a part", '"Dr. Drake Remoray"', "joy", "x", 0, 98, 2, 20, '"0"', '"1"'))
            sound(home / clips / "dia0_utt98.wav")
            lines.append((99, "broken", "Joey", "neutral", "neutral", 125, 3, 1, 1, '"0"', '"1"'))
            (home / clips / "dia125_utt3.wav").write_bytes(b"broken")
        table(home / ("train" if part == "train" else "") / f"{part}_sent_emo.csv", head, *lines)
    sound(home / "output_repeated_splits_test/final_videos_testdia0_utt0.wav")


def msp_podcast(folder):
    home = folder / "MSP-Podcast"
    head = ("FileName", "EmoClass", "EmoAct", "EmoVal", "EmoDom", "SpkrID", "Gender", "Split_Set")
    rows = [   # podcast, label, activation, valence, dominance, speaker, sex, part
        ("0001", "N", 4.0, 4.0, 4.0, "1", "Male", "Train"), ("0001", "A", 7.0, 1.0, 5.5, "1", "Male", "Train"),
        ("0002", "H", 5.0, 6.0, 4.0, "2", "Female", "Train"), ("0002", "X", 3.0, 4.0, 4.0, "2", "Female", "Train"),
        ("0003", "S", 2.0, 2.0, 3.0, "Unknown", "Female", "Train"),
        ("0004", "A", 6.0, 2.0, 5.0, "4", "Female", "Development"),
        ("0004", "N", 4.0, 4.0, 4.0, "4", "Female", "Train"),   # of two parts
        ("0005", "S", 2.0, 2.0, 3.0, "5", "Male", "Test1"), ("0005", "C", 4.0, 2.0, 5.0, "5", "Male", "Test1"),
        ("0006", "D", 4.0, 2.0, 4.0, "6", "Female", "Test2"),
        ("0006", "N", 4.0, 4.0, 4.0, "Unknown", "Unknown", "Test2"),
    ]
    names = [f"MSP-PODCAST_{row[0]}_{i:04}.wav" for i, row in enumerate(rows)]
    table(home / "Labels/labels_consensus.csv", head, *((name, *row[1:]) for name, row in zip(names, rows)))
    for name in (*names, "MSP-PODCAST_0007_0001.wav"):   # the last is of Test3, without labels
        sound(home / "Audios" / name)
    words = ("WORKER1; Neutral; Neutral,Concerned", "WORKER2; Neutral; Sad", "WORKER3; Other-Curious")
    table(home / "Labels/labels_detailed.csv", ("FileName", "Labels"), *(
        (names[0], f'"{word}; A:4.0; V:3.0; D:4.0;"') for word in words
    ))


MINIATURES = {make.__name__: make for make in (
    savee, emovo, casia, jl_corpus, esd, shemo, urdu, tess, cremad, iemocap, meld, msp_podcast,
)}


"""Words in every script: what is one, where a text goes in circles, which numbers it holds."""

from decimal import Decimal

import pytest

from soda.words import holds, numbers, repeats, script, words

SENTENCES = {
    "Latin": "Die Übergrößenträger können heute nicht kommen.",
    "Chinese": "今天天气很好,我们去公园散步吧。",
    "Japanese": "東京の天気は晴れです。ラーメンを食べました。",
    "Korean": "오늘은 날씨가 아주 좋습니다.",
    "Cyrillic": "Столица России это Москва.",
    "Devanagari": "भारत की राजधानी नई दिल्ली है।",
    "Arabic": "عاصمة مصر هي القاهرة.",
    "Hebrew": "בירת ישראל היא ירושלים.",
    "Thai": "เมืองหลวงของไทยคือกรุงเทพ",
    "Khmer": "ទីក្រុងភ្នំពេញ",
    "Myanmar": "မင်္ဂလာပါ",
    "Lao": "ສະບາຍດີ",
    "Greek": "Η Αθήνα είναι η πρωτεύουσα.",
    "Georgian": "თბილისი საქართველოს დედაქალაქია.",
    "Tamil": "தமிழ்நாடு தலைநகரம் சென்னை.",
    "Ethiopic": "አዲስ አበባ ዋና ከተማ ናት።",
}


@pytest.mark.parametrize(("name", "text"), SENTENCES.items(), ids=SENTENCES)
def test_every_script_has_words_and_a_name(name, text):
    assert words(text) and script(text) == name


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "Can't stop, 3.5 well-known x_y",
            ["can", "t", "stop", "3", "5", "well", "known", "x", "y"],
        ),
        ("Übergrößenträger", ["übergrössenträger"]),
        ("नमस्ते दुनिया", ["नमस्ते", "दुनिया"]),
        ("Tokyo東京です", ["tokyo", "東", "京", "で", "す"]),
        ("ＡＢＣ １２", ["abc", "12"]),
        ("Москва\u0301 o\u0323\u0300ro\u0323\u0300", ["москва\u0301", "ọ\u0300rọ\u0300"]),
        ("İstanbul", ["istanbul"]),
        ("ดี", ["ดี"]),  # a vowel stays with its consonant
        ("👍🏽!", ["👍", "🏽", "!"]),
        (" ", []),
    ],
)
def test_words(text, expected):
    assert words(text) == expected


@pytest.mark.parametrize(
    ("text", "wanted", "found"),
    [
        ("7 + 5 is 12.", "12", True),
        ("It is 120.", "12", False),
        ("It is 12.5.", "12", False),
        ("It is 3,12.", "12", False),
        ("paris, of course", "Paris", True),
        ("not spamming", "spam", False),
        ("Use C++ here", "C++", True),
        ("答えは東京です。", "東京", True),
        ("答えは京都です。", "東京", False),
        ("第5回です", "5", True),
        ("เมืองหลวงคือกรุงเทพครับ", "กรุงเทพ", True),
        ("ดีhello", "hello", True),
        ("Москва\u0301.", "Москва", False),
        ("नमस्ते", "नमस्त", False),  # a letter without its vowel is another
        ("STRASSE", "straße", True),
        ("Die Übergrößenträger.", "übergrößenträger", True),
        ("bergr entr ger", "Übergrößenträger", False),
        ("soft\u00adhyphen", "softhyphen", True),
        ("", "x", False),
        ("anything", "\u200b", False),
    ],
)
def test_whole_words_are_found(text, wanted, found):
    assert holds(text, wanted) is found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("It is 42.", ["42"]),
        ("1,234.5 or 1.234,5 or 1\u202f234,5", ["1234.5"] * 3),
        ("10-12, -5, x=-6 and \u22127", ["10", "12", "-5", "-6", "-7"]),
        ("1e3 and 2.5E-1", ["1000", "0.25"]),
        ("٤٢ ４２ 第5回 5kg", ["42", "42", "5", "5"]),
        ("1,2,3", ["1", "2", "3"]),
        ("1,00,000 or 12,34,567.5", ["100000", "1234567.5"]),
        (".5, -.25 and fig.7", ["0.5", "-0.25", "7"]),
        ("v12, A1 and 3.11.2", []),
    ],
)
def test_numbers(text, expected):
    assert list(numbers(text)) == list(map(Decimal, expected))


@pytest.mark.parametrize("text", SENTENCES.values(), ids=SENTENCES)
def test_circles_are_seen_in_every_script(text):
    assert repeats((text + " ") * 8) and not repeats(text)


def test_circles():
    assert repeats("one two three four " * 3)
    assert not repeats("one two three four five six seven eight nine ten")
    assert not repeats("") and not repeats("-" * 80)
    assert repeats("ha" * 60)
    polite = "朝起きています。本を読んでいます。昼は働いています。夜は歌っています。"
    assert not repeats(polite)  # four characters come again in any longer text


def test_a_script_is_that_of_most_letters():
    assert script("Translate: 你好") == "Latin" and script("12 + 5 = ?") == "none"
    assert script("ᚠᚢᚦᚨᚱᚲ") == "other"

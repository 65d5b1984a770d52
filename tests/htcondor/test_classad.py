"""Old-style ClassAd text gives exactly the values that HTCondor's own parser gives."""

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector_htcondor.classad import AttributeReader, plain
from tests.htcondor.cases import CASES

try:
    import classad2  # HTCondor's own parser, of the package `htcondor`
except ImportError:  # pragma: no cover - it is built for x86-64 only
    classad2 = None

with_classad2 = pytest.mark.skipif(classad2 is None, reason="no htcondor package here")


def values(ad: bytes, *names: str) -> dict[str, object]:
    reader = AttributeReader(names, everything=not names)
    texts = reader.texts(ad)
    wanted = [(name, name.encode()) for name in names or [key.decode() for key in texts]]
    return dict(reader.values(texts, ad, wanted))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b'""', ""),
        (b'"say \\"hi\\""', 'say "hi"'),
        (b'"C:\\dir\\x41 \\n"', "C:\\dir\\x41 \\n"),
        (b'"ends with \\"', "ends with \\"),
        (b'"\\""', '"'),
        (b'"a \\\\" b"', 'a \\" b'),
        (b'"*** Offset = 0"', "*** Offset = 0"),
        (b'"tab\t vt\x0b ff\x0c fs\x1c del\x7f"', "tab\t vt\x0b ff\x0c fs\x1c del\x7f"),
        ('"naïve 日本語\u2028\u0085"'.encode(), "naïve 日本語\u2028\u0085"),
        (b'"caf\xe9"', "caf\ufffd"),
        (b'"007"', "007"),
        (b'"undefined"', "undefined"),
        (b"7", 7),
        (b"-5", -5),
        (b"9223372036854775807", 2**63 - 1),
        (b"-9223372036854775808", -(2**63)),
        (b"9223372036854775808", None),
        (b"9" * 5000, None),
        (b"0.1", 0.1),
        (b"3.0", 3.0),
        (b"1E-30", 1e-30),
        (b"1E+300", 1e300),
        (b'real("INF")', math.inf),
        (b"true", True),
        (b"FALSE", False),
        (b"undefined", None),
        (b"error", None),
        (b"", None),
        (b'{ "a","b,c","q\\"q",1 }', '{ "a","b,c","q\\"q",1 }'),
        (b"[ a = 1; c = [ d = { 1,2 } ] ]", "[ a = 1; c = [ d = { 1,2 } ] ]"),
    ],
)
def test_a_value_is_what_the_schedd_wrote(text: bytes, value: object):
    """Only backslash-quote is an escape; types are those of the text."""
    found = plain(text)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b"((ResidentSetSize + 1023) / 1024)", 3),
        (b"residentsetsize * 2 + 1", 6001),
        (b"MY.ResidentSetSize - -1", 3001),
        (b"7 / 2 * 2.0", 6.0),
        (b"-7 / 2", -3),
        (b"-7 % 4", -3),
        (b"Nested + 1", 31),
        (b"1 / 0", None),
        (b"NoSuchAttr", None),
        (b"TARGET.Memory + 1", None),
        (b"Text + 1", None),
        (b"Loop + 1", None),
        (b"MAX({ 1024,(TransferInputSizeMB + 1) * 1024 })", 1024),
        (b"max({ 1024,(ResidentSetSize + 1) * 2 })", 6002),
        (b"(JobStatus == 2) ? 1 : 2", None),
        (b'strcat("x", Owner)', None),
        (b"9223372036854775807 + 1", -(2**63)),
        (b"(" * 5000 + b"1" + b")" * 5000, None),
        (b"1 " + b"+ 1 " * 5000, None),
        (b"007", None),
        (b"0x1F", None),
    ],
)
def test_expressions_over_the_same_ad_are_computed(text: bytes, value: object):
    """As HTCondor does; what an expression needs and the ad has not is unknown."""
    ad = b'\nA = %s\nResidentSetSize = 3000\nNested = 10 * 3\nText = "x"\nLoop = Loop + 1\n' % text
    assert values(ad, "A") == ({} if value is None else {"A": value})
    assert [type(one) for one in values(ad, "A").values()] in ([], [type(value)])


def test_names_are_the_same_in_any_case_and_given_as_wanted():
    """A user who writes `+requestcpus` does not hide it."""
    ad = b'\nrequestCPUS = 4\nx509UserProxySubject = "/CN=x"\nOwner = "a"\n'
    assert values(ad, "RequestCpus", "x509userproxysubject", "Owner") == {
        "RequestCpus": 4,
        "x509userproxysubject": "/CN=x",
        "Owner": "a",
    }


def test_one_attribute_can_be_wanted_in_two_spellings():
    """A mapping that says `Owner` and `owner` finds both."""
    assert values(b'\nOwner = "a"\n', "Owner", "owner") == {"Owner": "a", "owner": "a"}


def test_a_name_is_found_only_where_a_line_begins():
    """Text that looks like an attribute is not one, nor is a longer name."""
    ad = b'\nArgs = "\x0bOwner = evil \x85Owner = evil"\nOwners = "x"\nxOwner = "y"\n'
    assert values(ad, "Owner") == {}


@pytest.mark.parametrize("byte", ["\t", "\v", "\f", "\r", "\x1b", "\x1c", "\x1d", "\x85", "\u2028"])
def test_only_a_newline_ends_a_value(byte: str):
    """Whatever else takes for one is part of the text."""
    ad = f'\nArgs = "a{byte}b"\nOwner = "c"\n'.encode()
    assert values(ad) == values(ad, "Args", "Owner") == {"Args": f"a{byte}b", "Owner": "c"}


def test_of_a_name_that_stands_twice_the_last_counts():
    """As for HTCondor's own tools."""
    ad = b'\nOwner = "a"\nowner = "b"\n'
    assert values(ad, "Owner") == {"Owner": "b"}
    assert values(ad.replace(b"owner", b"Owner"), "Owner") == {"Owner": "b"}


def _printed(value: object) -> bytes:
    """As HTCondor prints a value in the old syntax."""
    if isinstance(value, bool):
        return b"true" if value else b"false"
    if isinstance(value, str):
        return b'"' + value.replace('"', '\\"').encode() + b'"'
    return repr(value).upper().encode()


texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\n\r\0"), max_size=40)
numbers = st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
ads = st.dictionaries(
    st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,12}", fullmatch=True).filter(
        lambda name: (
            name.lower() not in {"error", "undefined", "true", "false", "is", "isnt"}
            and name.lower() not in {"parent", "my", "target"}
        )
    ),
    st.booleans() | texts | numbers,
    min_size=1,
    max_size=8,
)


@given(ads)
def test_whatever_a_schedd_prints_is_read_back(attributes: dict[str, object]):
    """Names and values come back as they were, type included."""
    unique = {name.lower(): (name, value) for name, value in attributes.items()}
    ad = b"\n" + b"".join(
        name.encode() + b" = " + _printed(value) + b"\n" for name, value in unique.values()
    )
    found = values(ad, *(name for name, _ in unique.values()))
    assert found == dict(unique.values())
    assert {n: type(v) for n, v in found.items()} == {n: type(v) for n, v in unique.values()}


@with_classad2
@given(ads)
def test_generated_ads_are_read_as_htcondor_reads_them(attributes: dict[str, object]):
    """The same attributes with the same values as classad2 finds."""
    unique = {name.lower(): (name, value) for name, value in attributes.items()}
    ad = b"".join(
        name.encode() + b" = " + _printed(value) + b"\n" for name, value in unique.values()
    )
    theirs = classad2.parseOne(ad.decode(), classad2.ParserType.Old)
    assert values(b"\n" + ad) == dict(theirs.items())


@with_classad2
def test_captured_ads_are_read_as_htcondor_reads_them():
    """All attributes of all captured ads: plain values equal, the rest unknown or computed."""
    compared = 0
    for path in sorted(CASES.glob("*/input/history*")):
        for record in re.findall(rb"(?ms)(.*?^)\*\*\* [^\n]*\n", path.read_bytes()):
            ad = b"\n" + record
            if b"JobCurrentStartExecutingIn" in ad:
                continue  # two ads that ran together
            theirs = classad2.parseOne(ad.decode(errors="replace"), classad2.ParserType.Old)
            ours = values(ad)
            for name, value in theirs.items():
                compared += 1
                if name in ("LabRel", "LabTime"):
                    assert name not in ours  # relTime() and absTime(): no values of ours
                elif type(value) in (str, int, float, bool):
                    assert ours[name] == value, name
                    assert type(ours[name]) is type(value), name
                elif value is classad2.Value.Undefined or value is classad2.Value.Error:
                    assert name not in ours
                elif isinstance(value, classad2.ExprTree):
                    computed = theirs.eval(name)
                    plain = type(computed) in (bool, int, float, str)
                    if name in ours or name in ("MemoryUsage", "RequestDisk"):
                        assert ours.get(name) == (computed if plain else None), name
                else:
                    assert isinstance(ours[name], str), name
    assert compared > 10_000

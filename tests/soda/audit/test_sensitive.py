import pytest

from soda.audit.sensitive import SensitiveScan

KEY = "wJalrXUtnFEMI/K7MDENG/" + "bPxRfiCYzzzzzzzKEY"
TOKEN = "ghp_" + "a1B2" * 9


@pytest.fixture(scope="module")
def scan():
    with SensitiveScan() as found:
        yield found


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        ("my key is AKIA" + "QWERTYUIOPASDFGH", ["secret: AWS Access Key"]),
        (f"aws_secret_access_key = '{KEY}'", ["secret: AWS Access Key"]),
        (f"Use {TOKEN} please", ["secret: GitHub Token"]),
        ("-----BEGIN RSA " + "PRIVATE KEY-----\nMII", ["secret: Private Key"]),
        ("git clone https://me:hunter2@git.acme.io/x", ["secret: Basic Auth Credentials"]),
        ("Write to ann.b@acme.co.uk today.", ["email"]),
        ("Call +44 20 7946 0958 at noon.", ["phone number"]),
        ("Card 4111 1111 1111 1111, please", ["payment card"]),
        ("Pay to DE89 3704 0044 0532 0130 00.", ["IBAN"]),
        ("SSN 123-45-6789", ["US social security number"]),
        (f"{TOKEN}\nann@acme.org", ["email", "secret: GitHub Token"]),
    ],
)
def test_what_is_sensitive_is_named(scan, text, kinds):
    assert scan.kinds(text) == kinds


@pytest.mark.parametrize(
    "text",
    [
        "",
        "The password is a word that opens a door, and the secret: patience.",
        "def key(token): return token['secret_key']",
        "1234 5678 9012 3456 is no card, 4111 1111 1111 1112 neither",
        "Pay to DE88 3704 0044 0532 0130 00.",
        "1 + 2 + 3000000 = 3000003, and C++ is +1",
        "Write to name@example.com; see https://example.com/a?b=c",
        "In 2026, 000-12-3456 and 123-45-67890 happened.",
        "d41d8cd98f00b204e9800998ecf8427e is the digest of nothing",
    ],
)
def test_what_only_looks_like_it_is_left_alone(scan, text):
    assert scan.kinds(text) == []


def test_a_scan_names_kinds_and_never_repeats_the_secret(scan):
    assert TOKEN not in "".join(scan.kinds(f"{TOKEN} ann@acme.org"))

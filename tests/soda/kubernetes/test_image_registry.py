"""Whether an image is there, asked as a node without credentials asks."""

import socket
import threading

import pytest

from soda.errors import ClusterError
from soda.kubernetes.image_registry import image_digest
from tests.fakes.image_registry import fake_images


@pytest.fixture
def images():
    with fake_images() as fake:
        yield fake


def refusal(reference):
    with pytest.raises(ClusterError) as refused:
        image_digest(reference)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_an_image_is_found_with_a_token_for_nobody(images):
    digest = images.push("soda/cpu", "1.0")
    assert image_digest(f"{images.host}/soda/cpu:1.0") == digest
    manifest = "HEAD /v2/soda/cpu/manifests/1.0"
    assert images.calls == [manifest, "GET /token", manifest]


def test_an_image_is_found_by_its_digest_and_without_a_tag(images):
    digest = images.push("cpu", "latest")
    assert image_digest(f"{images.host}/cpu@{digest}") == digest
    assert image_digest(f"{images.host}/cpu:other@{digest}") == digest
    assert image_digest(f"{images.host}/cpu") == digest


def test_an_image_that_is_not_there_is_refused(images):
    digest = images.push("soda/cpu", "1.0")
    for reference in ("soda/cpu:1.1", "soda/gpu:1.0", f"soda/gpu@{digest}"):
        text = refusal(f"{images.host}/{reference}")
        assert text == f"{images.host}/{reference}: expected an image, found none there"


def test_a_registry_that_wants_credentials_leaves_it_open(images):
    images.push("soda/cpu", "1.0")
    images.private.add("soda/cpu")
    assert image_digest(f"{images.host}/soda/cpu:1.0") is None
    images.tokens = False
    assert image_digest(f"{images.host}/soda/cpu:1.0") is None


def test_a_registry_that_fails_is_refused(images):
    images.status = 500
    text = refusal(f"{images.host}/soda/cpu:1.0")
    assert text == f"{images.host}/soda/cpu:1.0: the registry answered 500"


def test_a_registry_out_of_reach_is_refused():
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        reference = f"127.0.0.1:{nobody.getsockname()[1]}/soda/cpu:1.0"
        assert "the registry cannot be reached" in refusal(reference)


def test_what_is_no_registry_is_refused():
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer():
            connection, _ = server.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(b"SSH-2.0-no-web-server\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        reference = f"127.0.0.1:{server.getsockname()[1]}/soda/cpu:1.0"
        assert "the registry cannot be reached" in refusal(reference)
        thread.join()

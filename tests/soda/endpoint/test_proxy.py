"""The environment's proxy: which one, for whom, and with which login."""

import pytest
from yarl import URL

from soda.endpoint.proxy import proxy_for
from soda.errors import ConfigError


def found(url, **environment):
    proxy = proxy_for(URL(url), environment)
    return proxy and str(proxy.url)


@pytest.mark.parametrize(
    ("environment", "http", "https"),
    [
        ({}, None, None),
        ({"http_proxy": "http://a:1"}, "http://a:1", None),
        ({"HTTP_PROXY": "http://a:1"}, "http://a:1", None),
        ({"https_proxy": "http://a:1"}, None, "http://a:1"),
        ({"HTTPS_PROXY": "a:1"}, None, "http://a:1"),
        ({"all_proxy": "http://a:1"}, "http://a:1", "http://a:1"),
        ({"ALL_PROXY": "http://a:1"}, "http://a:1", "http://a:1"),
        ({"ALL_PROXY": "http://a:1", "https_proxy": "http://b:1"}, "http://a:1", "http://b:1"),
        ({"https_proxy": ""}, None, None),
    ],
)
def test_the_schemes_own_variable_wins_over_the_one_for_all(environment, http, https):
    assert found("http://t.example/v1", **environment) == http
    assert found("https://t.example/v1", **environment) == https


@pytest.mark.parametrize(
    ("url", "exceptions", "direct"),
    [
        ("http://10.1.2.3/v1", "10.0.0.0/8", True),
        ("http://11.1.2.3/v1", "10.0.0.0/8", False),
        ("http://192.168.7.9:8000/v1", "localhost, 192.168.0.0/16", True),
        ("http://[fd00::5]/v1", "fd00::/8", True),
        ("http://[fe80::5]/v1", "fd00::/8", False),
        ("http://10.1.2.3/v1", "10.1.2.3", True),
        ("http://10.1.2.3/v1", "10.1.2.3:8000", False),
        ("http://10.1.2.3:8000/v1", "10.1.2.3:8000", True),
        ("http://t.example/v1", "t.example", True),
        ("http://t.example/v1", "T.Example", True),
        ("http://a.t.example/v1", "t.example", True),
        ("http://a.t.example/v1", ".t.example", True),
        ("http://a.t.example/v1", "*.t.example", True),
        ("http://at.example/v1", "t.example", False),
        ("http://t.example/v1", "a.t.example", False),
        ("http://t.example/v1", "*", True),
        ("http://t.example/v1", "x.example other.example,t.example", True),
        ("http://t.example:81/v1", "t.example:80", False),
        ("http://t.example/v1", "t.example:80", True),
        ("http://t.example/v1", "10.0.0.0/8,,", False),
        ("http://vllm.soda.svc.cluster.local/v1", ".svc,.cluster.local", True),
        ("http://localhost:8000/v1", "", True),
        ("http://127.0.0.1:8000/v1", "", True),
        ("http://[::1]:8000/v1", "", True),
    ],
)
@pytest.mark.parametrize("name", ["no_proxy", "NO_PROXY"])
def test_no_proxy_takes_names_addresses_ranges_and_ports(url, exceptions, direct, name):
    proxy = found(url, http_proxy="http://p:3128", **{name: exceptions})
    assert (proxy is None) is direct


def test_a_login_is_taken_out_of_the_address():
    proxy = proxy_for(URL("http://t.example"), {"http_proxy": "http://me:p%40ss@p:3128"})
    assert str(proxy.url) == "http://p:3128"
    assert proxy.login == "Basic bWU6cEBzcw=="


@pytest.mark.parametrize("scheme", ["socks5", "socks5h", "socks4", "socks"])
def test_socks_is_refused_by_name_without_its_password(scheme):
    with pytest.raises(ConfigError, match=f"all_proxy: .*found {scheme}://") as refused:
        proxy_for(URL("https://t.example"), {"ALL_PROXY": f"{scheme}://me:canary@p:1080"})
    assert "canary" not in str(refused.value)


@pytest.mark.parametrize("text", ["http://", "http://p:port", "://"])
def test_an_address_that_is_none_is_refused(text):
    with pytest.raises(ConfigError, match="http_proxy: expected an address"):
        proxy_for(URL("http://t.example"), {"http_proxy": text})

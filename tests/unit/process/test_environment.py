"""What children see of the environment."""

from onegai.process.environment import inherited_environment


def test_environment_is_an_allow_list() -> None:
    seen = inherited_environment(
        {
            "PATH": "/bin",
            "HOME": "/root",
            "LC_ALL": "C",
            "CUDA_HOME": "/cuda",
            "HF_HOME": "/hf",
            "UV_CACHE_DIR": "/uv",
            "https_proxy": "http://p",
            "SSL_CERT_FILE": "/c",
            "AWS_CA_BUNDLE": "/c",
            "ONEGAI_PASSWORD": "secret",
            "ONEGAI_HOME": "/elsewhere",
            "OPENAI_API_KEY": "secret",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "PYTHONPATH": "/engine",
            "VIRTUAL_ENV": "/engine",
            "LD_PRELOAD": "/x.so",
        }
    )
    assert sorted(seen) == sorted(
        "PATH HOME LC_ALL CUDA_HOME HF_HOME UV_CACHE_DIR https_proxy SSL_CERT_FILE "
        "AWS_CA_BUNDLE".split()
    )

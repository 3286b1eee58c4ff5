"""How a model behind an OpenAI-style endpoint is asked: paid for once, at its own pace."""

"""Network definitions: `nn.Module`s with a frozen config, importable without side effects."""

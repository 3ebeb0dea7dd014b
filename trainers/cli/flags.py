"""What `Config` itself does, under an earlier name; it goes with its last caller."""


def override(config, given, *, skip=(), made=None):
  """Returns `config.changed` or `config.with_settings` of the settings that are not in `skip`."""
  given = {name: value for name, value in given.items() if name not in skip}
  return config.changed(given, made) if made else config.with_settings(**given)

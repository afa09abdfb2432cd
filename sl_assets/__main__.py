"""``python -m sl_assets`` is the ``sl-assets`` command."""

from sl_assets.cli import main

main()
